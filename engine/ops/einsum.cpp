// Einstein sums: labels for axes, an order of contraction, and one batched matrix product for each pair.
#include <fmt/format.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/square.h>

#include <algorithm>
#include <limits>
#include <map>

namespace heed {
namespace {

/// A tensor whose axis i carries labels[i]; no label occurs twice, and no axis has size 1.
struct Term {
  Tensor x;
  std::string labels;
};

using Sizes = std::map<char, int64_t>;

// Axes under an ellipsis get labels of their own, counted from the last.
constexpr char first_ellipsis_label = 1;

bool has(std::string const& labels, char label) { return labels.find(label) != std::string::npos; }

Tensor permuted(Tensor const& x, std::string const& from, std::string const& to) {
  Dims axes;
  for (char label : to) axes.push_back(int64_t(from.find(label)));
  return x.permute(axes);
}

/// Axes i < j of equal size become one, the diagonal, at the end.
Tensor diagonal_of(Tensor const& x, int i, int j) {
  Dims axes;
  for (int axis = 0; axis < x.rank(); ++axis)
    if (axis != i && axis != j) axes.push_back(axis);
  axes.push_back(i);
  axes.push_back(j);
  return diagonal(x.permute(axes), 0, -2, -1);
}

Term without_repeats(Term term) {
  for (size_t i = 0; i < term.labels.size(); ++i) {
    size_t const j = term.labels.find(term.labels[i], i + 1);
    if (j == std::string::npos) continue;
    term.x = diagonal_of(term.x, int(i), int(j));
    term.labels =
        term.labels.substr(0, i) + term.labels.substr(i + 1, j - i - 1) + term.labels.substr(j + 1) + term.labels[i];
    --i;
  }
  return term;
}

/// Axes of size 1 are dropped: they multiply nothing, and broadcast against any other size.
Term without_ones(Term term) {
  for (size_t i = term.labels.size(); i-- > 0;)
    if (term.x.shape()[int(i)] == 1) {
      term.x = term.x.squeeze(int(i));
      term.labels.erase(i, 1);
    }
  return term;
}

/// Sums the axes whose labels are not in `keep`.
Term summed(Term term, std::string const& keep) {
  Dims axes;
  std::string rest;
  for (size_t i = 0; i < term.labels.size(); ++i) {
    if (has(keep, term.labels[i]))
      rest += term.labels[i];
    else
      axes.push_back(int64_t(i));
  }
  if (axes.rank() == 0) return term;
  Dtype const dtype = term.x.dtype();
  return {sum(term.x, axes).to(dtype), rest};
}

int64_t product_of(std::string const& labels, Sizes const& sizes) {
  int64_t n = 1;
  for (char label : labels) n *= sizes.at(label);
  return n;
}

/// Σ over labels that both have and `keep` has not: one product of [batch, left, shared]·[batch, shared, right].
Term contract(Term const& left_term, Term const& right_term, std::string const& keep, Sizes const& sizes) {
  Term const a = summed(left_term, keep + right_term.labels), b = summed(right_term, keep + left_term.labels);
  std::string batch, left, shared, right;
  for (char label : a.labels) (!has(b.labels, label) ? left : has(keep, label) ? batch : shared) += label;
  for (char label : b.labels)
    if (!has(a.labels, label)) right += label;
  std::string const labels = batch + left + right;
  Shape shape;
  for (char label : labels) shape.push_back(sizes.at(label));
  int64_t const n = product_of(batch, sizes), k = product_of(shared, sizes);
  Tensor const x = permuted(a.x, a.labels, batch + left + shared).reshape({n, product_of(left, sizes), k});
  Tensor const y = permuted(b.x, b.labels, batch + shared + right).reshape({n, k, product_of(right, sizes)});
  // Nothing to sum: a product of elements, which keeps each exact.
  return {(shared.empty() ? x * y : matmul(x, y)).reshape(shape), labels};
}

/// Labels of terms in `set` (bits) that the output or a term outside needs.
std::string kept(std::vector<Term> const& terms, uint32_t set, std::string const& output) {
  std::string inside, outside = output;
  for (size_t i = 0; i < terms.size(); ++i) (set >> i & 1 ? inside : outside) += terms[i].labels;
  std::string labels;
  for (char label : inside)
    if (has(outside, label) && !has(labels, label)) labels += label;
  return labels;
}

double cost_of(std::string const& a, std::string const& b, Sizes const& sizes) {
  double cost = 1;
  for (char label : a) cost *= double(sizes.at(label));
  for (char label : b)
    if (!has(a, label)) cost *= double(sizes.at(label));
  return cost;
}

/// The cheapest tree of pairs over all subsets of the terms.
struct Order {
  std::vector<Term> const& terms;
  std::string const& output;
  Sizes const& sizes;
  std::vector<double> cost;
  std::vector<uint32_t> half;
  std::vector<std::string> labels;

