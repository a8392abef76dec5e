#include "op_case.h"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <heed/engine/backward.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/parallel.h>
#include <heed/engine/storage.h>
#include <heed/engine/tape.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <numeric>

namespace heed::test {

std::string shapes_text(Shapes const& shapes) {
  std::string text;
  for (Shape const& s : shapes) text += to_string(s) + " ";
  return text;
}

std::vector<Tensor> gradients_of(OpCase const& c, std::vector<Tensor> const& in) {
  auto const all = c.op(in);
  std::vector<Tensor> outputs, cotangents, wanted;
  for (size_t k = 0; k < all.size(); ++k)
    if (is_floating(all[k].dtype()) && all[k].requires_grad()) {
      outputs.push_back(all[k]);
      cotangents.push_back(numbers(all[k].shape(), uint32_t(k), all[k].dtype()).to(all[k].device()));
    }
  for (Tensor const& t : in)
    if (t.requires_grad()) wanted.push_back(t);
  return grad(outputs, wanted, cotangents, {.allow_unused = true});
}

namespace {

/// A write outside a buffer while it lives is a failure (main.cpp turns poison and guards on).
struct Guarded {
  size_t before = guard_violations();
  ~Guarded() { CHECK(guard_violations() == before); }
};

uint32_t key_of(std::string const& name, size_t operand) {
  uint32_t hash = 2166136261;
  for (char c : name) hash = (hash ^ uint8_t(c)) * 16777619;
  return hash + uint32_t(operand) * 7919;
}

Tensor draw_one(Input const& in, Shape const& shape, Dtype dtype, uint32_t key) {
  size_t const n = size_t(numel(shape));
  std::vector<double> values(n);
  uint32_t tries = 0;
  for (size_t i = 0; i < n; ++i) {
    bool again = true;
    while (again) {
      double const u = philox4x32({uint32_t(i), tries, 0, 0}, {key, 5})[0] * 0x1p-32;
      values[i] = double(float(in.low + u * (in.high - in.low)));
      again = false;
      for (double kink : in.avoid) again |= std::abs(values[i] - kink) < in.margin;
      tries += again;
    }
  }
  switch (in.kind) {
    case Input::Kind::index: {
      std::vector<int64_t> whole(n);
      for (size_t i = 0; i < n; ++i) whole[i] = std::min(int64_t(values[i]), int64_t(in.high) - 1);
      return tensor(whole, shape);
    }
    case Input::Kind::mask:
    case Input::Kind::bits:
      for (double& v : values) v = v < 0.6;
      return tensor(values, shape).to(in.kind == Input::Kind::mask ? Dtype::boolean : dtype);
    case Input::Kind::distinct:
      for (size_t i = 0; i < n; ++i)
        values[i] = double(float(in.low + (in.high - in.low) * (double(i) + 0.5) / double(n)));
      for (size_t i = n; i > 1; --i)
        std::swap(values[i - 1], values[philox4x32({uint32_t(i), 1, 0, 0}, {key, 6})[0] % i]);
      break;
    case Input::Kind::real:
      break;
  }
  return tensor(values, shape).to(dtype);
}

Function twin_of(OpCase const& c) {
  if (c.twin) return c.twin;
  return [f = c.scalar](std::vector<Tensor> const& in) -> std::vector<Tensor> {
    Shape shape;
    for (Tensor const& t : in) shape = broadcast("twin", shape, t.shape());
    std::vector<std::vector<double>> values;
    for (Tensor const& t : in) values.push_back(t.detach().expand(shape).to_vector<double>());
    std::vector<double> out(size_t(numel(shape)));
    std::vector<double> at(in.size());
    for (size_t i = 0; i < out.size(); ++i) {
      for (size_t k = 0; k < in.size(); ++k) at[k] = values[k][i];
      out[i] = f(at.data());
    }
    return {tensor(out, shape)};
  };
}

/// The same elements with other strides: 0 transposed, 1 every second element of a longer last axis, behind an offset.
Tensor restrided(Tensor const& x, int how) {
  NoGrad const off;
  if (x.rank() == 0) return x.detach();
  if (how == 0) {
    Dims reversed;
    for (int a = x.rank() - 1; a >= 0; --a) reversed.push_back(a);
    return x.detach().permute(reversed).contiguous().permute(reversed);
  }
  Shape longer = x.shape();
  int const last = x.rank() - 1;
  longer[last] = 2 * longer[last] + 1;
  Tensor const base = zeros(longer, x.dtype());
  Tensor y = base.slice(last, 1, longer[last], 2);
  y.copy_(x.detach());
  return y;
}

void check_outputs(OpCase const& c, std::vector<Tensor> const& in, std::vector<Tensor> const& in64) {
  double const tolerance = [&] {
    for (Tensor const& t : in)
      if (t.dtype() == Dtype::f32) return c.f32;
    return c.f64;
  }();
  NoGrad const off;
  auto const got = c.op(in);
  auto const want = twin_of(c)(in64);
  REQUIRE(got.size() == want.size());
  for (size_t k = 0; k < got.size(); ++k) CHECK(differs(got[k], want[k], tolerance) == "");
}

}  // namespace

std::vector<Tensor> draw(OpCase const& c, Shapes const& shapes, Dtype dtype, bool tracked) {
  REQUIRE(shapes.size() == c.inputs.size());
  std::vector<Tensor> in;
  for (size_t k = 0; k < c.inputs.size(); ++k) {
    in.push_back(draw_one(c.inputs[k], shapes[k], dtype, key_of(c.name, k)));
    if (tracked && c.inputs[k].differentiable) in.back().requires_grad_();
  }
  return in;
}

std::string differs(Tensor const& got, Tensor const& want, double tolerance) {
  if (!got.defined() || !want.defined()) return got.defined() == want.defined() ? "" : "one is undefined";
  if (!(got.shape() == want.shape()))
    return fmt::format("shape {} for {}", to_string(got.shape()), to_string(want.shape()));
  if (is_floating(got.dtype()) != is_floating(want.dtype()))
    return fmt::format("type {} for {}", name(got.dtype()), name(want.dtype()));
  auto const a = got.detach().to_vector<double>(), b = want.detach().to_vector<double>();
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (a[i] == b[i] || (is_floating(got.dtype()) && std::abs(a[i] - b[i]) <= tolerance * (1 + std::abs(b[i]))))
      continue;
    return fmt::format("element {} of {} is {:.17g}, expected {:.17g}", i, to_string(got.shape()), a[i], b[i]);
  }
  return "";
}

