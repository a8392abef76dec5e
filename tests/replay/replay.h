// A call of PyTorch, frozen into a file (README.md has the format), made again by heed.
#pragma once

#include <heed/engine/engine.h>

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace heed::replay {

/// The file is not a case: a fault of whoever wrote it.
struct Malformed : std::runtime_error {
  using std::runtime_error::runtime_error;
};
/// heed has no such op or type, which what() names.
struct Lacking : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Arguments;  // the JSON of "args"

/// One case: its tensors and arguments as handlers read them. Names may hold alternatives, "dim|axis". A missing or
/// wrong argument throws Malformed; a null one is not given.
class Case {
 public:
  /// Throws Malformed, Lacking or heed::Error.
  explicit Case(std::string const& path);
  ~Case();

  std::string op;
  double rtol = 0, atol = 0;
  /// A case of special values: which one, in which argument, and the row of the table; empty in other cases.
  std::string special, where, row;
  bool pointwise = false;                                          // whose first element tells what the op gives
  std::optional<std::string> throws;                               // what PyTorch says where it refuses the call
  std::map<std::string, Tensor, std::less<>> inputs, grad_inputs;  // by what follows "input."
  std::map<int, Tensor> outputs, grad_outputs;
  std::map<int, Tensor> alone;  // outputs as PyTorch gives them for every element by itself, where those differ

  // Tensors: the argument at `position` of PyTorch's order, or of that name.
  Tensor operator()(int position, std::string_view name = {}) const;
  Tensor operator()(std::string_view name) const { return (*this)(-1, name); }
  /// Undefined where it is not given.
  Tensor maybe(int position, std::string_view name) const;
  Tensor maybe(std::string_view name) const { return maybe(-1, name); }
  /// input.0, input.1, …
  std::vector<Tensor> all() const;
  /// input.NAME.0, input.NAME.1, …; undefined where one is absent.
  std::vector<Tensor> list(std::string_view name) const;
  /// A tensor, or a number as a tensor of rank 0 whose type is that of the result of `beside` with it.
  Tensor operand(int position, std::string_view name, Tensor const& beside) const;
  /// The number of axes that PyTorch gave output 0, or `otherwise` where it is not in the file.
  int expected_rank(int otherwise) const;

  // Other arguments.
  bool has(std::string_view name) const;
  bool is_list(std::string_view name) const;
  bool is_text(std::string_view name) const;
  int64_t integer(std::string_view name) const;
  int64_t integer(std::string_view name, int64_t otherwise) const { return has(name) ? integer(name) : otherwise; }
  double real(std::string_view name) const;
  double real(std::string_view name, double otherwise) const { return has(name) ? real(name) : otherwise; }
  /// As real(), where a tensor of rank 0 may stand for the number.
  double real_or_tensor(std::string_view name, double otherwise) const {
    return has(name) || maybe(name).defined() ? real(name) : otherwise;
  }
  /// A number of its own kind.
  Number number(std::string_view name) const;
  bool flag(std::string_view name, bool otherwise = false) const;
  std::string text(std::string_view name) const;
  std::string text(std::string_view name, std::string_view otherwise) const {
    return has(name) ? text(name) : std::string(otherwise);
  }
  Dtype dtype(std::string_view name, Dtype otherwise) const;
  /// A number or a list of them.
  std::vector<int64_t> integers(std::string_view name) const;
  std::vector<double> reals(std::string_view name) const;
  /// [[0, 1], [1, 0]]
  std::vector<Dims> integer_lists(std::string_view name) const;
  Dims dims(std::string_view name) const;
  Dims dims(std::string_view name, Dims const& otherwise) const { return has(name) ? dims(name) : otherwise; }
  /// The same, where null in the list stands for `otherwise`.
  Dims dims_or(std::string_view name, int64_t otherwise) const;
  int axis(std::string_view name, int otherwise) const { return int(integer(name, otherwise)); }
  int axis(std::string_view name) const { return int(integer(name)); }
  /// The axes named, or every axis of x where none are.
  Dims axes(std::string_view name, Tensor const& x) const;
  /// x[index]: `args.index` with one item for each entry.
  struct IndexItem {
    enum Kind { integer, slice, new_axis, ellipsis, tensor } kind;
    std::optional<int64_t> from, to, step;  // an integer is `from`
    Tensor values;
  };
  std::vector<IndexItem> index_items(std::string_view name) const;

  /// Arguments that no handler asked for.
  std::vector<std::string> unread() const;

 private:
  std::unique_ptr<Arguments> args_;
};

/// What a call gave, in PyTorch's order.
struct Outputs {
  Outputs(Tensor tensor) : tensors{std::move(tensor)} {}
  Outputs(std::vector<Tensor> several) : tensors(std::move(several)) {}
  Outputs(std::initializer_list<Tensor> several) : tensors(several) {}
  Outputs(std::pair<Tensor, Tensor> pair) : tensors{std::move(pair.first), std::move(pair.second)} {}
  std::vector<Tensor> tensors;
};

using Handler = Outputs (*)(Case const& c);
/// An op by PyTorch's name, without "nn.functional.", and how heed does it.
struct Row {
  std::string_view op;
  Handler call;
};

// One table a family of ops.
std::span<Row const> convolution_rows();
std::span<Row const> creation_rows();
std::span<Row const> fourier_rows();
std::span<Row const> indexing_rows();
std::span<Row const> linear_algebra_rows();
std::span<Row const> neural_rows();
std::span<Row const> pointwise_rows();
std::span<Row const> recurrent_rows();
std::span<Row const> reduction_rows();
std::span<Row const> shape_rows();

/// Null where heed lacks the op.
Handler find(std::string_view op);
/// The names of all rows and aliases, sorted.
std::vector<std::string> all_ops();

struct Verdict {
  enum Kind { passed, failed, skipped } kind = passed;
  std::string op;                   // empty where the file does not say
  std::string reason;               // what failed and by how much, or what heed lacks
  std::string type;                 // of the first tensor
  std::string special, where, row;  // as in Case
  std::string gave;                 // in a word, where the case is of special values
  bool of_two_minds = false;        // whether PyTorch differs with itself wherever heed differs
};
/// Runs the case at `path`; never throws.
Verdict judge(std::string const& path);

/// Why heed gives something else than PyTorch there; empty where nobody knows.
std::string_view known(Verdict const& verdict);

/// One row an op, one column a special value; below it what differs. Written to the file `json` too, unless it is
/// empty. The number of differences without a reason.
size_t print_table(std::vector<std::string> const& files, std::vector<Verdict> const& verdicts,
                   std::string const& json);

template <Tensor (*f)(Tensor const&)>
Outputs unary(Case const& c) {
  return f(c(0, "input"));
}
template <Tensor (*f)(Tensor const&, Tensor const&)>
Outputs binary(Case const& c) {
  Tensor const x = c(0, "input");
  return f(x, c.operand(1, "other", x));
}

}  // namespace heed::replay
