#include <fmt/format.h>
#include <heed/engine/autocast.h>
#include <heed/engine/custom.h>
#include <heed/engine/error.h>
#include <heed/engine/observe.h>
#include <heed/engine/ops.h>
#include <heed/engine/ops/attend_parts.h>
#include <heed/engine/tape.h>
#include <heed/optim/distributed/gathered.h>
#include <heed/optim/distributed/sequence_parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

namespace heed::distributed {

using nn::PositionRun;

std::vector<PositionRun> zigzag(int64_t length, int rank, int ranks) {
  auto const piece = [&](int64_t c) { return PositionRun{c * length / (2 * ranks), (c + 1) * length / (2 * ranks)}; };
  PositionRun const first = piece(rank), second = piece(2 * ranks - 1 - rank);
  if (first.to == second.from) return {{first.from, second.to}};
  return {first, second};
}

SequenceParallel::SequenceParallel(Communicator& communicator, int64_t length)
    : communicator_(communicator), length_(length) {
  int const ranks = communicator.size();
  check(length >= 2 * ranks, "SequenceParallel", [&] {
    return Complaint{fmt::format("{} positions do not make two pieces for each of {} ranks", length, ranks),
                     "use longer sequences, or fewer ranks"};
  });
  for (int r = 0; r < ranks; ++r) runs_.push_back(zigzag(length, r, ranks));
}

int64_t SequenceParallel::rows(int rank) const {
  int64_t sum = 0;
  for (PositionRun const& run : runs_[size_t(rank)]) sum += run.size();
  return sum;
}

namespace {

Tensor joined(std::vector<Tensor> const& parts, int axis) { return parts.size() == 1 ? parts[0] : cat(parts, axis); }

}  // namespace

Tensor SequenceParallel::part(Tensor const& whole, int axis) const {
  check_defined("part", whole);
  check(axis >= 0 && axis < whole.rank() && whole.size(axis) == length_, "part", [&] {
    return Complaint{
        fmt::format("expected {} positions along axis {}, got {}", length_, axis, to_string(whole.shape())),
        "pass whole sequences"};
  });
  std::vector<Tensor> parts;
  for (PositionRun const& run : runs()) parts.push_back(whole.slice(axis, run.from, run.to));
  return joined(parts, axis);
}

Tensor SequenceParallel::whole(Tensor const& part, int axis) const {
  check_defined("whole", part);
  check(axis >= 0 && axis < part.rank() && part.size(axis) == rows(), "whole", [&] {
    return Complaint{fmt::format("expected the {} positions of this rank along axis {}, got {}", rows(), axis,
                                 to_string(part.shape())),
                     "pass this rank's part"};
  });
  int64_t most = 0;
  for (int r = 0; r < communicator_.size(); ++r) most = std::max(most, rows(r));
  Tensor own = part.transpose(0, axis);
  if (most > rows()) {
    Shape more = own.shape();
    more[0] = most - rows();
    own = cat({own, zeros(more, own.dtype(), own.device())}, 0);
  }
  Tensor const all = gathered(communicator_, own);
  std::vector<std::pair<int64_t, Tensor>> pieces;  // by position
  for (int r = 0; r < communicator_.size(); ++r) {
    int64_t row = r * most;
    for (PositionRun const& run : runs_[size_t(r)]) {
      pieces.emplace_back(run.from, all.slice(0, row, row + run.size()));
      row += run.size();
    }
  }
  std::sort(pieces.begin(), pieces.end(), [](auto const& a, auto const& b) { return a.first < b.first; });
  std::vector<Tensor> parts;
  for (auto const& [from, piece] : pieces) parts.push_back(piece);
  return joined(parts, 0).transpose(0, axis);
}

Tensor SequenceParallel::share(Tensor const& mean) const { return mean * (double(rows()) / double(length_)); }

void SequenceParallel::sum_gradients(nn::Module& module) const {
  NoGrad const off;
  std::vector<Tensor> const parameters = nn::parameters(module);
  std::vector<float> has;
  for (Tensor const& p : parameters) has.push_back(p.grad().defined() ? 1.f : 0.f);
  Tensor anywhere = tensor(has, {int64_t(has.size())});
  communicator_.all_reduce(anywhere, Reduce::max);
  std::vector<std::pair<Tensor, Pending>> sums;
  sums.reserve(parameters.size());
  for (size_t i = 0; i < parameters.size(); ++i) {
    Tensor const& p = parameters[i];
    if (anywhere.data<float>()[i] == 0) continue;
    Tensor sum = p.grad().defined() ? p.grad().contiguous() : zeros(p.shape(), p.dtype(), p.device());
    Pending pending = communicator_.start_all_reduce(sum);
    sums.emplace_back(sum, std::move(pending));
    p.set_grad(sum);
  }
  for (auto& [sum, pending] : sums) pending.wait();
}

// ---- attend ---------------------------------------------------------------------------------------------------------

namespace {

constexpr int64_t unlimited = AttendOptions::unlimited;
constexpr int operands_tag = 1, gradients_tag = 2;

/// What goes to the next rank while another such tensor comes from the one before.
class Exchange {
 public:
  Exchange(Communicator& communicator, Tensor const& out, Shape const& shape, int tag)
      : in_(shape, out.dtype(), out.device()) {
    int const n = communicator.size(), rank = communicator.rank();
    send_ = communicator.start_send(out, (rank + 1) % n, tag);
    receive_ = communicator.start_receive(in_, (rank + n - 1) % n, tag);
  }
  Tensor finish() {
    receive_.wait();
    send_.wait();
    return in_;
  }

