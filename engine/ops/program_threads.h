// Recorded programs (ops/program.h) on a device: a list of steps that each thread reads for four elements at a time.
// What depends on uniform inputs alone is computed once a block and lies in shared memory; the rest in local memory.
#pragma once

#include <heed/engine/cuda/kernel.h>
#include <heed/engine/cuda/lane.h>
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

/// Primitives that programs mostly consist of.
constexpr bool is_common(Primitive op) {
  using P = Primitive;
  for (P p : {P::neg, P::abs, P::sqrt, P::exp, P::log, P::tanh, P::sigmoid, P::floor, P::round, P::add, P::sub, P::mul,
              P::div, P::max, P::min})
    if (op == p) return true;
  return false;
}

/// The others: long formulas, of which a kernel has one copy.
template <class T>
HEED_NOINLINE __device__ T rare_step(Primitive op, T x, T y) {
  Lane<T> const a = x, b = y;
  switch (op) {
#define HEED_CASE(name, formula) \
  case Primitive::name:          \
    if constexpr (!is_common(Primitive::name)) return Lane<T>(formula).v;
    HEED_UNARY_PRIMITIVES(HEED_CASE)
    HEED_BINARY_PRIMITIVES(HEED_CASE)
#undef HEED_CASE
    default:
      return b.v;
  }
}

/// value[e] = op(x[e], y[e], z[e]) for n elements; loads apart.
template <class T, int n>
__device__ inline void take_step(Primitive op, T const (&x)[n], T const (&y)[n], T const (&z)[n], T (&value)[n]) {
  switch (op) {
#define HEED_CASE(name, formula)                           \
  case Primitive::name:                                    \
    if constexpr (is_common(Primitive::name)) {            \
      for (int e = 0; e < n; ++e) {                        \
        [[maybe_unused]] Lane<T> const a = x[e], b = y[e]; \
        value[e] = Lane<T>(formula).v;                     \
      }                                                    \
      return;                                              \
    }                                                      \
    break;
    HEED_UNARY_PRIMITIVES(HEED_CASE)
    HEED_BINARY_PRIMITIVES(HEED_CASE)
#undef HEED_CASE
#define HEED_CASE(name, formula)            \
  case Primitive::name:                     \
    for (int e = 0; e < n; ++e) {           \
      Lane<T> const a = x[e], b = y[e];     \
      value[e] = (formula).b ? T(1) : T(0); \
    }                                       \
    return;
    HEED_COMPARE_PRIMITIVES(HEED_CASE)
#undef HEED_CASE
    case Primitive::select:
      for (int e = 0; e < n; ++e) value[e] = x[e] != 0 ? y[e] : z[e];
      return;
    case Primitive::constant:
    case Primitive::zero:
    case Primitive::input:
    case Primitive::load:
    case Primitive::count:
      for (int e = 0; e < n; ++e) value[e] = 0;
      return;
  }
  for (int e = 0; e < n; ++e) value[e] = rare_step(op, x[e], y[e]);
}

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
HEED_NOINLINE __device__ void run_steps(ProgramStep const* steps, int count, T (*local)[4], T* shared,
                                        ProgramTableView<T> const* tables) {
  for (int s = 0; s < count; ++s) {
    ProgramStep const step = steps[s];
    T x[4], y[4], z[4], value[4];
    for (int e = 0; e < 4; ++e) {
      x[e] = program_operand<T>(step.a, local, shared, e);
      y[e] = program_operand<T>(step.b, local, shared, e);
      z[e] = program_operand<T>(step.c, local, shared, e);
    }
    if (step.op == Primitive::load) {
      ProgramTableView<T> const& table = tables[step.table];
      for (int e = 0; e < 4; ++e)
        value[e] = table.data[(table.stride[0] ? table_place(x[e], table.size[0]) * table.stride[0] : 0) +
                              (table.stride[1] ? table_place(y[e], table.size[1]) * table.stride[1] : 0) +
                              (table.stride[2] ? table_place(z[e], table.size[2]) * table.stride[2] : 0)];
    } else {
      take_step(step.op, x, y, z, value);
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
  PackedProgram(DevicePacket& packet, Program const& tiled, ProgramTableView<T> const* table_views, uint64_t uniform) {
    // A thread has few registers and few elements: what varies in one direction alone is computed again, not kept.
    auto const recording = tiled.values();
    auto const results = tiled.output_values();
    Program const program({recording.begin(), recording.end()}, tiled.inputs(), {results.begin(), results.end()},
                          {uniform, uniform});
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
        step.a = name(step.a, is_shared), step.b = name(step.b, is_shared), step.c = name(step.c, is_shared);
        step.to = name(step.to, is_shared);
        if (step.op == Primitive::load && step.table >= most_tables) most_tables = step.table + 1;
        all.push_back(step);
      }
    };
    take(program.steps(nowhere), true);
    take(program.steps(), false);
    std::vector<uint16_t> out;
    for (uint16_t slot : program.output_slots()) out.push_back(name(slot, false));
    check(locals <= program_locals, "attend", [] {
      return Complaint{"the recorded program keeps more than 40 numbers at a time", "split it into simpler ones"};
    });
    block_steps = int(program.steps(nowhere).size()), count = int(program.steps().size()), shared = int(values.size());
    steps = packet.add(all.data(), all.size());
    start = packet.add(values.data(), values.size());
    tables = packet.add(table_views, size_t(most_tables));
    outputs = packet.add(out.data(), out.size());
  }

  ProgramView<T> view(unsigned char const* at) const {
    return {reinterpret_cast<ProgramStep const*>(at + steps),
            block_steps,
            count,
            reinterpret_cast<T const*>(at + start),
            shared,
            reinterpret_cast<ProgramTableView<T> const*>(at + tables),
            reinterpret_cast<uint16_t const*>(at + outputs)};
  }
};

}  // namespace HEED_DEVICE_LEVEL
}  // namespace heed
