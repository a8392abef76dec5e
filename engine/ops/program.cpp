// Recording, simplifying, differentiating and running programs.
#include <fmt/format.h>
#include <heed/engine/backend.h>
#include <heed/engine/dual.h>
#include <heed/engine/error.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/elementwise.h>
#include <heed/engine/ops/program.h>
#include <heed/engine/ops/program_device.h>
#include <heed/engine/tape.h>

#include <bit>
#include <mutex>

namespace heed {
namespace {

constexpr int most_operands = most_program_operands;

thread_local Recorder* current_recorder = nullptr;

size_t hash(ProgramValue const& v) {
  uint64_t h = uint64_t(v.op);
  for (uint64_t part :
       {uint64_t(v.a), uint64_t(v.b), uint64_t(v.c), std::bit_cast<uint64_t>(v.constant), uint64_t(v.table)})
    h = (h ^ part) * 0x9E3779B97F4A7C15, h ^= h >> 29;
  return size_t(h);
}

bool equal(ProgramValue const& x, ProgramValue const& y) {
  return x.op == y.op && x.a == y.a && x.b == y.b && x.c == y.c && x.table == y.table &&
         std::bit_cast<uint64_t>(x.constant) == std::bit_cast<uint64_t>(y.constant);
}

}  // namespace

// ---- recording ------------------------------------------------------------------------------------------------------

Recorder::Recorder(int inputs) : buckets_(64, -1), inputs_(inputs), outer_(current_recorder) {
  check(inputs <= most_operands, "map", [&] {
    return Complaint{
        fmt::format("expected at most {} operands, those of derivatives included, got {}", most_operands, inputs),
        "stack some of the operands, or split the formula"};
  });
  for (int i = 0; i < inputs; ++i) values_.push_back({.op = Primitive::input, .a = i});
  current_recorder = this;
}
Recorder::~Recorder() { current_recorder = outer_; }

Recorder& Recorder::current() {
  check(current_recorder != nullptr, "map", [] {
    return Complaint{"a Symbol is used outside the formula that it belongs to", "keep symbols inside the lambda"};
  });
  return *current_recorder;
}

int Recorder::id_of(ProgramValue const& value) {
  size_t const mask = buckets_.size() - 1;
  size_t at = hash(value) & mask;
  for (; buckets_[at] >= 0; at = (at + 1) & mask)
    if (equal(values_[size_t(buckets_[at])], value)) return buckets_[at];
  int const id = int(values_.size());
  check(id < 60000, "map", [] {
    return Complaint{"the formula has more than 60,000 steps", "split it into several calls of map"};
  });
  values_.push_back(value);
  buckets_[at] = id;
  if (2 * values_.size() > buckets_.size()) {
    buckets_.assign(4 * buckets_.size(), -1);
    size_t const wider = buckets_.size() - 1;
    for (size_t i = size_t(inputs_); i < values_.size(); ++i) {
      size_t place = hash(values_[i]) & wider;
      while (buckets_[place] >= 0) place = (place + 1) & wider;
      buckets_[place] = int(i);
    }
  }
  return id;
}

Symbol Recorder::emit(Primitive op, Symbol left, Symbol right, Symbol third) {
  using P = Primitive;
  bool const binary = op >= P::add && op != P::select;
  int const a = id(left), b = binary || op == P::select ? id(right) : -1, c = op == P::select ? id(third) : -1;
  auto const zero_a = is(a, P::zero), zero_b = b >= 0 && is(b, P::zero);
  // Only the zeros of derivatives vanish: a formula's own 0·x keeps its NaNs.
  switch (op) {
    case P::add:
      if (zero_a) return named(b);
      if (zero_b) return named(a);
      break;
    case P::sub:
      if (zero_b) return named(a);
      if (zero_a) return emit(P::neg, named(b));
      break;
    case P::mul:
      if (zero_a || is_constant(b, 1)) return named(a);
      if (zero_b || is_constant(a, 1)) return named(b);
      break;
    case P::div:
      if (zero_a || is_constant(b, 1)) return named(a);
      break;
    case P::neg:
      if (zero_a) return named(a);
      if (is(a, P::neg)) return named(values_[size_t(a)].a);
      break;
    case P::select:
      if (b == c) return named(b);
      if (is(a, P::constant)) return named(values_[size_t(a)].constant != 0 ? b : c);
      break;
    case P::equal:  // pow's dual asks whether a direction vanishes
      if (zero_a && is_constant(b, 0)) return 1.;
      break;
    default:
      break;
  }
  if (is(a, P::constant) && (b < 0 || is(b, P::constant)) && op != P::select) {
    double const x = values_[size_t(a)].constant, y = b < 0 ? 0 : values_[size_t(b)].constant;
    if (op == P::neg) return -x;
    if (op == P::add) return x + y;
    if (op == P::sub) return x - y;
    if (op == P::mul) return x * y;
    if (op == P::div) return x / y;
  }
  return named(id_of({op, a, b, c}));
}

std::shared_ptr<Program const> Recorder::program(std::vector<Symbol> const& outputs, Alike alike) {
  std::vector<int> ids;
  for (Symbol const& output : outputs) ids.push_back(id(output));
  return std::make_shared<Program const>(values_, inputs_, std::move(ids), alike);
}

int Recorder::table(Tensor const& table) {
  for (size_t t = 0; t < tables_.size(); ++t)
    if (tables_[t].body() == table.body()) return int(t);
  tables_.push_back(table);
  return int(tables_.size()) - 1;
}

int Recorder::append_tables(std::vector<Tensor> const& tables) {
  int const first = int(tables_.size());
  tables_.insert(tables_.end(), tables.begin(), tables.end());
  return first;
}

std::vector<Symbol> Recorder::replay(Program const& program, std::span<int const> wanted,
                                     std::vector<Symbol> const& inputs, int first_table,
                                     std::vector<Symbol> const& loads) {
  std::vector<Symbol> values;
  size_t next_load = 0;
  for (ProgramValue const& v : program.values()) {
    auto const at = [&](int operand) { return operand < 0 ? Symbol(0.) : values[size_t(operand)]; };
    auto const coordinate = [&](int operand) { return operand < 0 ? -1 : id(values[size_t(operand)]); };
    switch (v.op) {
      case Primitive::input:
        values.push_back(inputs[size_t(v.a)]);
        break;
      case Primitive::constant:
        values.push_back(v.constant);
        break;
      case Primitive::zero:
        values.push_back(zero());
        break;
      case Primitive::load:
        values.push_back(next_load < loads.size()
                             ? loads[next_load]
                             : load(first_table + v.table, coordinate(v.a), coordinate(v.b), coordinate(v.c)));
        ++next_load;
        break;
      default:
        values.push_back(emit(v.op, at(v.a), at(v.b), at(v.c)));
    }
  }
  std::vector<Symbol> outputs;
  for (int value : wanted) outputs.push_back(values[size_t(value)]);
  return outputs;
}

#define HEED_SYMBOL_BINARY(name, primitive) \
  Symbol name(Symbol a, Symbol b) { return Recorder::current().emit(Primitive::primitive, a, b); }
HEED_SYMBOL_BINARY(operator+, add)
HEED_SYMBOL_BINARY(operator-, sub)
HEED_SYMBOL_BINARY(operator*, mul)
HEED_SYMBOL_BINARY(operator/, div)
HEED_SYMBOL_BINARY(max, max)
HEED_SYMBOL_BINARY(min, min)
HEED_SYMBOL_BINARY(pow, pow)
HEED_SYMBOL_BINARY(copysign, copysign)
HEED_SYMBOL_BINARY(atan2, atan2)
HEED_SYMBOL_BINARY(hypot, hypot)
HEED_SYMBOL_BINARY(fmod, fmod)
HEED_SYMBOL_BINARY(nextafter, nextafter)
HEED_SYMBOL_BINARY(polygamma, polygamma)
HEED_SYMBOL_BINARY(zeta, zeta)
#undef HEED_SYMBOL_BINARY
#define HEED_SYMBOL_FUNCTION(name) \
  Symbol name(Symbol x) { return Recorder::current().emit(Primitive::name, x); }
HEED_SYMBOL_FUNCTIONS(HEED_SYMBOL_FUNCTION)
#undef HEED_SYMBOL_FUNCTION
Symbol operator-(Symbol x) { return Recorder::current().emit(Primitive::neg, x); }

#define HEED_SYMBOL_COMPARE(op, primitive, first, second) \
  SymbolMask operator op(Symbol a, Symbol b) { return {Recorder::current().emit(Primitive::primitive, first, second)}; }
HEED_SYMBOL_COMPARE(<, less, a, b)
HEED_SYMBOL_COMPARE(>, less, b, a)
HEED_SYMBOL_COMPARE(<=, less_equal, a, b)
HEED_SYMBOL_COMPARE(>=, less_equal, b, a)
HEED_SYMBOL_COMPARE(==, equal, a, b)
HEED_SYMBOL_COMPARE(!=, not_equal, a, b)
#undef HEED_SYMBOL_COMPARE
SymbolMask operator&(SymbolMask a, SymbolMask b) { return {min(a.value, b.value)}; }
SymbolMask operator|(SymbolMask a, SymbolMask b) { return {max(a.value, b.value)}; }
SymbolMask operator!(SymbolMask a) { return {1. - a.value}; }
Symbol select(SymbolMask mask, Symbol a, Symbol b) {
  return Recorder::current().emit(Primitive::select, mask.value, a, b);
}
SymbolMask isnan(Symbol x) { return x != x; }
Symbol constant_like(Symbol, double c) { return c == 0 ? Recorder::current().zero() : Symbol(c); }

// ---- the program ----------------------------------------------------------------------------------------------------

Program::Program(std::vector<ProgramValue> values, int inputs, std::vector<int> outputs, Alike alike)
    : inputs_(inputs), alike_(alike), outputs_(std::move(outputs)) {
  // Backwards: what is needed, and by whom last.
  std::vector<int> last(values.size(), -1);
  int const end = int(values.size());
  for (int output : outputs_) last[size_t(output)] = end;
  for (int i = end - 1; i >= inputs; --i) {
    if (last[size_t(i)] < 0 || values[size_t(i)].op < Primitive::neg) continue;
    for (int operand : {values[size_t(i)].a, values[size_t(i)].b, values[size_t(i)].c})
      if (operand >= 0) last[size_t(operand)] = std::max(last[size_t(operand)], i);
  }
  // Forwards: names close up, constants come first, then what does not vary everywhere; other registers are reused as
  // soon as they are free.
  std::vector<int> renamed(values.size(), -1);
  std::vector<uint16_t> slot(values.size(), 0);
  std::vector<uint8_t> varies(values.size(), nowhere);
  for (int i = 0; i < end; ++i) {
    ProgramValue value = values[size_t(i)];
    if (i >= inputs && last[size_t(i)] < 0) continue;
    uint8_t& how = varies[size_t(i)];
    if (i < inputs) how = uint8_t((alike.lanes >> i & 1 ? 0 : along_lanes) | (alike.rows >> i & 1 ? 0 : along_rows));
    for (int* operand : {&value.a, &value.b, &value.c})
      if (i >= inputs && *operand >= 0) {
        how |= varies[size_t(*operand)];
        *operand = renamed[size_t(*operand)];
      }
    renamed[size_t(i)] = int(values_.size());
    values_.push_back(value);
    if (i < inputs) slot[size_t(i)] = uint16_t(i);
    if (value.op == Primitive::constant || value.op == Primitive::zero) {
      slot[size_t(i)] = uint16_t(inputs + int(constants_.size()));
      constants_.push_back(value.constant);
    }
  }
  slots_ = inputs + int(constants_.size());
  std::vector<uint16_t> free;
  for (Varies const now : {nowhere, along_lanes, along_rows, everywhere}) {
    int const first_register = slots_;
    for (int i = inputs; i < end; ++i) {
      ProgramValue const& value = values[size_t(i)];
      if (last[size_t(i)] < 0 || value.op < Primitive::neg || varies[size_t(i)] != now) continue;
      auto const of = [&](int operand) { return operand >= 0 ? slot[size_t(operand)] : uint16_t{0}; };
      ProgramStep step{value.op, 0, of(value.a), of(value.b), of(value.c), uint16_t(std::max(value.table, 0))};
      // Steps read and write element by element: a result may take the place of an operand that ends here.
      int ended[3], n = 0;
      for (int operand : {value.a, value.b, value.c})
        if (now == everywhere && operand >= 0 && last[size_t(operand)] == i &&
            slot[size_t(operand)] >= first_register && std::find(ended, ended + n, operand) == ended + n) {
          ended[n++] = operand;
          free.push_back(slot[size_t(operand)]);
        }
      if (free.empty()) free.push_back(uint16_t(slots_++));
      step.to = slot[size_t(i)] = free.back();
      free.pop_back();
      steps_.push_back(step);
    }
    ends_[now] = steps_.size();
  }
  varies_.resize(size_t(slots_), nowhere);
  std::vector<bool> as_number(values.size(), false);
  for (int i = inputs; i < end; ++i)
    if (last[size_t(i)] >= 0 && varies[size_t(i)] == everywhere && values[size_t(i)].op != Primitive::load)
      for (int operand : {values[size_t(i)].a, values[size_t(i)].b, values[size_t(i)].c})
        if (operand >= 0) as_number[size_t(operand)] = true;
  for (int output : outputs_) as_number[size_t(output)] = true;
  for (int i = 0; i < end; ++i) {
    if (last[size_t(i)] < 0 && i >= inputs) continue;
    varies_[slot[size_t(i)]] = Varies(varies[size_t(i)]);
    if (varies[size_t(i)] != along_rows || last[size_t(i)] < 0) continue;
    row_slots_.push_back(slot[size_t(i)]);
    if (as_number[size_t(i)]) row_operands_.push_back(slot[size_t(i)]);
  }
  for (int& output : outputs_) {
    output_slots_.push_back(slot[size_t(output)]);
    output = renamed[size_t(output)];
  }
}

bool Program::uses(int input) const {
  for (ProgramValue const& v : values_)
    if (v.op > Primitive::input && (v.a == input || v.b == input || v.c == input)) return true;
  return std::find(outputs_.begin(), outputs_.end(), input) != outputs_.end();
}

namespace {

using Direction = Dual<Symbol>;

/// The values again, over numbers that carry a derivative along value `along`, an input or a load.
std::vector<Direction> evaluate(std::vector<ProgramValue> const& values, int along, Recorder& recorder) {
  Symbol const zero = recorder.zero();
  std::vector<Direction> result;
  result.reserve(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    ProgramValue const& v = values[i];
    auto const at = [&](int operand) -> Direction const& { return result[size_t(operand)]; };
    switch (v.op) {
      case Primitive::input:
        result.push_back({recorder.named(int(i)), int(i) == along ? Symbol(1.) : zero});
        break;
      case Primitive::constant:
        result.push_back({v.constant, zero});
        break;
      case Primitive::zero:
        result.push_back({zero, zero});
        break;
      case Primitive::select:
        result.push_back(select(SymbolMask{at(v.a).v}, at(v.b), at(v.c)));
        break;
#define HEED_STEP(name, formula)  \
  case Primitive::name: {         \
    Direction const& a = at(v.a); \
    result.push_back(formula);    \
    break;                        \
  }
        HEED_UNARY_PRIMITIVES(HEED_STEP)
#undef HEED_STEP
#define HEED_STEP(name, formula)                \
  case Primitive::name: {                       \
    Direction const &a = at(v.a), &b = at(v.b); \
    result.push_back(formula);                  \
    break;                                      \
  }
        HEED_BINARY_PRIMITIVES(HEED_STEP)
#undef HEED_STEP
#define HEED_STEP(name, formula)                         \
  case Primitive::name: {                                \
    Symbol const a = at(v.a).v, b = at(v.b).v;           \
    result.push_back({SymbolMask(formula).value, zero}); \
    break;                                               \
  }
        HEED_COMPARE_PRIMITIVES(HEED_STEP)
#undef HEED_STEP
      case Primitive::load: {
        auto const coordinate = [&](int operand) { return operand < 0 ? -1 : recorder.id(at(operand).v); };
        result.push_back({recorder.load(v.table, coordinate(v.a), coordinate(v.b), coordinate(v.c)),
                          int(i) == along ? Symbol(1.) : zero});
        break;
      }
      case Primitive::count:
        break;
    }
  }
  return result;
}

std::mutex gradients_mutex;

}  // namespace

std::shared_ptr<Program const> Program::gradient(uint64_t wanted) const {
  {
    std::lock_guard const lock(gradients_mutex);
    for (auto const& [key, program] : gradients_)
      if (key == wanted) return program;
  }
  Recorder recorder(inputs_ + outputs());
  std::vector<Symbol> results;
  for (int i = 0; i < inputs_; ++i) {
    if (!(wanted >> i & 1)) continue;
    auto const values = evaluate(values_, i, recorder);
    Symbol sum = recorder.zero();
    for (int k = 0; k < outputs(); ++k) sum = sum + recorder.named(inputs_ + k) * values[size_t(outputs_[size_t(k)])].d;
    results.push_back(sum);
  }
  auto made = recorder.program(results);
  std::lock_guard const lock(gradients_mutex);
  gradients_.emplace_back(wanted, made);
  return made;
}

std::vector<int> Program::loads(std::vector<bool> const& wanted) const {
  std::vector<int> tables;
  for (ProgramValue const& v : values_)
    if (v.op == Primitive::load && wanted[size_t(v.table)]) tables.push_back(v.table);
  return tables;
}

std::shared_ptr<Program const> Program::read_gradient(std::vector<bool> const& wanted) const {
  Recorder recorder(inputs_ + 1);
  Symbol const g = recorder.named(inputs_);
  int const y = outputs_[0];
  std::vector<Symbol> results{g * evaluate(values_, 0, recorder)[size_t(y)].d};
  for (size_t i = 0; i < values_.size(); ++i) {
    ProgramValue const& v = values_[i];
    if (v.op != Primitive::load || !wanted[size_t(v.table)]) continue;
    auto const values = evaluate(values_, int(i), recorder);
    results.push_back(g * values[size_t(y)].d);
    for (int operand : {v.a, v.b, v.c}) results.push_back(operand < 0 ? Symbol(0.) : values[size_t(operand)].v);
  }
  return recorder.program(results, alike_);
}

// ---- running --------------------------------------------------------------------------------------------------------

namespace {

/// 16-bit types are widened and narrowed again.
void run_on_device(char const* op, Program const& program, std::vector<Tensor> const& operands,
                   std::vector<Tensor>& outputs) {
  if (outputs.empty() || outputs[0].numel() == 0) return;
  Dtype const dtype = outputs[0].dtype();
  if (is_half(dtype)) {
    std::vector<Tensor> wide, results;
    for (Tensor const& x : operands) wide.push_back(x.detach().to(Dtype::f32));
    for (Tensor const& y : outputs) results.emplace_back(y.shape(), Dtype::f32, y.device());
    run_on_device(op, program, wide, results);
    for (size_t k = 0; k < outputs.size(); ++k) outputs[k] = results[k].to(dtype);
    return;
  }
  std::vector<Tensor const*> in;
  for (Tensor const& x : operands) in.push_back(&x);
  ProgramWalk const walk = walk_of<most_operands>(outputs[0].shape(), in);
  dispatch_floating(op, dtype, [&]<class T>(Type<T>) {
    T const* from[most_operands];
    T* to[most_operands];
    for (size_t k = 0; k < in.size(); ++k) from[k] = operands[k].address<T>();
    for (size_t k = 0; k < outputs.size(); ++k) to[k] = outputs[k].address<T>();
    device_kernels<DeviceProgramKernels>(outputs[0].device(), op).template of<T>().run(program, walk, from, to);
  });
}

std::vector<Tensor> compute(char const* op, Program const& program, std::vector<Tensor> const& operands,
                            Shape const& shape, Dtype dtype, Device device) {
  std::vector<Tensor> outputs;
  Tensor const* in[most_operands];
  Tensor const* out[most_operands];
  for (size_t i = 0; i < operands.size(); ++i) in[i] = &operands[i];
  outputs.reserve(size_t(program.outputs()));
  for (int k = 0; k < program.outputs(); ++k) {
    outputs.emplace_back(shape, dtype, device);
    out[k] = &outputs.back();
  }
  if (!device.is_cpu()) {
    run_on_device(op, program, operands, outputs);
    return outputs;
  }
  elementwise<most_operands, most_operands>(
      op, shape, dtype, {in, operands.size()}, {out, outputs.size()},
      [&]<class T>(T const* const* from, int64_t const* strides, T* const* to, int64_t n) {
        kernels<ProgramKernels>().of<T>().run(program, from, strides, to, n);
      });
  return outputs;
}

}  // namespace

std::vector<Tensor> run_program(char const* op, std::shared_ptr<Program const> program,
                                std::vector<Tensor> const& operands) {
  Dtype dtype = Dtype::f32;
  Shape shape;
  for (size_t i = 0; i < operands.size(); ++i) {
    check_defined(op, operands[i]);
    shape = i == 0 ? operands[0].shape() : broadcast(op, shape, operands[i].shape());
  }
  if (!operands.empty()) dtype = result_type(operands);
  if (!is_floating(dtype)) dtype = Dtype::f32;
  std::vector<Tensor> in;
  Device device = cpu;
  for (Tensor const& operand : operands)
    if (!operand.device().is_cpu()) device = common_device(op, {&operand, &operands[0]});
  for (Tensor const& operand : operands) in.push_back(operand.to(dtype).to(device));
  std::vector<Tensor> outputs = compute(op, *program, in, shape, dtype, device);
  if (tracked(in)) {
    std::vector<Saved> saved(in.begin(), in.end());
    record_lists(op, outputs, in,
                 [op, program, saved = std::move(saved), shape, dtype, device](Tensor const* g, Node const& node) {
                   uint64_t wanted = 0;
                   for (size_t i = 0; i < saved.size(); ++i) wanted |= uint64_t{node.needs(int(i))} << i;
                   std::vector<Tensor> all;
                   for (Saved const& x : saved) all.push_back(x.get(node));
                   for (int k = 0; k < program->outputs(); ++k)
                     all.push_back(g[k].defined() ? g[k] : zeros({}, dtype, device).expand(shape));
                   auto const wants = run_program(op, program->gradient(wanted), all);
                   std::vector<Tensor> gradients(saved.size());
                   for (size_t i = 0, k = 0; i < saved.size(); ++i)
                     if (wanted >> i & 1) gradients[i] = wants[k++];
                   return gradients;
                 });
  }
  return outputs;
}

Recording::Recording(int inputs) : recorder_(new Recorder(inputs)) {}
Recording::~Recording() { delete recorder_; }
std::vector<Tensor> Recording::run(std::vector<Symbol> const& outputs, std::vector<Tensor> const& inputs) {
  check(recorder_->tables().empty(), "map", [] {
    return Complaint{"read() is for scores and masks of attention", "pass what is to be read as an operand"};
  });
  return run_program("map", recorder_->program(outputs), inputs);
}

}  // namespace heed