bool same_bits(Tensor const& a, Tensor const& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  if (!(a.shape() == b.shape()) || a.dtype() != b.dtype()) return false;
  Tensor const x = a.detach().contiguous(), y = b.detach().contiguous();
  return x.numel() == 0 || std::memcmp(x.raw(), y.raw(), size_t(x.numel()) * size_of(x.dtype())) == 0;
}

std::string error_of(std::function<void()> const& call) {
  try {
    call();
  } catch (Error const& error) {
    CHECK(!error.op().empty());
    CHECK(!error.problem().empty());
    CHECK_MESSAGE(!error.remedy().empty(), error.what());
    return error.what();
  } catch (std::exception const& error) {
    FAIL_CHECK("not a heed::Error: ", error.what());
  }
  return "";
}

void check_values(OpCase const& c) {
  Guarded const guarded;
  on_every_isa([&](Isa level) {
    // Below the best level, a shape or two that reach vector body and tail.
    size_t count = c.shapes.size();
    if (level != Isa(0) && int(level) + 1 < int(all_isas().size()) && has_isa(Isa(int(level) + 1)))
      count = std::min(count, size_t(8));
    for (size_t s = 0; s < count; ++s)
      for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
        INFO(c.name, " ", std::string(name(dtype)), " ", std::string(name(level)), " ", shapes_text(c.shapes[s]));
        check_outputs(c, draw(c, c.shapes[s], dtype), draw(c, c.shapes[s], Dtype::f64));
      }
  });
}

void check_gradients(OpCase const& c) {
  Guarded const guarded;
  bool const any = [&] {
    for (Input const& in : c.inputs)
      if (in.differentiable) return true;
    return false;
  }();
  REQUIRE(any);
  on_every_isa([&](Isa level) {
    bool const best = int(level) + 1 == int(all_isas().size()) || !has_isa(Isa(int(level) + 1));
    size_t const count = best ? c.shapes.size() : size_t(1);
    for (size_t s = 0; s < count; ++s) {
      INFO(c.name, " ", std::string(name(level)), " ", shapes_text(c.shapes[s]));
      CHECK(gradcheck(c.op, draw(c, c.shapes[s], Dtype::f64, true), c.gradcheck) == "");
    }
    for (size_t s = 0; s < c.shapes.size(); ++s) {
      INFO(c.name, " f32 ", std::string(name(level)), " ", shapes_text(c.shapes[s]));
      auto const got = gradients_of(c, draw(c, c.shapes[s], Dtype::f32, true));
      auto const want = gradients_of(c, draw(c, c.shapes[s], Dtype::f64, true));
      REQUIRE(got.size() == want.size());
      for (size_t k = 0; k < got.size(); ++k) CHECK(differs(got[k], want[k], c.gradient_f32) == "");
    }
  });
}

