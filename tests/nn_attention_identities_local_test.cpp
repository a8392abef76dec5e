// What proves masks, blocks, selection and memories beside the identities of their rows.
#include <doctest/doctest.h>
#include <heed/engine/engine.h>
#include <heed/nn/attention/external.h>
#include <heed/nn/attention/han.h>
#include <heed/nn/attention/isab.h>
#include <heed/nn/attention/multi_head.h>
#include <heed/nn/attention/swin.h>
#include <heed/nn/nn.h>
#include <heed/tests/support/gradcheck.h>
#include <heed/tests/support/op_case.h>

#include <cmath>
#include <functional>

using namespace heed;
using test::error_of;
using test::numbers;
using test::same_bits;

namespace {

constexpr int64_t dim = 8;

nn::AttentionConfig config(bool causal = false) { return {.dim = dim, .heads = 2, .causal = causal, .block = 16}; }

double difference(Tensor const& a, Tensor const& b) {
  REQUIRE(to_string(a.shape()) == to_string(b.shape()));
  return a.numel() ? amax(abs(a.to(Dtype::f64) - b.to(Dtype::f64)).view({-1}), {0}).item() : 0;
}

std::unique_ptr<nn::Attention> made(std::string_view text, bool causal = false) {
  seed(5);
  auto layer = nn::make_attention(text, config(causal));
  nn::to(*layer, Dtype::f64);
  nn::eval(*layer);
  return layer;
}
nn::MultiHeadAttention& heads_of(nn::Attention& layer) { return dynamic_cast<nn::MultiHeadAttention&>(layer); }
Tensor parameter(nn::Module& module, std::string_view name) {
  for (auto& [key, tensor] : nn::named_parameters(module))
    if (key.ends_with(name)) return tensor;
  FAIL("no parameter ", name);
  return {};
}

}  // namespace

TEST_CASE("gat: a complete graph is dense additive attention; an edge taken away is a pair unseen") {
  auto const layer = made("gat");
  Tensor const x = numbers({2, 7, dim}, 1);
  auto& own = heads_of(*layer);
  Tensor const q = nn::split_heads(own.q_proj(x), 2), k = nn::split_heads(own.k_proj(x), 2),
               v = nn::split_heads(own.v_proj(x), 2);
  Tensor const of_q = sum(q * parameter(*layer, "gat.a"), {3}, true),
               of_k = sum(k * parameter(*layer, "gat.b"), {3}, true);
  Tensor const scores = leaky_relu(of_q + of_k.transpose(2, 3), 0.2);
  auto const out = [&](Tensor const& s) { return own.out_proj(nn::join_heads(matmul(softmax(s, -1), v))); };
  CHECK(difference((*layer)(x), out(scores)) < 1e-12);

  Tensor const edges = rand({2, 7, 7}, Dtype::f64) + eye(7, -1, Dtype::f64) > 0.5;
  nn::AttentionContext graph;
  graph.sees = [&](auto at) { return read(edges, {at.b, at.i, at.j}) > 0.; };
  CHECK(difference((*layer)(x, graph), out(where(edges.unsqueeze(1), scores, -INFINITY))) < 1e-12);
}

TEST_CASE("synthesizer: scores of zero give the mean; those of dot products give dense attention") {
  auto const layer = made("synthesizer");
  auto& own = heads_of(*layer);
  Tensor const x = numbers({1, 7, dim}, 1);
  Tensor scores = parameter(*layer, "scores");
  NoGrad const off;
  scores.fill_(0);
  CHECK(difference((*layer)(x), own.out_proj(mean(own.v_proj(x), {1}, true)).expand({1, 7, dim})) < 1e-12);
  Tensor const q = nn::split_heads(own.q_proj(x), 2), k = nn::split_heads(own.k_proj(x), 2);
  scores.slice(1, 0, 7).slice(2, 0, 7).copy_(dense_scores(q, k).squeeze(0));
  auto const dense = made("multi-head");
  for (auto& [name, tensor] : nn::named_parameters(*dense)) tensor.copy_(parameter(*layer, name));
  CHECK(difference((*layer)(x), (*dense)(x)) < 1e-12);

  // Scores made from x: of zero they give the mean too, and with a cache what they give without.
  auto const made_of_x = made("synthesizer:dense=true", true);
  Tensor const whole = (*made_of_x)(x);
  auto const state = made_of_x->make_state(7);
  std::vector<Tensor> steps;
  for (int64_t t = 0; t < 7; ++t) steps.push_back((*made_of_x)(x.slice(1, t, t + 1), {.state = state.get()}));
  CHECK(difference(cat(steps, 1), whole) < 1e-12);
  for (char const* name : {"outer.weight", "outer.bias"}) parameter(*made_of_x, name).fill_(0);
  Tensor const values = heads_of(*made_of_x).v_proj(x);
  Tensor const means = cumsum(values, 1) / arange(1, 8).to(Dtype::f64).view({1, 7, 1});
  CHECK(difference((*made_of_x)(x), heads_of(*made_of_x).out_proj(means)) < 1e-12);
}

