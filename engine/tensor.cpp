#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/error.h>
#include <heed/engine/tape.h>

#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

namespace heed {

TensorBody::TensorBody() = default;
TensorBody::~TensorBody() = default;
void TensorBody::dispose() noexcept { delete this; }

Tensor::Tensor(Shape const& shape, Dtype dtype, Device device)
    : Tensor(device.is_cpu() ? Storage::allocate(size_t(heed::numel(shape)) * size_of(dtype))
                             : Storage::allocate(size_t(heed::numel(shape)) * size_of(dtype), device),
             0, shape, contiguous_strides(shape), dtype) {}

Tensor::Tensor(Ref<Storage> storage, int64_t offset, Shape const& shape, Strides const& strides, Dtype dtype)
    : body_(new TensorBody) {
  body_->storage = std::move(storage);
  body_->offset = offset;
  body_->shape = shape;
  body_->strides = strides;
  body_->contiguous = heed::is_contiguous(shape, strides);
  body_->dtype = dtype;
}

int64_t Tensor::size(int axis) const { return shape()[normalize_axis("size", axis, rank())]; }

Tensor& Tensor::requires_grad_(bool on) {
  check(is_leaf(), "requires_grad_", [&] {
    return Complaint{"expected a leaf, got the result of a recorded operation", "detach() it first"};
  });
  if (on && !is_floating(dtype())) detail::unsupported_dtype("requires_grad_", dtype(), "a floating type");
  if (on && storage().version() == Storage::unversioned && !detail::inference_on)
    detail::fail_unversioned(body_->shape);
  body_->requires_grad = on;
  return *this;
}

Tensor Tensor::detach() const {
  Tensor alias(defined_body().storage, body_->offset, body_->shape, body_->strides, body_->dtype);
  alias.body_->is_view = true;
  return alias;
}

namespace {
struct Labels {
  std::mutex lock;
  std::vector<std::string_view> texts = {{}};
  std::unordered_map<std::string_view, uint32_t> numbers = {{{}, 0}};
};
Labels& labels() {
  static auto& all = *new Labels;  // never destroyed: tensors may outlive static objects
  return all;
}
}  // namespace

std::string_view Tensor::label() const {
  if (defined_body().label == 0) return {};
  std::lock_guard const guard(labels().lock);
  return labels().texts[body_->label];
}

Tensor& Tensor::set_label(std::string_view text) {
  defined_body();
  text = intern(text);
  std::lock_guard const guard(labels().lock);
  auto const [entry, fresh] = labels().numbers.try_emplace(text, uint32_t(labels().texts.size()));
  if (fresh) labels().texts.push_back(text);
  body_->label = entry->second;
  return *this;
}

void Tensor::wrong_type(Dtype wanted) const {
  fail("data", {fmt::format("expected element type {}, the tensor holds {}", name(wanted), name(dtype())),
                "ask for the tensor's own type, or convert with .to()"});
}

void Tensor::undefined() { fail("Tensor", {"expected a tensor, got an undefined one", "assign it before use"}); }

void Tensor::not_on_host() const {
  fail("data", {fmt::format("the operation reads a tensor in the processor's memory, this one is on {}",
                            heed::to_string(device())),
                "it has no kernel there yet: move its operands with .to(cpu)"});
}

void const* Tensor::one_element(std::byte* copy) const {
  check(numel() == 1, "item", [&] {
    return Complaint{fmt::format("expected one element, got shape {}", heed::to_string(shape())),
                     "select one with at(), or reduce it first"};
  });
  if (device().is_cpu()) return raw();
  backend(device()).copy_out(device().index, copy, address(), size_of(dtype()));
  return copy;
}

namespace {
Number::Kind kind(Dtype d) {
  return is_floating(d) ? Number::Kind::floating : d == Dtype::boolean ? Number::Kind::boolean : Number::Kind::integer;
}
}  // namespace

Dtype result_type(Tensor const& a, Tensor const& b) {
  if ((a.rank() == 0) == (b.rank() == 0)) return promote(a.dtype(), b.dtype());
  auto const [scalar, other] = a.rank() == 0 ? std::pair(a.dtype(), b.dtype()) : std::pair(b.dtype(), a.dtype());
  return kind(scalar) > kind(other) ? promote(scalar, other) : other;
}

Dtype result_type(std::vector<Tensor> const& tensors) {
  std::optional<Dtype> ranked, scalars;
  for (Tensor const& t : tensors) {
    auto& sum = t.rank() ? ranked : scalars;
    sum = sum ? promote(*sum, t.dtype()) : t.dtype();
  }
  if (!ranked || !scalars) return ranked ? *ranked : scalars.value_or(Dtype::f32);
  return kind(*scalars) > kind(*ranked) ? promote(*scalars, *ranked) : *ranked;
}

Dtype result_type(Tensor const& a, Number b) {
  if (b.kind() <= kind(a.dtype())) return a.dtype();
  return b.kind() == Number::Kind::floating ? Dtype::f32 : Dtype::i64;
}

Device common_device(std::string_view op, std::initializer_list<Tensor const*> operands) {
  Device device = cpu;
  for (Tensor const* t : operands)
    if (t && t->defined() && !t->device().is_cpu()) device = t->device();
  if (device.is_cpu()) return device;
  for (Tensor const* t : operands)
    check(!t || !t->defined() || t->device() == device || (t->device().is_cpu() && t->numel() == 1), op, [&] {
      return Complaint{fmt::format("expected operands on one device, got some on {} and some on {}", to_string(device),
                                   to_string(t->device())),
                       "move them together with .to()"};
    });
  return device;
}

void check_defined(std::string_view op, Tensor const& tensor) {
  check(tensor.defined(), op, [] {
    return Complaint{"expected a tensor, got an undefined one", "assign it before use"};
  });
}

namespace {

void print(std::string& text, Tensor const& t, int64_t indent) {
  constexpr int64_t edge = 3;
  if (t.rank() == 0) {
    text += is_floating(t.dtype()) ? fmt::format("{:.4g}", t.item<double>()) : fmt::format("{}", t.item<int64_t>());
    return;
  }
  int64_t const n = t.shape()[0];
  text += '[';
  for (int64_t i = 0; i < n; ++i) {
    if (i) text += t.rank() == 1 ? ", " : fmt::format(",\n{:{}}", "", indent + 1);
    if (n > 4 * edge && i == edge) {
      text += t.rank() == 1 ? "…, " : fmt::format("…\n{:{}}", "", indent + 1);
      i = n - edge;
    }
    print(text, t.select(0, i), indent + 1);
  }
  text += ']';
}

}  // namespace

std::string to_string(Tensor const& tensor) {
  if (!tensor.defined()) return "undefined";
  std::string text;
  print(text, tensor.detach(), 0);
  return fmt::format("{}  {} {}", text, name(tensor.dtype()), to_string(tensor.shape()));
}

}  // namespace heed
