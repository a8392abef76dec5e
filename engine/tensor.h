// Tensor: a handle to storage + shape + strides + an edge into the tape. No maths here: ops.h is the catalogue.
#pragma once

#include <heed/engine/dtype.h>
#include <heed/engine/number.h>
#include <heed/engine/ref.h>
#include <heed/engine/shape.h>
#include <heed/engine/storage.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace heed {

class Node;   // tape.h
class Index;  // ops.h

/// What is to be called with a gradient (hooks.h).
struct HookList : Counted {
  virtual void dispose() noexcept = 0;

 protected:
  ~HookList() = default;
};

/// What handles share. `node`/`slot` name the tape entry that made the value; a leaf has none.
struct TensorBody : Counted {
  uint32_t label = 0;  // which of the labels (tensor.cpp); 0: none
  Ref<Storage> storage;
  Shape shape;
  Strides strides;
  int64_t offset = 0;  // elements from the start of the storage
  Dtype dtype = Dtype::f32;
  bool contiguous = true;
  bool requires_grad = false;  // set by the user on a leaf
  bool is_view = false;
  int slot = 0;
  Ref<Node> node;
  Ref<TensorBody> grad;
  Ref<HookList> hooks;   // of a leaf
  Ref<TensorBody> base;  // of a view made while recording: whose storage it reads; none behind detach()

  TensorBody();
  ~TensorBody();
  void dispose() noexcept;
  static void* operator new(size_t bytes) { return pool_allocate(bytes); }
  static void operator delete(void* block, size_t bytes) noexcept { pool_release(block, bytes); }
};

class Tensor {
 public:
  Tensor() = default;  // undefined: no shape, no data
  explicit Tensor(Ref<TensorBody> body) : body_(std::move(body)) {}
  /// Uninitialised elements.
  Tensor(Shape const& shape, Dtype dtype, Device device = cpu);
  /// Another view of `storage`.
  Tensor(Ref<Storage> storage, int64_t offset, Shape const& shape, Strides const& strides, Dtype dtype);

  bool defined() const { return bool(body_); }
  explicit operator bool() const { return defined(); }
  Shape const& shape() const { return defined_body().shape; }
  Strides const& strides() const { return defined_body().strides; }
  int rank() const { return shape().rank(); }
  /// Size along `axis` (negative counts from the end).
  int64_t size(int axis) const;
  int64_t numel() const { return heed::numel(shape()); }
  Dtype dtype() const { return defined_body().dtype; }
  Device device() const { return storage().device(); }
  bool is_contiguous() const { return defined_body().contiguous; }
  Storage& storage() const { return *defined_body().storage; }
  TensorBody* body() const { return body_.get(); }
  Ref<TensorBody> const& body_ref() const { return body_; }

  /// Address of element [0, …, 0]; an Error unless T is the element type and the elements are the processor's. Writing
  /// through it is not seen by the tape.
  template <class T>
  T* data() const {
    check_type(dtype_of<T>);
    return static_cast<T*>(raw());
  }
  void* raw() const {
    if (!device().is_cpu()) [[unlikely]]
      not_on_host();
    return address();
  }
  /// The same on whatever device the elements are: for operations that have kernels there.
  void* address() const { return storage().data() + size_t(body_->offset) * size_of(body_->dtype); }
  template <class T>
  T* address() const {
    check_type(dtype_of<T>);
    return static_cast<T*>(address());
  }
  /// The value of a tensor of one element, converted to T.
  template <class T = double>
  T item() const {
    alignas(8) std::byte copy[8];
    return dispatch(dtype(), [&]<class From>(Type<From>) { return T(*static_cast<From const*>(one_element(copy))); });
  }
  /// All elements in row-major order, converted to T.
  template <class T = float>
  std::vector<T> to_vector() const {
    Tensor const whole = detach().contiguous().to(cpu);
    return dispatch(dtype(), [&]<class From>(Type<From>) {
      auto const* const from = static_cast<From const*>(whole.raw());
      return std::vector<T>(from, from + whole.numel());
    });
  }

  // Autodiff (tape.h, backward.h)
  bool requires_grad() const { return defined_body().requires_grad || body_->node; }
  bool is_leaf() const { return !defined_body().node; }
  /// Marks a floating leaf as a variable whose gradient backward() accumulates. Returns *this.
  Tensor& requires_grad_(bool on = true);
  /// The accumulated gradient; undefined before the first backward().
  Tensor grad() const { return Tensor(defined_body().grad); }
  void set_grad(Tensor const& gradient) const { defined_body().grad = gradient.body_; }
  /// Accumulates d(this)/d(leaf) · gradient into every leaf; a scalar needs no gradient.
  void backward(Tensor const& gradient = {}) const;
  /// The same elements, unknown to the tape.
  Tensor detach() const;
  /// What explain() and graphs call the tensor: a parameter's path, or what set_label() says. Views have none of their
  /// own.
  std::string_view label() const;
  /// Labels are kept as long as the program runs.
  Tensor& set_label(std::string_view text);