TEST_CASE("persistent, prefix-tuning: learned keys and values are those of a longer sequence") {
  for (bool causal : {false, true}) {
    auto const layer = made("persistent:slots=3", causal);
    auto& own = heads_of(*layer);
    Tensor const x = numbers({2, 7, dim}, 1);
    auto const with = [&](Tensor const& rows, char const* memory) {
      Tensor const learned = parameter(*layer, memory);
      return cat({learned.expand({2, 2, 3, dim / 2}), nn::split_heads(rows, 2)}, 2);
    };
    Attended const want = attend(nn::split_heads(own.q_proj(x), 2), with(own.k_proj(x), "persistent.keys"),
                                 with(own.v_proj(x), "persistent.values"), {.causal = causal});
    CHECK(difference((*layer)(x), own.out_proj(nn::join_heads(want.out))) < 1e-12);
  }
  // Beside a window and a cache, which do not count them.
  auto const layer = made("sliding:window=2+persistent:slots=3+rope", true);
  NoGrad const off;
  Tensor const x = numbers({1, 9, dim}, 2);
  auto const state = layer->make_state(9);
  std::vector<Tensor> steps;
  for (int64_t t = 0; t < 9; ++t) steps.push_back((*layer)(x.slice(1, t, t + 1), {.state = state.get()}));
  CHECK(difference(cat(steps, 1), (*layer)(x)) < 1e-12);
}

TEST_CASE("documents: a packed sequence is its documents, each alone") {
  for (std::string_view const kind : {"multi-head", "sliding:window=2", "hopfield", "gated+persistent:slots=2"})
    for (bool causal : {false, true}) {
      auto const layer = made(kind, causal);
      Tensor const x = numbers({1, 11, dim}, 1);
      Tensor const ids = tensor(std::vector<int64_t>{0, 0, 0, 1, 1, 1, 1, 1, 2, 3, 3}, {1, 11});
      nn::AttentionContext packed;
      packed.sees = documents(ids);
      std::vector<Tensor> alone;
      for (auto [from, to] : {std::pair(0, 3), {3, 8}, {8, 9}, {9, 11}})
        alone.push_back((*layer)(x.slice(1, from, to)));
      CHECK(difference((*layer)(x, packed), cat(alone, 1)) < 1e-12);
    }
  auto const convolution = made("pool");
  nn::AttentionContext packed;
  packed.sees = causal();
  CHECK(error_of([&] { (*convolution)(numbers({1, 4, dim}, 1), packed); }).find("pair by pair") != std::string::npos);
}

TEST_CASE("documents: a GPT's losses of a packed sequence are those of its documents") {
  seed(4);
  for (std::string_view const kind : {"multi-head+rope", "chunked:chunk=4+none", "streaming:window=2,sinks=0+alibi"}) {
    nn::GPT model({.vocabulary = 11, .layers = 2, .heads = 2, .dim = 8, .block = 16, .attention = std::string(kind)});
    nn::to(model, Dtype::f64);
    nn::eval(model);
    Tensor const tokens = tensor(std::vector<int64_t>{3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8}, {1, 12});
    Tensor const ids = tensor(std::vector<int64_t>{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2}, {1, 12});
    nn::GPTContext packed;
    packed.sees = documents(ids);
    Tensor const y = model(tokens, packed);
    for (int64_t at = 0; at < 12; at += 4)
      CHECK(difference(y.slice(1, at, at + 4), model(tokens.slice(1, at, at + 4))) < 1e-12);
  }
}

