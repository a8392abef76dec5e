// Recorded programs (ops/program.h) on a device: a list of steps that each thread reads for four elements at a time.
// What depends on uniform inputs alone is computed once a block and lies in shared memory; the rest in local memory.
#pragma once

#include <heed/engine/cuda/kernel.h>
#include <heed/engine/cuda/launch.h>
#include <heed/engine/ops/program.h>

#include <cmath>
#include <cstring>
#include <vector>

namespace heed {
inline namespace HEED_DEVICE_LEVEL {

/// A step's operands: a local register, or with this bit a value that the block shares.
constexpr uint16_t program_shared = 0x8000;
constexpr int program_locals = 40;  // registers that there are

/// A program in device memory.
template <class T>
struct ProgramView {
  ProgramStep const* steps = nullptr;  // those of the block first
  int block_steps = 0, count = 0;
  T const* start = nullptr;  // of the shared values: the constants, 0 elsewhere
  int shared = 0;
  ProgramTableView<T> const* tables = nullptr;
  uint16_t const* outputs = nullptr;
};

/// A number of a formula; functions are found by it, and follow lane.h where NaN and halves are concerned.
template <class T>
struct Number {
  T v;
  __device__ Number(T value) : v(value) {}
  template <class A>
  requires(std::is_arithmetic_v<A> && !std::is_same_v<A, T>)
  __device__ Number(A value) : v(T(value)) {}

  friend __device__ Number operator+(Number a, Number b) { return a.v + b.v; }
  friend __device__ Number operator-(Number a, Number b) { return a.v - b.v; }
  friend __device__ Number operator*(Number a, Number b) { return a.v * b.v; }
  friend __device__ Number operator/(Number a, Number b) { return a.v / b.v; }
  friend __device__ Number operator-(Number a) { return -a.v; }
  friend __device__ bool operator<(Number a, Number b) { return a.v < b.v; }
  friend __device__ bool operator<=(Number a, Number b) { return a.v <= b.v; }
  friend __device__ bool operator==(Number a, Number b) { return a.v == b.v; }
  friend __device__ bool operator!=(Number a, Number b) { return a.v != b.v; }

#define HEED_NUMBER(name, formula) \
  friend __device__ Number name(Number x) { return formula; }
  HEED_NUMBER(abs, ::fabs(x.v))
  HEED_NUMBER(sqrt, ::sqrt(x.v))
  HEED_NUMBER(rsqrt, 1 / ::sqrt(x.v))
  HEED_NUMBER(exp, ::exp(x.v))
  HEED_NUMBER(expm1, ::expm1(x.v))
  HEED_NUMBER(exp2, ::exp2(x.v))
  HEED_NUMBER(log, ::log(x.v))
  HEED_NUMBER(log1p, ::log1p(x.v))
  HEED_NUMBER(log2, ::log2(x.v))
  HEED_NUMBER(log10, ::log10(x.v))
  HEED_NUMBER(sin, ::sin(x.v))
  HEED_NUMBER(cos, ::cos(x.v))
  HEED_NUMBER(tan, ::tan(x.v))
  HEED_NUMBER(asin, ::asin(x.v))
  HEED_NUMBER(acos, ::acos(x.v))
  HEED_NUMBER(atan, ::atan(x.v))
  HEED_NUMBER(sinh, ::sinh(x.v))
  HEED_NUMBER(cosh, ::cosh(x.v))
  HEED_NUMBER(tanh, ::tanh(x.v))
  HEED_NUMBER(asinh, ::asinh(x.v))
  HEED_NUMBER(acosh, ::acosh(x.v))
  HEED_NUMBER(atanh, ::atanh(x.v))
  HEED_NUMBER(sigmoid, x.v >= 0 ? 1 / (1 + ::exp(-x.v)) : ::exp(x.v) / (1 + ::exp(x.v)))
  HEED_NUMBER(softplus, (x.v > 0 ? x.v : T(0) * x.v) + ::log1p(::exp(-::fabs(x.v))))
  HEED_NUMBER(erf, ::erf(x.v))
  HEED_NUMBER(erfc, ::erfc(x.v))
  HEED_NUMBER(lgamma, ::lgamma(x.v))
  HEED_NUMBER(floor, ::floor(x.v))
  HEED_NUMBER(ceil, ::ceil(x.v))
  HEED_NUMBER(round, ::rint(x.v))
  HEED_NUMBER(trunc, ::trunc(x.v))
  // Refused by program_view().
  HEED_NUMBER(erfcx, x)
  HEED_NUMBER(erfinv, x)
  HEED_NUMBER(digamma, x)
  HEED_NUMBER(i0e, x)
  HEED_NUMBER(i1e, x)
#undef HEED_NUMBER
#define HEED_NUMBER(name, formula) \
  friend __device__ Number name(Number x, Number y) { return formula; }
  HEED_NUMBER(max, x.v > y.v ? x : y)
  HEED_NUMBER(min, x.v < y.v ? x : y)
  HEED_NUMBER(pow, ::pow(x.v, y.v))
  HEED_NUMBER(copysign, ::copysign(x.v, y.v))
  HEED_NUMBER(atan2, ::atan2(x.v, y.v))
  HEED_NUMBER(hypot, ::hypot(x.v, y.v))
  HEED_NUMBER(fmod, ::fmod(x.v, y.v))
  HEED_NUMBER(nextafter, ::nextafter(x.v, y.v))
  HEED_NUMBER(polygamma, y)
  HEED_NUMBER(zeta, y)
#undef HEED_NUMBER
};

/// Rounded to the nearest integer, taken to the nearest place of a table's axis; NaN to its first.
template <class T>
__device__ inline int64_t table_place(T coordinate, int64_t size) {
  T const last = T(size - 1), x = coordinate > T(0) ? coordinate : T(0);
  return int64_t((x < last ? x : last) + T(0.5));
}

template <class T>
__device__ inline T program_operand(uint16_t slot, T const (*local)[4], T const* shared, int e) {
  return slot & program_shared ? shared[slot & ~program_shared] : local[slot][e];
}

template <class T>
__device__ __noinline__ void run_steps(ProgramStep const* steps, int count, T (*local)[4], T* shared,
                                       ProgramTableView<T> const* tables) {
  for (int s = 0; s < count; ++s) {
    ProgramStep const step = steps[s];
    T x[4], y[4], z[4], value[4];
    for (int e = 0; e < 4; ++e) {
      x[e] = program_operand<T>(step.a, local, shared, e);
      y[e] = program_operand<T>(step.b, local, shared, e);
      z[e] = program_operand<T>(step.c, local, shared, e);
      value[e] = 0;
    }
    switch (step.op) {
#define HEED_CASE(name, formula)       \
  case Primitive::name:                \
    for (int e = 0; e < 4; ++e) {      \
      Number<T> const a = x[e];        \
      value[e] = Number<T>(formula).v; \
    }                                  \
    break;
      HEED_UNARY_PRIMITIVES(HEED_CASE)
#undef HEED_CASE
#define HEED_CASE(name, formula)                \
  case Primitive::name:                         \
    for (int e = 0; e < 4; ++e) {               \
      Number<T> const a = x[e], b = y[e];       \
      value[e] = Number<T>(formula).v;          \
    }                                           \
    break;
      HEED_BINARY_PRIMITIVES(HEED_CASE)
#undef HEED_CASE
#define HEED_CASE(name, formula)          \
  case Primitive::name:                   \
    for (int e = 0; e < 4; ++e) {         \
      Number<T> const a = x[e], b = y[e]; \
      value[e] = (formula) ? T(1) : T(0); \
    }                                     \
    break;
      HEED_COMPARE_PRIMITIVES(HEED_CASE)
#undef HEED_CASE
      case Primitive::select:
        for (int e = 0; e < 4; ++e) value[e] = x[e] != 0 ? y[e] : z[e];
        break;
      case Primitive::load: {
        ProgramTableView<T> const& table = tables[step.table];
        for (int e = 0; e < 4; ++e)
          value[e] = table.data[(table.stride[0] ? table_place(x[e], table.size[0]) * table.stride[0] : 0) +
                                (table.stride[1] ? table_place(y[e], table.size[1]) * table.stride[1] : 0) +
                                (table.stride[2] ? table_place(z[e], table.size[2]) * table.stride[2] : 0)];
        break;
      }
      default:
        break;
    }
    if (step.to & program_shared)
      shared[step.to & ~program_shared] = value[0];
    else
      for (int e = 0; e < 4; ++e) local[step.to][e] = value[e];
  }
}

/// Host memory packed to be copied to a device in one piece.
class DevicePacket {
 public:
  /// Room for the elements; the address it will have is known after send().
  template <class T>
  size_t add(T const* from, size_t count) {
    size_t const at = (bytes_.size() + 15) / 16 * 16;
    bytes_.resize(at + count * sizeof(T));
    if (count) std::memcpy(bytes_.data() + at, from, count * sizeof(T));
    return at;
  }
  size_t size() const { return bytes_.size(); }
  void send(unsigned char* to) const {
    if (!bytes_.empty())
      check_device(rt::copy_to_device(to, bytes_.data(), bytes_.size(), current_stream()), "copy of a program");
  }

 private:
  std::vector<unsigned char> bytes_;
};

/// A program made ready for run_steps: its inputs with bit i of `uniform` and what follows from them are shared.
/// Inputs and outputs keep their order: input i is local register or shared value `inputs[i]`.
template <class T>
struct PackedProgram {
  size_t steps = 0, start = 0, tables = 0, outputs = 0;
  int block_steps = 0, count = 0, shared = 0;
  std::vector<uint16_t> inputs;

  PackedProgram() = default;
  PackedProgram(DevicePacket& packet, Program const& program, ProgramTableView<T> const* table_views,
                uint64_t uniform) {
    int const constants = int(program.constants().size());
    std::vector<int> place(size_t(program.slots()), -1);
    std::vector<T> values;
    int locals = 0;
    auto const name = [&](int slot, bool is_shared) {
      if (place[size_t(slot)] < 0) {
        place[size_t(slot)] = is_shared ? int(program_shared) | int(values.size()) : locals++;
        if (is_shared) values.push_back(T(0));
      }
      return uint16_t(place[size_t(slot)]);
    };
    for (int i = 0; i < program.inputs(); ++i) inputs.push_back(name(i, uniform >> i & 1));
    for (int i = 0; i < constants; ++i) {
      name(program.inputs() + i, true);
      values.back() = T(program.constants()[size_t(i)]);
    }
    std::vector<ProgramStep> all;
    int most_tables = 0;
    auto const take = [&](std::span<ProgramStep const> from, bool is_shared) {
      for (ProgramStep step : from) {
        check(known(step.op), "attend", [] {
          return Complaint{"the device has no erfcx, erfinv, digamma, polygamma, zeta, i0e or i1e in recorded programs",
                           "compute it apart, and read() it from a table"};
        });
        step.a = name(step.a, is_shared), step.b = name(step.b, is_shared), step.c = name(step.c, is_shared);
        step.to = name(step.to, is_shared);
        if (step.op == Primitive::load && step.table >= most_tables) most_tables = step.table + 1;
        all.push_back(step);
      }
    };
    take(program.uniform_steps(), true);
    take(program.steps(), false);
    std::vector<uint16_t> out;
    for (uint16_t slot : program.output_slots()) out.push_back(name(slot, false));
    check(locals <= program_locals, "attend", [] {
      return Complaint{"the recorded program keeps more than 40 numbers at a time", "split it into simpler ones"};
    });
    block_steps = int(program.uniform_steps().size()), count = int(program.steps().size()), shared = int(values.size());
    steps = packet.add(all.data(), all.size());
    start = packet.add(values.data(), values.size());
    tables = packet.add(table_views, size_t(most_tables));
    outputs = packet.add(out.data(), out.size());
  }

  ProgramView<T> view(unsigned char const* at) const {
    return {reinterpret_cast<ProgramStep const*>(at + steps), block_steps, count,
            reinterpret_cast<T const*>(at + start), shared,
            reinterpret_cast<ProgramTableView<T> const*>(at + tables),
            reinterpret_cast<uint16_t const*>(at + outputs)};
  }

 private:
  static bool known(Primitive op) {
    for (Primitive one : {Primitive::erfcx, Primitive::erfinv, Primitive::digamma, Primitive::polygamma,
                          Primitive::zeta, Primitive::i0e, Primitive::i1e})
      if (op == one) return false;
    return true;
  }
};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