  // Views (ops/view.cpp): they share storage, and gradients flow through them.
  /// Same elements in another shape, one size may be -1; a view where strides allow, else a copy.
  Tensor reshape(Shape const& shape) const;
  /// As reshape, but an Error where a copy would be needed.
  Tensor view(Shape const& shape) const;
  Tensor permute(Dims const& axes) const;
  Tensor transpose(int axis_a, int axis_b) const;
  /// The last two axes swapped.
  Tensor t() const { return transpose(-2, -1); }
  Tensor unsqueeze(int axis) const;
  Tensor squeeze(int axis) const;
  /// Broadcast to `shape` with zero strides.
  Tensor expand(Shape const& shape) const;
  /// Elements from, from+step, … < to along `axis`; negative ends count from the end, ends are clipped to the size.
  Tensor slice(int axis, int64_t from, int64_t to, int64_t step = 1) const;
  /// The tensor at index `index` of `axis`, without that axis.
  Tensor select(int axis, int64_t index) const;
  Tensor flatten(int from = 0, int to = -1) const;
  /// x.at(i, j): select on the leading axes.
  template <class... Index>
  Tensor at(Index... index) const {
    Tensor t = *this;
    ((t = t.select(0, int64_t(index))), ...);
    return t;
  }

  /// All axes reversed.
  Tensor T() const;
  /// The last two axes swapped.
  Tensor mT() const { return transpose(-2, -1); }
  /// x.index({Slice{1, 5}, none, ellipsis, 3, mask, ids}): ops.h says how an Index reads. A view without index tensors.
  Tensor index(std::vector<Index> const& indices) const;

  // Copies (ops/copy.cpp)
  Tensor contiguous() const;
  Tensor clone() const;
  Tensor to(Dtype dtype) const;
  /// The same elements in another device's memory; *this where they are there already.
  Tensor to(Device device) const;

  // In place: needs no tape or a tracked non-view tensor; bumps the version that saved tensors are compared with.
  Tensor& copy_(Tensor const& from);
  Tensor& fill_(Number value);
  /// index(indices) = values, or += where `accumulate`.
  Tensor& index_put_(std::vector<Index> const& indices, Tensor const& values, bool accumulate = false);
  Tensor& index_put_(std::vector<Index> const& indices, Number value, bool accumulate = false);
  Tensor& zero_() { return fill_(0); }
  Tensor& add_(Tensor const& other, Number alpha = 1);
  Tensor& sub_(Tensor const& other);
  Tensor& mul_(Tensor const& other);
  Tensor& mul_(Number factor);
  Tensor& div_(Tensor const& other);

 private:
  TensorBody& defined_body() const {
    if (!body_) [[unlikely]]
      undefined();
    return *body_;
  }
  [[noreturn]] static void undefined();
  void check_type(Dtype wanted) const {
    if (wanted != dtype()) [[unlikely]]
      wrong_type(wanted);
  }
  [[noreturn]] void wrong_type(Dtype wanted) const;
  [[noreturn]] void not_on_host() const;
  void const* one_element(std::byte* copy) const;
  Ref<TensorBody> body_;
};

/// Rows of numbers with shape and type, long axes shortened: for people.
std::string to_string(Tensor const& tensor);

/// The type of an operation on `a` and `b`, by PyTorch's rules: promote() of both, but of two operands one of rank 0
/// the other decides, unless the scalar's kind (bool < integer < floating) is higher.
Dtype result_type(Tensor const& a, Tensor const& b);
Dtype result_type(std::vector<Tensor> const& tensors);
/// Beside a number, which is weaker still: `a`'s type unless the number's kind is higher; then i64 or f32.
Dtype result_type(Tensor const& a, Number b);

/// Where an operation on `operands` runs (null and undefined ones allowed): they are on one device, but for single
/// elements on the processor beside others; an Error otherwise.
Device common_device(std::string_view op, std::initializer_list<Tensor const*> operands);

/// An Error naming `op` unless `tensor` is defined.
void check_defined(std::string_view op, Tensor const& tensor);

}  // namespace heed