  Order(std::vector<Term> const& terms, std::string const& output, Sizes const& sizes)
      : terms(terms), output(output), sizes(sizes) {
    uint32_t const all = (uint32_t(1) << terms.size()) - 1;
    cost.assign(all + 1, std::numeric_limits<double>::infinity());
    half.resize(all + 1);
    for (uint32_t set = 0; set <= all; ++set) labels.push_back(kept(terms, set, output));
    for (uint32_t set = 1; set <= all; ++set) {
      if ((set & (set - 1)) == 0) {
        cost[set] = 0;
        continue;
      }
      // Every pair of halves once: the one with the lowest bit first.
      for (uint32_t part = (set - 1) & set; part; part = (part - 1) & set)
        if (part & set & -set)
          if (double const c = cost[part] + cost[set ^ part] + cost_of(labels[part], labels[set ^ part], sizes);
              c < cost[set])
            cost[set] = c, half[set] = part;
    }
  }

  Term run(uint32_t set) const {
    if ((set & (set - 1)) == 0) return terms[size_t(__builtin_ctz(set))];
    return contract(run(half[set]), run(set ^ half[set]), labels[set], sizes);
  }
};

Term contract_all(std::vector<Term> terms, std::string const& output, Sizes const& sizes) {
  constexpr size_t exact_up_to = 8;
  while (terms.size() > exact_up_to) {
    size_t best_i = 0, best_j = 1;
    double best = std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < terms.size(); ++i)
      for (size_t j = i + 1; j < terms.size(); ++j)
        if (double const c = cost_of(terms[i].labels, terms[j].labels, sizes); c < best)
          best = c, best_i = i, best_j = j;
    std::string rest = output;
    for (size_t i = 0; i < terms.size(); ++i)
      if (i != best_i && i != best_j) rest += terms[i].labels;
    terms[best_i] = contract(terms[best_i], terms[best_j], rest, sizes);
    terms.erase(terms.begin() + int64_t(best_j));
  }
  return Order(terms, output, sizes).run((uint32_t(1) << terms.size()) - 1);
}

Tensor contract_to(std::vector<Term> const& terms, std::string const& output) {
  Sizes sizes;
  for (Term const& term : terms)
    for (size_t i = 0; i < term.labels.size(); ++i) {
      int64_t& size = sizes.emplace(term.labels[i], 1).first->second;
      int64_t const here = term.x.shape()[int(i)];
      check(size == 1 || here == 1 || size == here, "einsum", [&] {
        return Complaint{fmt::format("one label has sizes {} and {}", size, here), "make them equal, or one of them 1"};
      });
      if (here != 1) size = here;
    }
  std::vector<Term> lean;
  for (Term const& term : terms) lean.push_back(without_ones(without_repeats(term)));
  Term const result = summed(contract_all(lean, output, sizes), output);
  std::string present;
  for (char label : output)
    if (has(result.labels, label)) present += label;
  Tensor y = permuted(result.x, result.labels, present);
  for (size_t i = 0; i < output.size(); ++i)
    if (!has(result.labels, output[i])) y = y.unsqueeze(int(i));
  return y;
}

[[noreturn]] void bad_equation(std::string_view equation, std::string const& what) {
  fail("einsum", {fmt::format("{} in \"{}\"", what, equation), "write it as \"ij,jk->ik\""});
}

/// Letters of one operand, and where its ellipsis stands (npos for none).
struct Subscripts {
  std::string letters;
  size_t ellipsis = std::string::npos;
};

Subscripts parse(std::string_view text, std::string_view equation) {
  Subscripts s;
  for (size_t i = 0; i < text.size(); ++i) {
    char const c = text[i];
    if (c == ' ') continue;
    if (text.substr(i, 3) == "...") {
      if (s.ellipsis != std::string::npos) bad_equation(equation, "a second ellipsis for one operand");
      s.ellipsis = s.letters.size();
      i += 2;
    } else if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) {
      s.letters += c;
    } else {
      bad_equation(equation, fmt::format("'{}'", c));
    }
  }
  return s;
}

std::string with_ellipsis(Subscripts const& s, int count) {
  std::string inner;
  for (int i = count; i > 0; --i) inner += char(first_ellipsis_label + i - 1);
  return s.ellipsis == std::string::npos ? s.letters
                                         : s.letters.substr(0, s.ellipsis) + inner + s.letters.substr(s.ellipsis);
}

std::string implicit_output(std::vector<Subscripts> const& subscripts, int ellipsis) {
  std::string all, once;
  for (Subscripts const& s : subscripts) all += s.letters;
  std::sort(all.begin(), all.end(), [](char a, char b) { return a < b; });
  for (char c : all)
    if (std::count(all.begin(), all.end(), c) == 1) once += c;
  return with_ellipsis({once, 0}, ellipsis);
}

std::string explicit_output(std::string_view text, std::vector<Term> const& terms, int ellipsis,
                            std::string_view equation) {
  std::string const output = with_ellipsis(parse(text, equation), ellipsis);
  for (char c : output) {
    if (std::count(output.begin(), output.end(), c) > 1)
      bad_equation(equation, fmt::format("'{}' twice in the output", c));
    bool found = c < first_ellipsis_label + ellipsis;
    for (Term const& term : terms) found = found || has(term.labels, c);
    if (!found) bad_equation(equation, fmt::format("'{}' in the output but in no operand", c));
  }
  return output;
}