void check_second_order(OpCase const& c) {
  Guarded const guarded;
  size_t const count = std::min(c.shapes.size(), size_t(4));
  for (size_t s = 0; s < count; ++s) {
    INFO(c.name, " ", shapes_text(c.shapes[s]));
    CHECK(gradgradcheck(c.op, draw(c, c.shapes[s], Dtype::f64, true), c.gradcheck) == "");
    // A recorded gradient is the same function as the fused one.
    auto const in = draw(c, c.shapes[s], Dtype::f64, true);
    auto const fused = gradients_of(c, in);
    std::vector<Tensor> outputs, cotangents, wanted;
    auto const all = c.op(in);
    for (size_t k = 0; k < all.size(); ++k)
      if (is_floating(all[k].dtype()) && all[k].requires_grad()) {
        outputs.push_back(all[k]);
        cotangents.push_back(numbers(all[k].shape(), uint32_t(k)));
      }
    for (Tensor const& t : in)
      if (t.requires_grad()) wanted.push_back(t);
    auto const recorded = grad(outputs, wanted, cotangents, {.create_graph = true, .allow_unused = true});
    for (size_t k = 0; k < fused.size(); ++k) CHECK(differs(recorded[k], fused[k], 1e-11) == "");
  }
}

void check_strides(OpCase const& c) {
  Guarded const guarded;
  for (size_t s = 0; s < std::min(c.shapes.size(), size_t(3)); ++s)
    for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
      auto const plain = draw(c, c.shapes[s], dtype, c.differentiable);
      auto const value = c.op(plain);
      std::vector<Tensor> gradient;
      if (c.differentiable) gradient = gradients_of(c, plain);
      double const tolerance = dtype == Dtype::f32 ? c.f32 : c.f64;
      for (size_t k = 0; k < plain.size(); ++k)
        for (int how : {0, 1}) {
          INFO(c.name, " ", std::string(name(dtype)), " ", shapes_text(c.shapes[s]), " operand ", k,
               std::string(how ? " stepped" : " transposed"));
          auto in = plain;
          in[k] = restrided(plain[k], how);
          if (plain[k].requires_grad()) in[k].requires_grad_();
          auto const got = c.op(in);
          for (size_t o = 0; o < got.size(); ++o) {
            CHECK(differs(got[o], value[o], tolerance) == "");
            if (c.elementwise_bits) CHECK(same_bits(got[o], value[o]));
          }
          if (!c.differentiable) continue;
          auto const d = gradients_of(c, in);
          for (size_t o = 0; o < d.size(); ++o)
            CHECK(differs(d[o], gradient[o], dtype == Dtype::f32 ? c.gradient_f32 : 1e-11) == "");
        }
      // Every operand expanded along its first axis, against the same elements in memory of their own.
      auto expanded = plain, copied = plain;
      bool any = false;
      for (size_t k = 0; k < plain.size(); ++k) {
        Tensor const t = plain[k].detach();
        if (t.rank() == 0 || t.size(0) < 2) continue;
        expanded[k] = t.slice(0, 0, 1).expand(t.shape());
        copied[k] = expanded[k].clone();
        any = true;
      }
      if (!any) continue;
      INFO(c.name, " ", std::string(name(dtype)), " ", shapes_text(c.shapes[s]), " expanded");
      NoGrad const off;
      auto const got = c.op(expanded), want = c.op(copied);
      for (size_t o = 0; o < got.size(); ++o) CHECK(differs(got[o], want[o], tolerance) == "");
    }
}

void check_subsets(OpCase const& c) {
  Guarded const guarded;
  auto const whole_in = draw(c, c.shapes[0], Dtype::f64, true);
  auto const whole = gradients_of(c, whole_in);
  std::vector<size_t> slots;
  for (size_t k = 0; k < c.inputs.size(); ++k)
    if (c.inputs[k].differentiable) slots.push_back(k);
  unsigned const all = (1u << slots.size()) - 1;
  for (unsigned set = 1; set <= all; ++set) {
    // Of many operands: one, or all but one.
    unsigned const rest = all & ~set;
    if (slots.size() > 7 && (set & (set - 1)) != 0 && (rest & (rest - 1)) != 0) continue;
    INFO(c.name, " operands with gradients: set ", set);
    auto in = draw(c, c.shapes[0], Dtype::f64);
    for (size_t i = 0; i < slots.size(); ++i)
      if (set >> i & 1) in[slots[i]].requires_grad_();
    auto const some = gradients_of(c, in);
    size_t n = 0;
    for (size_t i = 0; i < slots.size(); ++i)
      if (set >> i & 1) CHECK(differs(some[n++], whole[i], 1e-12) == "");
  }
  INFO(c.name, " without gradients");
  for (Tensor const& y : c.op(draw(c, c.shapes[0], Dtype::f64))) CHECK(!y.requires_grad());
  NoGrad const off;
  for (Tensor const& y : c.op(whole_in)) CHECK((!y.requires_grad() || y.is_leaf()));
}