TEST_CASE("pages: keys in pages of a tile are the bits of keys in a row") {
  Tensor const q = numbers({2, 4, 3, 8}, 1), k = numbers({2, 2, 192, 8}, 2), v = numbers({2, 2, 192, 8}, 3);
  Tensor const there = tensor(std::vector<int64_t>{192, 150}, {2});
  Tensor const pages = tensor(std::vector<int64_t>{5, 0, 3, 1, 4, 2}, {2, 3});
  auto const paged = [&](Tensor const& x) {  // [2, G, 192, D] → [6, G, 64, D], page pages[b, p] holding rows 64·p on
    Tensor pool = zeros({6, 2, 64, 8}, Dtype::f64);
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t p = 0; p < 3; ++p)
        pool.select(0, pages.to_vector<int64_t>()[size_t(b * 3 + p)])
            .copy_(x.select(0, b).slice(1, 64 * p, 64 * p + 64));
    return pool;
  };
  AttendOptions options{.sees = lengths(there)};
  Attended const row = attend(q, k, v, options);
  options.pages = pages;
  Attended const by_page = attend(q, paged(k), paged(v), options);
  CHECK(same_bits(row.out, by_page.out));
  CHECK(same_bits(row.lse, by_page.lse));
}

TEST_CASE("prefix-lm: no prefix is causal; prefixes of a batch may differ") {
  auto const layer = made("prefix-lm:prefix=0"), causal_layer = made("multi-head", true), dense = made("multi-head");
  Tensor const x = numbers({2, 7, dim}, 1);
  CHECK(difference((*layer)(x), (*causal_layer)(x)) < 1e-12);
  nn::AttentionContext context;
  context.sees = prefix(tensor(std::vector<int64_t>{3, 5}, {2}));
  Tensor const y = (*dense)(x, context);
  for (int64_t b = 0; b < 2; ++b) {
    auto const alone = made(b == 0 ? "prefix-lm:prefix=3" : "prefix-lm:prefix=5");
    CHECK(difference(y.slice(0, b, b + 1), (*alone)(x.slice(0, b, b + 1))) < 1e-12);
  }
}

TEST_CASE("neighborhood: every query sees as many keys, at the borders too") {
  for (std::string_view const kind :
       {"neighborhood:size=3", "neighborhood:size=3,width=4", "neighborhood:size=2,width=4"}) {
    auto const layer = made(kind);
    double const each = kind == "neighborhood:size=3" ? 3 : kind.find("size=3") != kind.npos ? 9 : 4;
    auto const maps = nn::attention_maps([&] { (*layer)(numbers({1, 16, dim}, 1)); });
    Tensor const seen = sum((maps.at(0) > 0.).to(Dtype::f64), {3});
    CHECK(difference(seen, full(seen.shape(), each, Dtype::f64)) == 0);
  }
}

TEST_CASE("streaming, longformer, transformer-xl, chunked: long texts in bounded caches, whatever drops out of them") {
  NoGrad const off;
  for (std::string_view const kind :
       {"streaming:window=3,sinks=2", "longformer:window=3,globals=2", "transformer-xl:segment=4", "chunked:chunk=5",
        "dilated:window=2,dilation=3", "streaming:window=6,sinks=2+chunked:chunk=5",
        "sliding:window=4+strided:stride=3", "streaming:window=3,sinks=2+rope"}) {
    INFO(kind);
    auto const layer = made(kind, true);
    Tensor const x = numbers({1, 50, dim}, 2);
    Tensor const y = (*layer)(x);
    auto const state = layer->make_state(50);
    std::vector<Tensor> steps;
    int64_t bytes = 0;
    for (int64_t t = 0; t < 50; t += t % 3 + 1) {
      steps.push_back((*layer)(x.slice(1, t, std::min(t + t % 3 + 1, int64_t{50})), {.state = state.get()}));
      if (t == 0) bytes = state->bytes();
    }
    CHECK(difference(cat(steps, 1), y) < 1e-12);
    CHECK(state->bytes() == bytes);
  }
}

TEST_CASE("split keys: attention is the merge of its parts, for every split and in any order") {
  Tensor const q = numbers({2, 4, 5, 8}, 1), k = numbers({2, 2, 13, 8}, 2), v = numbers({2, 2, 13, 8}, 3);
  Attended const whole = attend(q, k, v);
  auto const part = [&](int64_t from, int64_t to) { return attend(q, k.slice(2, from, to), v.slice(2, from, to)); };
  for (int64_t cut = 0; cut <= 13; ++cut)
    for (int64_t then = cut; then <= 13; ++then) {
      Attended const a = part(0, cut), b = part(cut, then), c = part(then, 13);
      Attended const left = merge(merge(a, b), c), right = merge(a, merge(b, c)), turned = merge(c, merge(b, a));
      for (Attended const& each : {left, right, turned}) {
        CHECK(difference(each.out, whole.out) < 1e-12);
        CHECK(difference(each.lse, whole.lse) < 1e-12);
      }
    }
}