 private:
  Tensor in_;
  Pending send_, receive_;
};

Tensor wide(Tensor const& x) { return is_half(x.dtype()) ? x.to(Dtype::f32) : x; }

/// `options`, which are those of the whole sequence, for attend() of the queries at positions i with the keys at j;
/// none where no query sees a key.
std::optional<AttendOptions> placed(AttendOptions const& options, PositionRun const& i, PositionRun const& j) {
  int64_t const right = options.causal ? 0 : options.right, left = options.left;
  if (i.size() == 0 || j.size() == 0) return {};
  if (j.from - (i.to - 1) > right || i.from - (j.to - 1) > left) return {};
  AttendOptions own = options;
  own.causal = false, own.left = own.right = unlimited;
  // attend() counts keys from 0, and queries so that the last is level with the last key.
  int64_t const query = i.to - j.size(), key = j.from, apart = query - key;
  own.score = moved(options.score, double(query), double(key));
  own.weight = moved(options.weight, double(query), double(key));
  own.sees = moved(options.sees, double(query), double(key));
  auto const also = [&](MaskMod const& sees) { own.sees = own.sees & sees; };
  if ((j.to - 1) - i.from > right) {
    if (right + apart >= 0)
      own.right = right + apart;
    else
      also([count = double(right + apart)](auto at) { return at.j - at.i <= count; });
  }
  if ((i.to - 1) - j.from > left) {
    if (left - apart >= 0)
      own.left = left - apart;
    else
      also([count = double(left - apart)](auto at) { return at.i - at.j <= count; });
  }
  return own;
}

/// How many pairs causality and windows let see each other.
double visible_pairs(AttendOptions const& options, PositionRun const& i, PositionRun const& j) {
  int64_t const right = options.causal ? 0 : options.right;
  double pairs = 0;
  for (int64_t at = i.from; at < i.to; ++at) {
    int64_t const first = options.left < at ? at - options.left : 0;
    int64_t const last = right < unlimited - at ? at + right : unlimited;
    pairs += double(std::max(std::min(last + 1, j.to) - std::max(first, j.from), int64_t{0}));
  }
  return pairs;
}

/// A query run's keys of one rank, as attend() takes them.
struct Meeting {
  size_t run;             // of queries
  int64_t q_from, q_to;   // rows
  int64_t k_from, k_to;   // rows of the other's
  AttendOptions options;  // of this call
};

/// All meetings of the runs `mine` with those of `owner`.
std::vector<Meeting> meetings(AttendOptions const& options, std::vector<std::vector<PositionRun>> const& runs, int rank,
                              int owner, double* pairs = nullptr) {
  std::vector<Meeting> list;
  int64_t q_row = 0;
  for (size_t a = 0; a < runs[size_t(rank)].size(); ++a) {
    PositionRun const& i = runs[size_t(rank)][a];
    int64_t k_row = 0;
    for (size_t b = 0; b < runs[size_t(owner)].size(); ++b) {
      PositionRun const& j = runs[size_t(owner)][b];
      if (std::optional<AttendOptions> own = placed(options, i, j)) {
        if (Tensor& mask = own->mask; mask.defined()) {
          if (mask.size(-1) > 1) mask = mask.slice(-1, j.from, j.to);
          if (mask.rank() > 1 && mask.size(-2) > 1) mask = mask.slice(-2, q_row, q_row + i.size());
        }
        // Draws of their own: attend() counts queries and keys from 0 in every meeting.
        uint64_t const number = (uint64_t(rank) * 2 + a) * 2 * runs.size() + uint64_t(owner) * 2 + b;
        own->draw.offset += (number + 1) << 40;
        if (pairs) *pairs += visible_pairs(options, i, j);
        list.push_back({a, q_row, q_row + i.size(), k_row, k_row + j.size(), std::move(*own)});
      }
      k_row += j.size();
    }
    q_row += i.size();
  }
  return list;
}

void check_call(Tensor const& q, Tensor const& k, Tensor const& v, AttendOptions const& options, int64_t rows,
                int64_t length) {
  for (Tensor const* t : {&q, &k, &v}) check_defined("ring_attend", *t);
  bool const fit = q.rank() == 4 && k.rank() == 4 && v.rank() == 4 && q.size(2) == rows && k.size(2) == rows &&
                   v.size(2) == rows && q.size(0) == k.size(0) && k.size(0) == v.size(0) && k.size(1) == v.size(1) &&
                   k.size(1) > 0 && q.size(1) % k.size(1) == 0 && q.size(3) == k.size(3) && q.dtype() == k.dtype() &&
                   q.dtype() == v.dtype();
  check(fit, "ring_attend", [&] {
    return Complaint{fmt::format("expected q [B, H, {0}, D], k [B, G, {0}, D], v [B, G, {0}, E] of one type, got {1} "
                                 "{2}, {3} {4}, {5} {6}",
                                 rows, name(q.dtype()), to_string(q.shape()), name(k.dtype()), to_string(k.shape()),
                                 name(v.dtype()), to_string(v.shape())),
                     "pass the rows that this rank has of the sequence"};
  });
  check(options.entmax == 1 && options.top_k == 0 && !options.pages.defined(), "ring_attend", [&] {
    return Complaint{options.pages.defined() ? "pages are of whole sequences"
                                             : "entmax and top_k need all scores of a query at once",
                     "use a softmax, weight or sink, or whole sequences"};
  });
  Tensor const& mask = options.mask;
  bool const rows_fit = !mask.defined() || mask.rank() < 2 || mask.size(-2) == 1 || mask.size(-2) == rows;
  bool const keys_fit = !mask.defined() || mask.rank() < 1 || mask.size(-1) == 1 || mask.size(-1) == length;
  check(rows_fit && keys_fit, "ring_attend", [&] {
    return Complaint{fmt::format("expected a mask [.., {}, {}], got {}", rows, length, to_string(mask.shape())),
                     "pass this rank's rows of it, with all keys by position"};
  });
}

}  // namespace

Attended SequenceParallel::attend(Tensor const& q_in, Tensor const& k_in, Tensor const& v_in,
                                  AttendOptions const& given) {
  if (autocasts(q_in) || autocasts(k_in) || autocasts(v_in))
    return attend(autocast(q_in), autocast(k_in), autocast(v_in), given);
  check_call(q_in, k_in, v_in, given, rows(), length_);
  for (Modification const* mod : {given.score.get(), given.weight.get(), given.sees.get()}) check_reads(mod, length_);
  AttendOptions options = given;
  options.sink = Tensor();
  if (options.scale == 0) options.scale = 1 / std::sqrt(double(std::max(q_in.size(3), int64_t{1})));
  int const ranks = communicator_.size(), rank = communicator_.rank();
  bool const softmax = !options.weight;
  auto const owner_at = [=](int step) { return (rank + ranks - step) % ranks; };
  // Shape of what travels when `owner`'s is here.
  auto const travelling = [this](Tensor const& k, Tensor const& v, int owner) {
    return Shape{k.size(0), k.size(1), rows(owner), k.size(3) + v.size(3)};
  };

  auto const pass = [this](Tensor const& out, Shape const& shape, int tag) {
    bytes_ += out.numel() * int64_t(size_of(out.dtype()));
    return Exchange(communicator_, out, shape, tag);
  };
  // use(step, keys, values) of every rank in turn, ours first, while those of the next step travel.
  auto const around = [=](Tensor const& k, Tensor const& v, auto const& use) {
    Tensor packet = cat({k, v}, 3);
    for (int step = 0; step < ranks; ++step) {
      std::optional<Exchange> next;
      if (step + 1 < ranks) next = pass(packet, travelling(k, v, owner_at(step + 1)), operands_tag);
      use(step, wide(packet.slice(3, 0, k.size(3))), wide(packet.slice(3, k.size(3), packet.size(3))));
      if (next) packet = next->finish();
    }
  };

  auto const forward = [&](std::vector<Tensor> const& in, CustomContext& context) {
    AutocastOff const off;
    Tensor const q = wide(in[0]), &v = in[2];
    std::vector<Attended> sums(runs().size());
    around(in[1], v, [&](int step, Tensor const& keys, Tensor const& values) {
      for (Meeting const& m : meetings(options, runs_, rank, owner_at(step), &pairs_)) {
        Attended const y = heed::attend(q.slice(2, m.q_from, m.q_to), keys.slice(2, m.k_from, m.k_to),
                                        values.slice(2, m.k_from, m.k_to), m.options);
        Attended& sum = sums[m.run];
        sum = !sum.out.defined() ? y : softmax ? merge(sum, y) : Attended{sum.out + y.out, {}};
      }
    });
    std::vector<Tensor> out, lse;
    for (size_t run = 0; run < sums.size(); ++run) {
      int64_t const b = q.size(0), h = q.size(1), t = runs()[run].size();
      bool const seen = sums[run].out.defined();
      out.push_back(seen ? sums[run].out : zeros({b, h, t, v.size(3)}, q.dtype(), q.device()));
      if (softmax)
        lse.push_back(seen ? sums[run].lse
                           : full({b, h, t}, -std::numeric_limits<double>::infinity(), q.dtype(), q.device()));
    }
    Tensor const all = joined(out, 2);
    std::vector<Tensor> results{all.to(in[0].dtype())};
    if (softmax) results.push_back(joined(lse, 2));
    context.save({in[0], in[1], in[2], all, softmax ? results[1] : Tensor()});
    return results;
  };

  auto const backward = [=, this](std::vector<Tensor> const& g, CustomContext const& context) {
    check(!recording(), "ring_attend", [] {
      return Complaint{"its gradient is not recorded", "take second derivatives of whole sequences"};
    });
    AutocastOff const off;
    std::vector<Tensor> const& saved = context.saved();
    Tensor const q = wide(saved[0]), &k = saved[1], &v = saved[2], &out = saved[3], &lse = saved[4], dout = wide(g[0]);
    size_t const tables = score_tables(options).size();
    std::vector<bool> wanted;
    for (size_t t = 0; t < tables; ++t) wanted.push_back(context.needs_gradient(3 + t));
    Tensor const dq = zeros(q.shape(), q.dtype(), q.device());
    std::vector<Tensor> of_tables(tables);
    Tensor of_packet;                 // gradients of the keys and values that are here
    std::optional<Exchange> carried;  // from the ranks that had them before
    auto const of_keys = [&] { return of_packet.slice(3, 0, k.size(3)); };
    auto const of_values = [&] { return of_packet.slice(3, k.size(3), of_packet.size(3)); };
    around(k, v, [&](int step, Tensor const& keys, Tensor const& values) {
      of_packet = zeros(travelling(k, v, owner_at(step)), q.dtype(), q.device());
      for (Meeting const& m : meetings(options, runs_, rank, owner_at(step))) {
        auto const mine = [&](Tensor const& x) { return x.defined() ? x.slice(2, m.q_from, m.q_to) : x; };
        AttendGradients const d =
            attend_gradients(mine(q), keys.slice(2, m.k_from, m.k_to), values.slice(2, m.k_from, m.k_to),
                             {mine(out), mine(lse)}, {mine(dout), softmax ? mine(g[1]) : Tensor()}, m.options, wanted);
        mine(dq).add_(d.dq);
        of_keys().slice(2, m.k_from, m.k_to).add_(d.dk);
        of_values().slice(2, m.k_from, m.k_to).add_(d.dv);
        for (size_t t = 0; t < tables; ++t)
          if (wanted[t]) of_tables[t] = of_tables[t].defined() ? of_tables[t] + d.tables[t] : d.tables[t];
      }
      if (carried) of_packet.add_(carried->finish());
      if (ranks > 1) carried = pass(of_packet, travelling(k, v, owner_at(step + 1)), gradients_tag);
    });
    if (carried) of_packet = carried->finish();
    std::vector<Tensor> all{dq, of_keys(), of_values()};
    all.insert(all.end(), of_tables.begin(), of_tables.end());
    return all;
  };

  std::vector<Tensor> inputs{q_in, k_in, v_in};
  for (Tensor const& table : score_tables(options)) inputs.push_back(table);
  std::vector<Tensor> const y = custom("ring_attend", inputs, forward, backward);
  Attended const whole{y[0], softmax ? y[1] : Tensor()};
  if (!given.sink.defined()) return whole;
  // A sink is a part of the keys with its log-sum-exp, and values 0.
  return merge(whole, {zeros(whole.out.shape(), whole.out.dtype(), whole.out.device()),
                       given.sink.to(whole.lse.dtype()).unsqueeze(1).expand(whole.lse.shape())});
}

// ---- scan -----------------------------------------------------------------------------------------------------------

namespace {

/// By what a state is multiplied on the way through a piece that only decays: [B, H, D, 1].
Tensor decay_of(ScanOptions const& piece, int64_t heads, Shape const& state) {
  Shape const all{state[0], heads, state[2], 1};
  if (!piece.decay.defined()) return ones(all);
  Tensor sums = sum(wide(piece.decay), {2});  // [B, G] or [B, G, D]
  if (sums.rank() == 2) sums = sums.unsqueeze(-1);
  if (piece.rates.defined()) sums = sums * wide(piece.rates);
  if (sums.size(1) < heads) sums = repeat_interleave(sums, heads / sums.size(1), 1);
  return exp(sums).unsqueeze(-1).expand(all);
}

}  // namespace

Scanned SequenceParallel::scan(Tensor const& q, Tensor const& k, Tensor const& v, ScanOptions const& options) {
  for (Tensor const* t : {&q, &k, &v}) {
    check_defined("scan", *t);
    check(t->rank() == 4 && t->size(2) == rows(), "scan", [&] {
      return Complaint{fmt::format("expected q, k and v of {} positions, got {}, {} and {}", rows(),
                                   to_string(q.shape()), to_string(k.shape()), to_string(v.shape())),
                       "pass the rows that this rank has of the sequence"};
    });
  }
  if (communicator_.size() == 1) return heed::scan(q, k, v, options);
  int64_t heads = std::max({q.size(1), k.size(1), v.size(1)});
  for (Tensor const* t : {&options.decay, &options.a, &options.b, &options.initial})
    if (t->defined()) heads = std::max(heads, t->size(1));
  int64_t const b = q.size(0), d = k.size(3), e = v.size(3);
  Dtype const dtype = is_half(q.dtype()) ? Dtype::f32 : q.dtype();
  Shape const state{b, heads, d, e};
  // A piece makes S ↦ M·S + L. It gets M from states of the identity, as more columns.
  bool const general = options.a.defined();
  struct Piece {
    Tensor q, k, v;
    ScanOptions options;
  };
  std::vector<Piece> mine;
  std::vector<Tensor> changes;  // [L | M]
  int64_t row = 0;
  for (PositionRun const& run : runs()) {
    auto const part = [&](Tensor const& x) { return x.defined() ? x.slice(2, row, row + run.size()) : x; };
    Piece piece{part(q), part(k), part(v), options};
    piece.options.decay = part(options.decay), piece.options.a = part(options.a), piece.options.b = part(options.b);
    row += run.size();
    ScanOptions local = piece.options;
    local.initial = Tensor();
    if (general) {
      Shape more = piece.v.shape();
      more[3] = d;
      Tensor const identity = eye(d, d, dtype).to(q.device()).expand({b, heads, d, d});
      local.initial = cat({zeros(state, dtype, q.device()), identity}, 3);
      changes.push_back(
          heed::scan(piece.q, piece.k, cat({piece.v, zeros(more, v.dtype(), v.device())}, 3), local).state);
    } else {
      Tensor const made = heed::scan(piece.q, piece.k, piece.v, local).state;
      changes.push_back(cat({made, decay_of(piece.options, heads, state).to(dtype).to(q.device())}, 3));
    }
    mine.push_back(std::move(piece));
  }
  if (changes.size() == 1) changes.push_back(zeros(changes[0].shape(), dtype, q.device()));  // as many from every rank
  Tensor const all = gathered(communicator_, stack(changes, 0));

  struct Place {
    int64_t from;
    int rank;
    size_t run;
  };
  std::vector<Place> order;
  for (int r = 0; r < communicator_.size(); ++r)
    for (size_t i = 0; i < runs_[size_t(r)].size(); ++i) order.push_back({runs_[size_t(r)][i].from, r, i});
  std::sort(order.begin(), order.end(), [](Place const& x, Place const& y) { return x.from < y.from; });
  Tensor s = options.initial.defined() ? options.initial.to(dtype) : zeros(state, dtype, q.device());
  std::vector<Tensor> out(mine.size());
  for (Place const& place : order) {
    if (place.rank == communicator_.rank()) {
      Piece& piece = mine[place.run];
      piece.options.initial = s;
      out[place.run] = heed::scan(piece.q, piece.k, piece.v, piece.options).out;
    }
    Tensor const change = all.select(0, place.rank * 2 + int64_t(place.run));
    Tensor const made = change.slice(3, 0, e), by = change.slice(3, e, change.size(3));
    s = (general ? matmul(by, s) : by * s) + made;
  }
  return {joined(out, 2), s};
}

}  // namespace heed::distributed