void check_threads(OpCase const& c) {
  if (c.large.empty()) return;
  int const before = thread_count();
  for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
    std::vector<Tensor> value, gradient;
    for (int threads : {1, 2, 4}) {
      INFO(c.name, " ", std::string(name(dtype)), " ", threads, " threads");
      set_thread_count(threads);
      auto const in = draw(c, c.large, dtype, c.differentiable);
      auto const y = c.op(in);
      auto const d = c.differentiable ? gradients_of(c, in) : std::vector<Tensor>();
      if (threads == 1) {
        value = y;
        gradient = d;
        continue;
      }
      for (size_t k = 0; k < y.size(); ++k) CHECK(same_bits(y[k], value[k]));
      for (size_t k = 0; k < d.size(); ++k) CHECK(same_bits(d[k], gradient[k]));
    }
  }
  set_thread_count(before);
}

void check_special(OpCase const& c) {
  if (c.special.empty()) return;
  constexpr int64_t n = 19;  // body and tail of every vector length
  on_every_isa([&](Isa level) {
    for (Dtype dtype : {Dtype::f32, Dtype::f64})
      for (Special const& special : c.special) {
        std::string operands;
        std::vector<Tensor> in;
        for (double value : special.in) {
          in.push_back(full({n}, value, dtype));
          operands += fmt::format("{} ", value);
        }
        INFO(c.name, "(", operands, ") ", std::string(name(dtype)), " ", std::string(name(level)));
        auto const got = c.op(in)[0].to_vector<double>();
        REQUIRE(got.size() == size_t(n));
        for (double value : got) {
          if (std::isnan(special.out)) {
            CHECK(std::isnan(value));
          } else if (std::isinf(special.out) || special.out == 0) {
            CHECK(value == special.out);
            CHECK(std::signbit(value) == std::signbit(special.out));
          } else {
            CHECK(std::abs(value - special.out) <= (dtype == Dtype::f32 ? 1e-6 : 1e-14) * std::abs(special.out));
          }
        }
      }
  });
}

void check_bad(OpCase const& c) {
  for (BadCall const& bad : c.bad) {
    std::string const text = error_of(bad.call);
    INFO(c.name, ": ", text);
    CHECK(text != "");
    for (std::string const& part : bad.says) {
      INFO("missing: ", part);
      CHECK(text.find(part) != std::string::npos);
    }
  }
}

std::optional<std::string> bench_filter() {
  if (char const* const text = std::getenv("HEED_BENCH"); text && *text) return std::string(text) == "1" ? "" : text;
  std::ifstream arguments("/proc/self/cmdline");
  for (std::string one; std::getline(arguments, one, '\0');)
    if (one.rfind("--bench", 0) == 0) return one.size() > 8 ? one.substr(8) : "";
  return std::nullopt;
}

void bench(OpCase const& c) {
  if (c.large.empty()) return;
  set_poison(false);
  auto seconds = [](auto&& f) {
    double best = 1e9;
    for (int round = 0; round < 7; ++round) {
      auto const start = std::chrono::steady_clock::now();
      f();
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
  };
  for (Dtype dtype : {Dtype::f32, Dtype::f64}) {
    auto const in = draw(c, c.large, dtype, c.differentiable);
    int64_t elements = 0;
    double bytes = 0;
    for (Tensor const& t : in) bytes += double(t.numel()) * double(size_of(t.dtype()));
    for (Tensor const& y : c.op(in)) {
      elements += y.numel();
      bytes += double(y.numel()) * double(size_of(y.dtype()));
    }
    for (Tensor const& t : in) elements = std::max(elements, t.numel());
    double const forward = seconds([&] {
      NoGrad const off;
      c.op(in);
    });
    fmt::print("{:28} {}  forward {:8.3f} ns/element {:7.2f} GB/s", c.name, name(dtype),
               forward * 1e9 / double(elements), bytes / forward * 1e-9);
    if (c.differentiable) {
      double const both = seconds([&] { gradients_of(c, in); });
      fmt::print("  with backward {:8.3f} ns/element", both * 1e9 / double(elements));
    }
    fmt::print("\n");
  }
  set_poison(true);
}

}  // namespace heed::test