TEST_CASE("linformer: one mixture for each position, itself, is dense attention") {
  auto const layer = made("linformer:rank=16"), dense = made("multi-head");
  NoGrad const off;
  for (char const* name : {"linformer.e", "linformer.f"}) parameter(*layer, name).copy_(eye(16, -1, Dtype::f64));
  for (auto& [name, tensor] : nn::named_parameters(*dense)) tensor.copy_(parameter(*layer, name));
  // Beyond the sequence the mixtures are keys of zero: as many as that they must be weighed.
  Tensor const x = numbers({2, 16, dim}, 1);
  CHECK(difference((*layer)(x), (*dense)(x)) < 1e-12);
}

TEST_CASE("agent: one agent tells all the same") {
  auto const layer = made("agent:agents=1");
  Tensor const y = (*layer)(numbers({2, 7, dim}, 1));
  CHECK(difference(y, y.slice(1, 0, 1).expand({2, 7, dim})) < 1e-12);
}

TEST_CASE("isab: two attentions, the first from the latents") {
  auto const layer = made("isab:latents=3");
  auto& own = dynamic_cast<nn::InducedSet&>(*layer);
  Tensor const x = numbers({2, 7, dim}, 1);
  auto const look = [](nn::MultiHeadAttention const& by, Tensor const& at, Tensor const& from) {
    Tensor const q = nn::split_heads(by.q_proj(at), 2), k = nn::split_heads(by.k_proj(from), 2);
    return by.out_proj(nn::join_heads(attend(q, k, nn::split_heads(by.v_proj(from), 2)).out));
  };
  CHECK(difference((*layer)(x), look(own.spread, x, look(own.gather, own.latents.expand({2, 3, dim}), x))) < 1e-12);
}

TEST_CASE("external: columns are softmaxes over positions, rows then sum to one") {
  auto const layer = made("external:slots=5");
  auto& own = dynamic_cast<nn::ExternalAttention&>(*layer);
  Tensor const x = numbers({1, 7, dim}, 1);
  Tensor const q = nn::split_heads(own.q_proj(x), 2);
  Tensor const e = exp(matmul(q, own.keys.transpose(1, 2)));
  Tensor const columns = e / sum(e, {2}, true), rows = columns / sum(columns, {3}, true);
  CHECK(difference((*layer)(x), own.out_proj(nn::join_heads(matmul(rows, own.values)))) < 1e-12);
}

TEST_CASE("han: one sentence is one level; several are poolings of poolings") {
  auto const one = made("han:sentence=100"), two = made("han:sentence=3");
  Tensor const x = numbers({2, 8, dim}, 1);
  CHECK(difference((*one)(x), dynamic_cast<nn::HierarchicalPooling&>(*one).words(x)) < 1e-14);
  auto& own = dynamic_cast<nn::HierarchicalPooling&>(*two);
  Tensor const sentences =
      cat({own.words(x.slice(1, 0, 3)), own.words(x.slice(1, 3, 6)), own.words(x.slice(1, 6, 8))}, 1);
  CHECK(difference((*two)(x), own.sentences(sentences)) < 1e-12);
}

TEST_CASE("nsa, moba: a query sees its own block and the best of those before it") {
  auto const layer = made("moba:block=2,top=1", true);
  auto const maps = nn::attention_maps([&] { (*layer)(numbers({1, 11, dim}, 1)); });
  for (int64_t i = 0; i < 11; ++i) {
    Tensor const row = maps.at(0).select(2, i).select(1, 0).squeeze(0);
    double const seen = sum((row > 0.).to(Dtype::f64)).item();
    CHECK(seen == double(i % 2 + 1 + (i >= 2 ? 2 : 0)));
  }
}