/// Whether a label that only one operand has is missing in the output: then that operand is summed by itself.
bool sums_one_operand(std::vector<Term> const& terms, std::string const& output) {
  for (Term const& term : terms)
    for (char label : term.labels)
      if (!has(output, label) &&
          std::ranges::count_if(terms, [&](Term const& other) { return has(other.labels, label); }) == 1)
        return true;
  return false;
}

}  // namespace

Tensor einsum(std::string_view equation, std::vector<Tensor> const& operands) {
  size_t const arrow = equation.find("->");
  std::vector<Subscripts> subscripts;
  std::string_view inputs = equation.substr(0, arrow);
  for (size_t comma; (comma = inputs.find(',')) != std::string_view::npos; inputs = inputs.substr(comma + 1))
    subscripts.push_back(parse(inputs.substr(0, comma), equation));
  subscripts.push_back(parse(inputs, equation));
  if (subscripts.size() != operands.size())
    bad_equation(equation, fmt::format("{} operands for {} tensors", subscripts.size(), operands.size()));
  int ellipsis = 0;
  Dtype dtype = Dtype::boolean;
  for (size_t i = 0; i < operands.size(); ++i) {
    check_defined("einsum", operands[i]);
    int const extra = operands[i].rank() - int(subscripts[i].letters.size());
    if (extra < 0 || (extra > 0 && subscripts[i].ellipsis == std::string::npos))
      bad_equation(equation, fmt::format("{} labels for operand {} of shape {}", subscripts[i].letters.size(), i,
                                         to_string(operands[i].shape())));
    ellipsis = std::max(ellipsis, extra);
    dtype = i == 0 ? operands[0].dtype() : promote(dtype, operands[i].dtype());
  }
  std::vector<Term> terms;
  for (size_t i = 0; i < operands.size(); ++i) {
    int const extra = operands[i].rank() - int(subscripts[i].letters.size());
    terms.push_back({operands[i].to(dtype), with_ellipsis(subscripts[i], extra)});
    std::string const& labels = terms.back().labels;
    for (size_t j = 0; j < labels.size(); ++j)
      if (int64_t const a = operands[i].shape()[int(j)], b = operands[i].shape()[int(labels.find(labels[j]))]; a != b)
        bad_equation(equation, fmt::format("'{}' has sizes {} and {} in operand {}", labels[j], b, a, i));
  }
  std::string const output = arrow == std::string_view::npos
                                 ? implicit_output(subscripts, ellipsis)
                                 : explicit_output(equation.substr(arrow + 2), terms, ellipsis, equation);
  if (!is_floating(dtype) && sums_one_operand(terms, output))
    for (Term& term : terms) term.x = term.x.to(Dtype::i64);
  return contract_to(terms, output);
}

Tensor tensordot(Tensor const& a, Tensor const& b, Dims const& axes_a, Dims const& axes_b) {
  check_defined("tensordot", a);
  check_defined("tensordot", b);
  check(axes_a.rank() == axes_b.rank(), "tensordot", [&] {
    return Complaint{fmt::format("{} axes of the first against {} of the second", axes_a.rank(), axes_b.rank()),
                     "pair them"};
  });
  std::string const alphabet = "abcdefghijklmnopqrstuvwxyz";
  std::string left = alphabet.substr(0, size_t(a.rank())), right = alphabet.substr(8, size_t(b.rank())), summed;
  for (int i = 0; i < axes_a.rank(); ++i) {
    int const from = normalize_axis("tensordot", int(axes_a[i]), a.rank());
    int const to = normalize_axis("tensordot", int(axes_b[i]), b.rank());
    int64_t const m = a.shape()[from], n = b.shape()[to];
    check((m == n || m == 1 || n == 1) && !has(summed, left[size_t(from)]) &&
              right[size_t(to)] == alphabet[8 + size_t(to)],
          "tensordot", [&] {
            return Complaint{fmt::format("axis {} of shape {} cannot be summed with axis {} of {}", from,
                                         to_string(a.shape()), to, to_string(b.shape())),
                             "name each axis once, and pair axes of one size"};
          });
    right[size_t(to)] = left[size_t(from)];
    summed += left[size_t(from)];
  }
  std::string output;
  for (char label : left + right)
    if (!has(summed, label)) output += label;
  Dtype const dtype = promote(a.dtype(), b.dtype());
  return contract_to({{a.to(dtype), left}, {b.to(dtype), right}}, output);
}

Tensor tensordot(Tensor const& a, Tensor const& b, int axes) {
  check_defined("tensordot", a);
  check_defined("tensordot", b);
  check(axes >= 0 && axes <= a.rank() && axes <= b.rank(), "tensordot", [&] {
    return Complaint{fmt::format("cannot sum {} axes of {} and {}", axes, to_string(a.shape()), to_string(b.shape())),
                     "use no more axes than both have"};
  });
  Dims last, first;
  for (int i = 0; i < axes; ++i) {
    last.push_back(a.rank() - axes + i);
    first.push_back(i);
  }
  return tensordot(a, b, last, first);
}

}  // namespace heed