TEST_CASE("swin, axial, longnet: groups are masks over the whole sequence") {
  Tensor const x = numbers({2, 22, dim}, 1);  // the last row of a grid is half a row
  auto const with_mask = [&](std::string_view text, std::function<bool(int64_t, int64_t)> const& sees) {
    auto const layer = made(text), dense = made("multi-head");
    NoGrad const off;
    for (auto& [name, tensor] : nn::named_parameters(*dense)) tensor.copy_(parameter(*layer, name));
    std::vector<uint8_t> mask;
    for (int64_t i = 0; i < 22; ++i)
      for (int64_t j = 0; j < 22; ++j) mask.push_back(sees(i, j));
    Tensor const table = tensor(mask, {22, 22});
    nn::AttentionContext context;
    context.sees = [&](auto at) { return read(table, {at.i, at.j}) > 0.; };
    return difference((*layer)(x), (*dense)(x, context));
  };
  CHECK(with_mask("axial:width=4,axis=rows", [](int64_t i, int64_t j) { return i / 4 == j / 4; }) < 1e-12);
  CHECK(with_mask("axial:width=4,axis=columns", [](int64_t i, int64_t j) { return i % 4 == j % 4; }) < 1e-12);
  CHECK(with_mask("swin:window=2,width=4",
                  [](int64_t i, int64_t j) { return i / 8 == j / 8 && i % 4 / 2 == j % 4 / 2; }) < 1e-12);
  CHECK(with_mask("longnet:segment=5,levels=1", [](int64_t i, int64_t j) { return i / 5 == j / 5; }) < 1e-12);
  // A shifted layer's squares, cut at the borders.
  nn::AttentionConfig odd = config();
  odd.layer = 1;
  nn::ShiftedWindow const shifted(odd, {.window = 2, .width = 4});
  nn::HeadOperands o{.x = x, .source = x};
  o.q = o.k = nn::split_heads(x, 2);
  o.v = eye(22, -1, Dtype::f64).view({1, 1, 22, 22}).expand({2, 2, 22, 22});
  Tensor const map = shifted.weigh(o, {}).out;
  for (int64_t i = 0; i < 22; ++i)
    for (int64_t j = 0; j < 22; ++j) {
      bool const near = (i / 4 + 1) / 2 == (j / 4 + 1) / 2 && (i % 4 + 1) / 2 == (j % 4 + 1) / 2;
      CHECK((map.select(2, i).select(2, j).select(0, 0).select(0, 0).item() > 0) == near);
    }
}

TEST_CASE("h-transformer-1d: exact where the keys of a run are equal") {
  for (bool causal : {false, true}) {
    auto const layer = made("h-transformer-1d:block=2", causal), dense = made("multi-head", causal);
    NoGrad const off;
    for (auto& [name, tensor] : nn::named_parameters(*dense)) tensor.copy_(parameter(*layer, name));
    // Runs of 8 equal positions: no mean is of more.
    Tensor const x = repeat_interleave(numbers({2, 4, dim}, 1), 8, 1).slice(1, 0, 29);
    CHECK(difference((*layer)(x), (*dense)(x)) < 1e-12);
  }
}

TEST_CASE("lsh, routing: a map holds the pairs of a bucket and no others") {
  auto const layer = made("routing:clusters=3");
  Tensor const x = numbers({1, 20, dim}, 1);
  auto& own = heads_of(*layer);
  Tensor centroids;
  for (auto& [name, tensor] : nn::state_dict(*layer))
    if (name.ends_with("centroids")) centroids = tensor;
  auto const nearest = [&](Tensor const& of) {
    return argmax(matmul(normalize(of, 2, -1), centroids.transpose(1, 2)), 3);
  };
  Tensor const q = nn::split_heads(own.q_proj(x), 2), k = nn::split_heads(own.k_proj(x), 2),
               v = nn::split_heads(own.v_proj(x), 2);
  Tensor const same = nearest(q).unsqueeze(3) == nearest(k).unsqueeze(2);
  CHECK(difference((*layer)(x), own.out_proj(nn::join_heads(attend(q, k, v, {.mask = same}).out))) < 1e-12);
  // In training centroids go to what they draw, and stay of length 1.
  nn::train(*layer);
  Tensor const before = centroids.clone();
  (*layer)(x);
  CHECK(difference(centroids, before) > 1e-6);
  CHECK(difference(norm(centroids, 2, {2}), ones({2, 3}, Dtype::f64)) < 1e-12);
}

TEST_CASE("attention: what looks elsewhere refuses masks and scores, and two of its kind") {
  auto const layer = made("nystrom+rope+gated");
  Tensor const x = numbers({1, 5, dim}, 1);
  CHECK((*layer)(x).size(1) == 5);
  CHECK(error_of([&] { (*made("nystrom+alibi"))(x); }).find("masks, scores") != std::string::npos);
  CHECK(error_of([&] { made("nystrom+agent"); }).find("both stand") != std::string::npos);
  nn::AttentionContext context;
  context.sees = causal();
  CHECK(error_of([&] { (*layer)(x, context); }).find("pair by pair") != std::string::npos);
}
