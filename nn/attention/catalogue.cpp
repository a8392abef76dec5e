#include <heed/engine/error.h>
#include <heed/nn/attention/adaptive_span.h>
#include <heed/nn/attention/additive.h>
#include <heed/nn/attention/aft.h>
#include <heed/nn/attention/agent.h>
#include <heed/nn/attention/attention_on_attention.h>
#include <heed/nn/attention/autocorrelation.h>
#include <heed/nn/attention/axial.h>
#include <heed/nn/attention/bam.h>
#include <heed/nn/attention/based.h>
#include <heed/nn/attention/big_bird.h>
#include <heed/nn/attention/catalogue.h>
#include <heed/nn/attention/cbam.h>
#include <heed/nn/attention/channel.h>
#include <heed/nn/attention/chunked.h>
#include <heed/nn/attention/clustered.h>
#include <heed/nn/attention/cog.h>
#include <heed/nn/attention/comba.h>
#include <heed/nn/attention/conformer.h>
#include <heed/nn/attention/convolution.h>
#include <heed/nn/attention/coordinate.h>
#include <heed/nn/attention/cosformer.h>
#include <heed/nn/attention/criss_cross.h>
#include <heed/nn/attention/cross.h>
#include <heed/nn/attention/delta.h>
#include <heed/nn/attention/delta_product.h>
#include <heed/nn/attention/differential.h>
#include <heed/nn/attention/dilated.h>
#include <heed/nn/attention/dpfp.h>
#include <heed/nn/attention/dynamic_convolution.h>
#include <heed/nn/attention/efficient.h>
#include <heed/nn/attention/entmax.h>
#include <heed/nn/attention/external.h>
#include <heed/nn/attention/fixed.h>
#include <heed/nn/attention/fox.h>
#include <heed/nn/attention/gat.h>
#include <heed/nn/attention/gated.h>
#include <heed/nn/attention/gated_cross.h>
#include <heed/nn/attention/gated_delta.h>
#include <heed/nn/attention/gated_linear.h>
#include <heed/nn/attention/gated_recurrence.h>
#include <heed/nn/attention/gated_states.h>
#include <heed/nn/attention/gather_excite.h>
#include <heed/nn/attention/gdn2.h>
#include <heed/nn/attention/global_context.h>
#include <heed/nn/attention/global_filter.h>
#include <heed/nn/attention/gmlp.h>
#include <heed/nn/attention/guided.h>
#include <heed/nn/attention/h_transformer.h>
#include <heed/nn/attention/han.h>
#include <heed/nn/attention/hedgehog.h>
#include <heed/nn/attention/hopfield.h>
#include <heed/nn/attention/hourglass.h>
#include <heed/nn/attention/hybrid.h>
#include <heed/nn/attention/hyena.h>
#include <heed/nn/attention/infini.h>
#include <heed/nn/attention/inverted.h>
#include <heed/nn/attention/isab.h>
#include <heed/nn/attention/kda.h>
#include <heed/nn/attention/l2.h>
#include <heed/nn/attention/laser.h>
#include <heed/nn/attention/linear_attention.h>
#include <heed/nn/attention/linformer.h>
#include <heed/nn/attention/location_aware.h>
#include <heed/nn/attention/longformer.h>
#include <heed/nn/attention/longnet.h>
#include <heed/nn/attention/lsh.h>
#include <heed/nn/attention/luong.h>
#include <heed/nn/attention/mamba.h>
#include <heed/nn/attention/mamba2.h>
#include <heed/nn/attention/memorizing.h>
#include <heed/nn/attention/mixer.h>
#include <heed/nn/attention/mla.h>
#include <heed/nn/attention/mlstm.h>
#include <heed/nn/attention/moba.h>
#include <heed/nn/attention/multi_head.h>
#include <heed/nn/attention/neighborhood.h>
#include <heed/nn/attention/nsa.h>
#include <heed/nn/attention/nystrom.h>
#include <heed/nn/attention/patches.h>
#include <heed/nn/attention/perceiver_io.h>
#include <heed/nn/attention/performer.h>
#include <heed/nn/attention/persistent.h>
#include <heed/nn/attention/pooling.h>
#include <heed/nn/attention/prefix_lm.h>
#include <heed/nn/attention/prefix_tuning.h>
#include <heed/nn/attention/probsparse.h>
#include <heed/nn/attention/pyramid.h>
#include <heed/nn/attention/qk_norm.h>
#include <heed/nn/attention/recurrent.h>
#include <heed/nn/attention/recurrent_memory.h>
#include <heed/nn/attention/registers.h>
#include <heed/nn/attention/relu.h>
#include <heed/nn/attention/retnet.h>
#include <heed/nn/attention/routing.h>
#include <heed/nn/attention/rwkv.h>
#include <heed/nn/attention/s4d.h>
#include <heed/nn/attention/scalable_softmax.h>
#include <heed/nn/attention/selective_kernel.h>
#include <heed/nn/attention/sigmoid.h>
#include <heed/nn/attention/sink.h>
#include <heed/nn/attention/sinkformer.h>
#include <heed/nn/attention/sliding.h>
#include <heed/nn/attention/slots.h>
#include <heed/nn/attention/soft_cap.h>
#include <heed/nn/attention/softmax_one.h>
#include <heed/nn/attention/spatial_reduction.h>
#include <heed/nn/attention/stick_breaking.h>
#include <heed/nn/attention/streaming.h>
#include <heed/nn/attention/strided.h>
#include <heed/nn/attention/swin.h>
#include <heed/nn/attention/synthesizer.h>
#include <heed/nn/attention/talking_heads.h>
#include <heed/nn/attention/target.h>
#include <heed/nn/attention/top_k.h>
#include <heed/nn/attention/transformer_xl.h>
#include <heed/nn/attention/two_stage.h>
#include <heed/nn/attention/two_streams.h>
#include <heed/nn/attention/value_residual.h>
#include <heed/nn/attention/variates.h>
#include <heed/nn/position/catalogue.h>

#include <algorithm>

namespace heed::nn {
namespace {

std::unique_ptr<Attention> multi_head(AttentionConfig const& config, Spec const& spec) {
  expect_no_options(spec);
  return std::make_unique<MultiHeadAttention>(config);
}
std::unique_ptr<Attention> multi_query(AttentionConfig const& config, Spec const& spec) {
  AttentionConfig one = config;
  one.kv_heads = 1;
  return multi_head(one, spec);
}

struct GroupedConfig {
  int64_t share = 2;
  void visit(ConfigVisitor& v) {
    v.field("share", share, "query heads to a head of keys and values; kv_heads overrules");
  }
};
std::unique_ptr<Attention> grouped_query(AttentionConfig const& config, Spec const& spec) {
  int64_t const share = configured<GroupedConfig>(spec).share;
  AttentionConfig grouped = config;
  check(share >= 1 && config.heads % share == 0, "gqa", [] {
    return Complaint{"expected heads that are a multiple of `share`", "choose share among the divisors of heads"};
  });
  if (config.kv_heads == config.heads) grouped.kv_heads = config.heads / share;
  return std::make_unique<MultiHeadAttention>(grouped);
}
std::unique_ptr<Part> sparsemax(AttentionConfig const& config, Spec const& spec) {
  expect_no_options(spec);
  return std::make_unique<Entmax>(config, Entmax::Config{2});
}

}  // namespace

std::vector<AttentionRow> const& attentions() {
  using enum Rank;
  static std::vector<AttentionRow> const rows{
      // ---- heads and the path of values
      {{"multi-head", "heads", must, "Vaswani et al., 2017", "concat_h(softmax(q·kᵀ/√D)·v)·W_out"}, {}, multi_head},
      {{"mqa", "heads", must, "Shazeer, 2019", "multi-head with one head of keys and values"},
       {},
       multi_query,
       {"mqa:heads=1", "multi-head:heads=1"}},
      {{"gqa", "heads", must, "Ainslie et al., 2023", "multi-head, `share` query heads to one head of keys and values",
        options_of<GroupedConfig>},
       {},
       grouped_query,
       {"gqa:share=1", "multi-head"}},
      {{"gated", "heads", must, "Qiu et al., 2025", "out ⊙ σ(x·W_g + b)"},
       plain_part_of<GatedOutput>,
       {},
       {"gated", "multi-head", 1e-12, "gate.weight=0, gate.bias=100"}},
      {{"mla", "heads", should, "DeepSeek-V2, 2024", "keys and values of all heads from one latent vector",
        options_of<LatentAttention::Config>},
       {},
       layer_of<LatentAttention>,
       {"mla:absorbed=true", "mla", 1e-12}},
      {{"value-residual", "heads", must, "Zhou et al., 2024", "v ← λ₁·v + λ₂·v of the first layer"},
       plain_part_of<ValueResidual>},
      {{"differential", "heads", must, "Ye et al., 2024", "(A₁ − λ·A₂)·v, the maps of two halves of q and k"},
       plain_part_of<Differential>},
      {{"talking-heads", "heads", should, "Shazeer et al., 2020", "P_w·softmax(P_l·s): heads mix scores and weights"},
       plain_part_of<TalkingHeads>},
      {{"laser", "heads", should, "Duvvuri and Dhillon, 2024", "log(A·exp(v))"}, plain_part_of<Laser>},
      {{"aoa", "heads", could, "Huang et al., 2019", "σ(W_g·[q, out]) ⊙ (W_i·[q, out])"},
       plain_part_of<AttentionOnAttention>},
      {{"cog", "heads", could, "Lv et al., 2024", "sign(s)·softmax(|s|)"}, plain_part_of<SignedWeights>},
      // ---- row normalisers and scores
      {{"softmax-1", "normaliser", must, "Miller, 2023", "exp(s)/(1 + Σ exp(s)): a head may attend to nothing"},
       plain_part_of<SoftmaxOne>},
      {{"sink", "normaliser", must, "OpenAI, gpt-oss, 2025", "exp(s)/(exp(b) + Σ exp(s)), b learned for each head"},
       plain_part_of<LearnedSink>,
       {},
       {"sink", "softmax-1", 1e-14, "logits=0"}},
      {{"sigmoid", "normaliser", must, "Ramapuram et al., 2024", "σ(s − log n): every pair decides for itself"},
       plain_part_of<SigmoidWeights>},
      {{"sparsemax", "normaliser", must, "Martins and Astudillo, 2016",
        "the nearest point of the simplex: exact zeros"},
       sparsemax,
       {},
       {"sparsemax", "entmax:alpha=2"}},
      {{"entmax", "normaliser", must, "Peters et al., 2019", "max((α − 1)·s − τ, 0)^(1/(α−1)): exact zeros",
        options_of<Entmax::Config>},
       part_of<Entmax>,
       {},
       {"entmax:alpha=1", "multi-head"}},
      {{"top-k", "normaliser", must, "Zhao et al., 2019", "softmax over the `count` largest scores",
        options_of<TopK::Config>},
       part_of<TopK>,
       {},
       {"top-k:count=1000", "multi-head"},
       "top-k:count=3"},
      {{"relu", "normaliser", should, "Wortsman et al., 2023", "max(s, 0)^power / n", options_of<ReluWeights::Config>},
       part_of<ReluWeights>},
      {{"stick-breaking", "normaliser", should, "Tan et al., 2024", "β_ij·∏_{j<l<i}(1 − β_il), β = σ(s)"},
       plain_part_of<StickBreaking>},
      {{"sinkformer", "normaliser", should, "Sander et al., 2022", "rows and columns scaled to sums of 1 in turn",
        options_of<Sinkformer::Config>},
       part_of<Sinkformer>,
       {},
       {"sinkformer:steps=1", "multi-head", 1e-12}},
      {{"inverted", "normaliser", should, "Locatello et al., 2020", "softmax over queries, then rows to sums of 1"},
       plain_part_of<InvertedWeights>},
      {{"din", "normaliser", should, "Zhou et al., 2018", "scores are weights: the result adds up over the history"},
       plain_part_of<TargetWeights>},
      {{"qk-norm", "score", must, "Henry et al., 2020", "τ·cos(q, k), τ learned for each head"}, plain_part_of<QkNorm>},
      {{"soft-cap", "score", must, "Gemma 2, 2024", "cap·tanh(s/cap)", options_of<SoftCap::Config>},
       part_of<SoftCap>,
       {},
       {"soft-cap:cap=1e7", "multi-head", 1e-10},
       "soft-cap:cap=2"},
      {{"scalable-softmax", "score", must, "Nakanishi, 2025", "a·log(n)·s, n the keys that a query sees"},
       plain_part_of<ScalableSoftmax>},
      {{"additive", "score", must, "Bahdanau et al., 2014", "w·tanh(q + k)"}, plain_part_of<Additive>},
      {{"luong-concat", "score", should, "Luong et al., 2015", "w·tanh(q + k): additive, by its other name"},
       plain_part_of<Additive>},
      {{"location-aware", "score", should, "Chorowski et al., 2015", "w·tanh(q + k + U·(F ∗ the weights before))",
        options_of<LocationAware::Config>},
       part_of<LocationAware>},
      {{"luong", "score", must, "Luong et al., 2015", "q·W·k, with a Gaussian window", options_of<Luong::Config>},
       part_of<Luong>,
       {},
       {},
       "luong:sigma=2,predict=true"},
      {{"l2", "score", should, "Kim et al., 2021", "−|q − k|²/√D"}, plain_part_of<DistanceScores>},
      {{"fox", "score", should, "Lin et al., 2025", "s + c_i − c_j, c the running sum of log gates"},
       plain_part_of<Forgetting>,
       {},
       {"fox", "multi-head", 1e-9, "gate.weight=0, gate.bias=1000"}},
      {{"adaptive-span", "score", should, "Sukhbaatar et al., 2019", "weights fade beyond a learned distance",
        options_of<AdaptiveSpan::Config>},
       part_of<AdaptiveSpan>,
       {},
       {"adaptive-span:longest=1000", "multi-head", 1e-14, "span=1"},
       "adaptive-span:longest=6,ramp=4"},
      // ---- masks: local, blockwise, hierarchical
      {{"sliding", "blockwise", must, "Beltagy et al., 2020", "keys at most `window` away",
        options_of<SlidingWindow::Config>},
       part_of<SlidingWindow>,
       {},
       {"sliding:window=1000", "multi-head"},
       "sliding:window=3"},
      {{"prefix-lm", "masks", must, "Raffel et al., 2020", "a prefix sees itself both ways, the rest looks back",
        options_of<PrefixLm::Config>},
       part_of<PrefixLm>,
       {},
       {"prefix-lm:prefix=1000", "multi-head"},
       "prefix-lm:prefix=4"},
      {{"chunked", "blockwise", must, "Qiu et al., 2020", "chunks that know nothing of each other",
        options_of<Chunked::Config>},
       part_of<Chunked>,
       {},
       {"chunked:chunk=1000", "multi-head"},
       "chunked:chunk=4"},
      {{"longformer", "blockwise", must, "Beltagy et al., 2020",
        "a window, and first positions that see and are seen by all", options_of<Longformer::Config>},
       part_of<Longformer>,
       {},
       {"longformer:window=0,globals=1000", "multi-head"},
       "longformer:window=2,globals=2"},
      {{"streaming", "blockwise", must, "Xiong et al., 2024", "a window, and first positions that stay",
        options_of<Streaming::Config>},
       part_of<Streaming>,
       {},
       {"streaming:window=2,sinks=1000", "multi-head"},
       "streaming:window=3,sinks=2"},
      {{"dilated", "blockwise", should, "Beltagy et al., 2020", "a window with gaps",
        options_of<DilatedWindow::Config>},
       part_of<DilatedWindow>,
       {},
       {"dilated:window=3,dilation=1", "sliding:window=3"},
       "dilated:window=2,dilation=2"},
      {{"big-bird", "blockwise", should, "Zaheer et al., 2020", "blocks: a window, the first, and random ones",
        options_of<BigBird::Config>},
       part_of<BigBird>,
       {},
       {"big-bird:block=2,window=0,random=0,globals=1000", "multi-head"},
       "big-bird:block=2,window=0,globals=1,random=1"},
      {{"strided", "blockwise", should, "Child et al., 2019",
        "the last `stride` keys, and those apart by multiples of it", options_of<Strided::Config>},
       part_of<Strided>,
       {},
       {"strided:stride=1000", "multi-head"},
       "strided:stride=3"},
      {{"fixed", "blockwise", should, "Child et al., 2019", "blocks, and the last `summary` positions of each for all",
        options_of<FixedPattern::Config>},
       part_of<FixedPattern>,
       {},
       {"fixed:stride=4,summary=4", "multi-head"},
       "fixed:stride=3,summary=1"},
      {{"neighborhood", "blockwise", should, "Hassani et al., 2023",
        "the nearest on a line or grid, as many at its borders", options_of<Neighborhood::Config>},
       part_of<Neighborhood>,
       {},
       {"neighborhood:size=1000", "multi-head"},
       "neighborhood:size=2,width=3"},
      {{"gat", "graph", should, "Veličković et al., 2018", "leaky(a·q + b·k) along the edges of a graph"},
       plain_part_of<GraphAttention>,
       {}},
      {{"axial", "blockwise", should, "Ho et al., 2019", "the row of a grid, or the column",
        options_of<AxialAttention::Config>},
       part_of<AxialAttention>,
       {},
       {"axial:axis=rows,width=1000", "multi-head", 1e-12},
       "axial:width=3"},
      {{"criss-cross", "blockwise", should, "Huang et al., 2019", "the row of a grid and the column",
        options_of<CrissCross::Config>},
       part_of<CrissCross>,
       {},
       {"criss-cross:width=1000", "multi-head", 1e-12},
       "criss-cross:width=3"},
      {{"swin", "blockwise", should, "Liu et al., 2021", "squares of a grid, shifted in odd layers, with a bias",
        options_of<ShiftedWindow::Config>},
       part_of<ShiftedWindow>,
       {},
       {"swin:window=5,width=5,shift=false", "multi-head", 1e-12, "bias=0"},
       "swin:window=2,width=4"},
      {{"longnet", "blockwise", should, "Ding et al., 2023", "segments, the longer the thinner, merged",
        options_of<DilatedSegments::Config>},
       part_of<DilatedSegments>,
       {},
       {"longnet:segment=1000,levels=1", "multi-head", 1e-12},
       "longnet:segment=4,levels=2"},
      {{"han", "hierarchical", must, "Yang et al., 2016", "words pool to sentences, sentences to the text",
        options_of<HierarchicalPooling::Config>},
       {},
       layer_of<HierarchicalPooling>,
       {},
       "han:sentence=4"},
      {{"hourglass", "hierarchical", should, "Dai et al., 2020; Nawrot et al., 2022",
        "means of runs attend for their runs", options_of<Hourglass::Config>},
       part_of<Hourglass>,
       {},
       {"hourglass:factor=1", "multi-head", 1e-12},
       "hourglass:factor=2"},
      {{"h-transformer-1d", "hierarchical", should, "Zhu and Soricut, 2021",
        "single keys nearby, means the coarser the farther", options_of<HierarchicalMatrix::Config>},
       part_of<HierarchicalMatrix>,
       {},
       {"h-transformer-1d:block=16", "multi-head"},
       "h-transformer-1d:block=2"},
      {{"pvt", "hierarchical", should, "Wang et al., 2021", "keys and values are means of neighbours",
        options_of<SpatialReduction::Config>},
       part_of<SpatialReduction>,
       {},
       {"pvt:reduction=1", "multi-head", 1e-12},
       "pvt:width=3"},
      // ---- selected by content
      {{"moba", "selected", should, "Lu et al., 2025", "one's own block, and those whose mean key scores highest",
        options_of<BlockMixture::Config>},
       part_of<BlockMixture>,
       {},
       {"moba:block=2,top=1000", "multi-head"},
       "moba:block=2,top=1"},
      {{"nsa", "selected", should, "Yuan et al., 2025", "block means, chosen blocks and a window, gated",
        options_of<NativeSparse::Config>},
       part_of<NativeSparse>,
       {},
       {"nsa:top=1000,block=2", "multi-head", 1e-12,
        "compressed.weight=0, selected.weight=0, near.weight=0, compressed.bias=-100, selected.bias=100, "
        "near.bias=-100"},
       "nsa:block=2,top=1,window=2"},
      {{"lsh", "selected", should, "Kitaev et al., 2020", "queries and keys of one hash bucket",
        options_of<Lsh::Config>},
       part_of<Lsh>,
       {},
       {"lsh:buckets=1", "multi-head", 1e-12},
       "lsh:buckets=2"},
      {{"routing", "selected", should, "Roy et al., 2021", "queries and keys of one cluster",
        options_of<Routing::Config>},
       part_of<Routing>,
       {},
       {"routing:clusters=1", "multi-head", 1e-12},
       "routing:clusters=2"},
      {{"clustered", "selected", could, "Vyas et al., 2020", "queries of a cluster ask once, by their mean",
        options_of<Clustered::Config>},
       part_of<Clustered>,
       {},
       {"clustered:clusters=1000", "multi-head", 1e-12},
       "clustered:clusters=3"},
      {{"probsparse", "selected", should, "Zhou et al., 2021", "queries that stand out; the rest get the mean",
        options_of<ProbSparse::Config>},
       part_of<ProbSparse>,
       {},
       {"probsparse:factor=1000", "multi-head", 1e-12},
       "probsparse:factor=1"},
      {{"memorizing", "selected", should, "Wu et al., 2022", "a window, and the nearest of all older keys, gated",
        options_of<Memorizing::Config>},
       part_of<Memorizing>,
       {},
       {"memorizing:window=3", "sliding:window=3", 1e-12, "gate=-100"},
       "memorizing:window=2,nearest=3"},
      // ---- linear and recurrent
      {{"linear", "linear", must, "Katharopoulos et al., 2020", "φ(q)·Σφ(k)vᵀ / φ(q)·Σφ(k), φ = elu + 1",
        options_of<LinearAttention::Config>},
       {},
       layer_of<LinearAttention>},
      {{"performer", "linear", must, "Choromanski et al., 2021", "linear, φ random and positive: exp(q·k) on average",
        options_of<Performer::Config>},
       {},
       layer_of<Performer>},
      {{"based", "linear", must, "Arora et al., 2024", "linear, φ(q)·φ(k) = 1 + s + s²/2 of narrow q and k",
        options_of<Based::Config>},
       {},
       layer_of<Based>,
       {},
       "based:features=3"},
      {{"dpfp", "linear", should, "Schlag et al., 2021", "linear, φ = products of neighbours in relu([x, −x])",
        options_of<Dpfp::Config>},
       {},
       layer_of<Dpfp>},
      {{"retnet", "linear", must, "Sun et al., 2023", "S ← γ_h·S + k·vᵀ, q and k turned by position",
        options_of<Retention::Config>},
       {},
       layer_of<Retention>,
       {"retnet:gamma=1,rotate=false,norm=false,gate=false", "linear:map=identity,normalize=false", 1e-12}},
      {{"gla", "linear", must, "Yang et al., 2023", "S ← Diag(α)·S + k·vᵀ, α of the data",
        options_of<GatedLinearAttention::Config>},
       {},
       layer_of<GatedLinearAttention>,
       {"gla:norm=false,gate=false", "linear:map=identity,normalize=false", 1e-12, "decay.weight=0, decay.bias=1000"}},
      {{"mamba2", "linear", must, "Dao and Gu, 2024", "S ← exp(−A·Δ)·S + Δ·B·xᵀ, y = SᵀC + D·x",
        options_of<Mamba2::Config>},
       {},
       layer_of<Mamba2>,
       {},
       "mamba2:state=5"},
      {{"delta", "linear", must, "Schlag et al., 2021; Yang et al., 2024", "S ← (1 − β·k·kᵀ)·S + β·k·vᵀ",
        options_of<DeltaRule::Config>},
       {},
       layer_of<DeltaRule>},
      {{"gated-delta", "linear", must, "Yang et al., 2025", "S ← (1 − β·k·kᵀ)·α·S + β·k·vᵀ",
        options_of<GatedDelta::Config>},
       {},
       layer_of<GatedDelta>,
       {"gated-delta", "delta:norm=true,gate=true", 1e-12, "step.log_a=-1000"}},
      {{"efficient", "linear", should, "Shen et al., 2018", "softmax_D(q)·(softmax_T(k)ᵀ·v)",
        options_of<EfficientAttention::Config>},
       {},
       layer_of<EfficientAttention>},
      {{"cosformer", "linear", should, "Qin et al., 2022", "linear, relu(q)·relu(k)·cos(π/2·(i − j)/M)",
        options_of<CosFormer::Config>},
       {},
       layer_of<CosFormer>},
      {{"hedgehog", "linear", should, "Zhang et al., 2024", "linear, φ = softmax([x·W, −x·W])",
        options_of<Hedgehog::Config>},
       {},
       layer_of<Hedgehog>},
      {{"t2r", "linear", should, "Kasai et al., 2021", "linear, φ = relu(x·W + b)",
        options_of<TransformerToRnn::Config>},
       {},
       layer_of<TransformerToRnn>},
      {{"kda", "linear", should, "Kimi Team, 2025", "S ← (1 − β·k·kᵀ)·Diag(α)·S + β·k·vᵀ",
        options_of<KimiDelta::Config>},
       {},
       layer_of<KimiDelta>,
       {"kda", "delta:norm=true,gate=true", 1e-12, "log_a=-1000"}},
      {{"gdn2", "linear", should, "Hatamizadeh et al., 2026", "S ← (1 − k·(b∘k)ᵀ)·Diag(α)·S + k·(w∘v)ᵀ",
        options_of<GatedDelta2::Config>},
       {},
       layer_of<GatedDelta2>},
      {{"comba", "linear", should, "Hu et al., 2025", "S ← α·S − β·k·(pᵀS) + β·k·vᵀ, p = σ(b)·k, o = Sᵀ(q − D·k)",
        options_of<Comba::Config>},
       {},
       layer_of<Comba>,
       {"comba", "delta:norm=true,gate=true", 1e-12, "step.log_a=-1000, feedback=1000, correction=0"}},
      {{"deltaproduct", "linear", should, "Siems et al., 2025", "delta, several times a position",
        options_of<DeltaProduct::Config>},
       {},
       layer_of<DeltaProduct>,
       {"deltaproduct:steps=1", "delta", 1e-12}},
      {{"mlstm", "linear", should, "Beck et al., 2024", "S ← f·S + exp(i)·k·vᵀ, o = Sᵀq / max(|n·q|, 1)",
        options_of<MatrixLstm::Config>},
       {},
       layer_of<MatrixLstm>},
      {{"rwkv4", "linear", should, "Peng et al., 2023", "σ(r)·Σ exp(k − distance·w)·v / Σ exp(k − distance·w)",
        options_of<Rwkv4::Config>},
       {},
       layer_of<Rwkv4>},
      {{"rwkv6", "linear", should, "Peng et al., 2024", "S ← Diag(w)·S + k·vᵀ, w of the data, a bonus for the present",
        options_of<Rwkv6::Config>},
       {},
       layer_of<Rwkv6>},
      {{"rwkv7", "linear", should, "Peng et al., 2025", "S ← Diag(w)·S − (a∘κ)(κᵀS) + k·vᵀ", options_of<Rwkv7::Config>},
       {},
       layer_of<Rwkv7>},
      {{"mamba", "linear", should, "Gu and Dao, 2023", "h ← exp(−A·Δ)∘h + Δ·B·u, y = C·h + D·u; Δ, B, C of u",
        options_of<Mamba::Config>},
       {},
       layer_of<Mamba>,
       {},
       "mamba:state=3"},
      {{"s4d", "linear", should, "Gu et al., 2022", "y = K ∗ u, K of decaying waves", options_of<S4D::Config>},
       {},
       layer_of<S4D>,
       {},
       "s4d:state=3"},
      {{"aft", "linear", should, "Zhai et al., 2021", "σ(q)·Σ exp(k)·v / Σ exp(k), every channel for itself",
        options_of<AttentionFree::Config>},
       {},
       layer_of<AttentionFree>},
      {{"hgrn2", "linear", could, "Qin et al., 2024", "S ← Diag(f)·S + (1 − f)·vᵀ", options_of<Hgrn2::Config>},
       {},
       layer_of<Hgrn2>},
      {{"lightning", "linear", could, "Qin et al., 2024", "S ← λ_h·S + k·vᵀ, λ as ALiBi slopes",
        options_of<Lightning::Config>},
       {},
       layer_of<Lightning>},
      {{"mingru", "linear", could, "Feng et al., 2024", "h ← (1 − z)·h + z·x·W, z of x alone",
        options_of<MinGru::Config>},
       {},
       layer_of<MinGru>},
      {{"rg-lru", "linear", could, "De et al., 2024", "h ← a·h + √(1 − a²)·i·x", options_of<RgLru::Config>},
       {},
       layer_of<RgLru>},
      {{"rnn", "linear", should, "Elman, 1990", "h ← tanh(W·x + U·h + b)"},
       {},
       plain_layer_of<RecurrentAttention<RNN>>},
      {{"lstm", "linear", should, "Hochreiter and Schmidhuber, 1997", "gates that read h, and a cell that keeps"},
       {},
       plain_layer_of<RecurrentAttention<LSTM>>},
      {{"gru", "linear", should, "Cho et al., 2014", "h ← (1 − z)·n + z·h, gates that read h"},
       {},
       plain_layer_of<RecurrentAttention<GRU>>},
      {{"infini", "linear", should, "Munkhdalai et al., 2024",
        "softmax within a segment, a linear memory of those before", options_of<InfiniAttention::Config>},
       {},
       layer_of<InfiniAttention>,
       {"infini:segment=16", "multi-head", 1e-12, "gate=-1000"},
       "infini:segment=4"},
      // ---- low rank, memory
      {{"linformer", "low rank", must, "Wang et al., 2020", "softmax(q·(E·k)ᵀ)·(F·v), E and F learned",
        options_of<Linformer::Config>},
       part_of<Linformer>,
       {},
       {},
       "linformer:rank=5"},
      {{"nystrom", "low rank", must, "Xiong et al., 2021", "a softmax map rebuilt from landmarks",
        options_of<Nystrom::Config>},
       part_of<Nystrom>,
       {},
       {"nystrom:landmarks=1000,iterations=40", "multi-head", 1e-6},
       "nystrom:landmarks=4"},
      {{"agent", "low rank", should, "Han et al., 2024", "agents gather for all and hand on to each",
        options_of<AgentAttention::Config>},
       part_of<AgentAttention>,
       {},
       {},
       "agent:agents=3"},
      {{"isab", "low rank", should, "Lee et al., 2019; Jaegle et al., 2021", "latents look at x, x at them",
        options_of<InducedSet::Config>},
       {},
       layer_of<InducedSet>,
       {},
       "isab:latents=3"},
      {{"perceiver-io", "low rank", should, "Jaegle et al., 2021", "latents look at x, at each other, x at them",
        options_of<PerceiverIo::Config>},
       {},
       layer_of<PerceiverIo>,
       {"perceiver-io:latents=3,depth=0", "isab:latents=3"},
       "perceiver-io:latents=3"},
      {{"external", "memory", should, "Guo et al., 2021", "learned keys and values alone, normalised twice",
        options_of<ExternalAttention::Config>},
       {},
       layer_of<ExternalAttention>,
       {},
       "external:slots=5"},
      {{"registers", "memory", must, "Burtsev et al., 2020; Darcet et al., 2024", "learned vectors before the sequence",
        options_of<Registers::Config>},
       {},
       layer_of<Registers>,
       {"registers:count=0", "multi-head"}},
      {{"persistent", "memory", must, "Sukhbaatar et al., 2019", "learned keys and values beside the text's",
        options_of<PersistentMemory::Config>},
       part_of<PersistentMemory>,
       {},
       {"persistent:slots=0", "multi-head"},
       "persistent:slots=3"},
      {{"prefix-tuning", "memory", must, "Li and Liang, 2021", "learned keys and values through two layers",
        options_of<PrefixTuning::Config>},
       part_of<PrefixTuning>,
       {},
       {"prefix-tuning:length=0", "multi-head"},
       "prefix-tuning:length=3,hidden=4"},
      {{"transformer-xl", "memory", should, "Dai et al., 2019", "a segment sees itself and those before it",
        options_of<SegmentMemory::Config>},
       part_of<SegmentMemory>,
       {},
       {"transformer-xl:segment=2,memory=1000", "multi-head"},
       "transformer-xl:segment=3"},
      {{"rmt", "memory", should, "Bulatov et al., 2022", "a few vectors pass from segment to segment",
        options_of<RecurrentMemory::Config>},
       {},
       layer_of<RecurrentMemory>,
       {},
       "rmt:segment=3,tokens=2"},
      {{"hopfield", "memory", should, "Ramsauer et al., 2021",
        "queries retrieve keys step by step before they read values", options_of<Hopfield::Config>},
       part_of<Hopfield>,
       {},
       {"hopfield:steps=1", "multi-head"}},
      {{"synthesizer", "memory", should, "Tay et al., 2020", "scores learned or made from x alone",
        options_of<Synthesizer::Config>},
       part_of<Synthesizer>,
       {}},
      // ---- pooling, channels, convolution
      {{"structured", "pooling", must, "Lin et al., 2017", "softmax_T(W₂·tanh(W₁·xᵀ))·x: `rows` weighted means",
        options_of<StructuredPooling::Config>},
       {},
       layer_of<StructuredPooling>},
      {{"pma", "pooling", must, "Lee et al., 2019", "multi-head attention of learned seeds over the sequence",
        options_of<SeedPooling::Config>},
       {},
       layer_of<SeedPooling>},
      {{"gated-mil", "pooling", should, "Ilse et al., 2018", "softmax_T(w·(tanh(V·x) ⊙ σ(U·x)))·x"},
       {},
       plain_layer_of<GatedPooling>},
      {{"slots", "pooling", should, "Locatello et al., 2020", "vectors that compete for a set, round after round",
        options_of<SlotAttention::Config>},
       {},
       layer_of<SlotAttention>,
       {},
       "slots:slots=3"},
      {{"se", "channels", should, "Hu et al., 2018", "x ⊙ σ(W₂·relu(W₁·mean_T x))", options_of<SqueezeExcite::Config>},
       {},
       layer_of<SqueezeExcite>},
      {{"eca", "channels", should, "Wang et al., 2020", "x ⊙ σ(conv(mean_T x)) over neighbouring channels",
        options_of<EfficientChannelAttention::Config>},
       {},
       layer_of<EfficientChannelAttention>},
      {{"xca", "channels", should, "El-Nouby et al., 2021", "softmax(τ·q̂ᵀk̂) [D, D] of features over features"},
       {},
       plain_layer_of<CrossCovariance>},
      {{"gc", "channels", should, "Cao et al., 2019", "x + W₂·relu(norm(W₁·Σ softmax_T(w·x)·x))",
        options_of<GlobalContext::Config>},
       {},
       layer_of<GlobalContext>},
      {{"cbam", "channels", should, "Woo et al., 2018", "gates of channels, then of places",
        options_of<ConvolutionalBlockAttention::Config>},
       {},
       layer_of<ConvolutionalBlockAttention>,
       {},
       "cbam:kernel=3,width=4"},
      {{"bam", "channels", should, "Park et al., 2018", "x + x ⊙ σ(channels + places)",
        options_of<BottleneckGate::Config>},
       {},
       layer_of<BottleneckGate>,
       {},
       "bam:dilation=2,width=4"},
      {{"coordinate", "channels", should, "Hou et al., 2021", "gates of channels by row and by column",
        options_of<CoordinateGate::Config>},
       {},
       layer_of<CoordinateGate>,
       {},
       "coordinate:width=4"},
      {{"gather-excite", "channels", should, "Hu et al., 2018", "x ⊙ σ(mean of its run)",
        options_of<GatherExcite::Config>},
       {},
       layer_of<GatherExcite>,
       {},
       "gather-excite:extent=3"},
      {{"sk", "channels", should, "Li et al., 2019", "every channel chooses among kernels",
        options_of<SelectiveKernel::Config>},
       {},
       layer_of<SelectiveKernel>},
      {{"fnet", "convolution", should, "Lee-Thorp et al., 2022", "Re F_T(F_dim(x))"},
       {},
       plain_layer_of<FourierMixing>},
      {{"pool", "convolution", should, "Yu et al., 2022", "mean of `kernel` neighbours minus x",
        options_of<MeanPooling::Config>},
       {},
       layer_of<MeanPooling>},
      {{"lightweight", "convolution", should, "Wu et al., 2019",
        "causal convolution, softmax over its taps, one a head", options_of<LightweightConvolution::Config>},
       {},
       layer_of<LightweightConvolution>},
      {{"long-conv", "convolution", should, "Poli et al., 2023", "gate ⊙ (decaying waves ∗ v), as long as the sequence",
        options_of<LongConvolution::Config>},
       {},
       layer_of<LongConvolution>},
      {{"dynamic", "convolution", should, "Wu et al., 2019", "causal convolution, each position chooses its taps",
        options_of<DynamicConvolution::Config>},
       {},
       layer_of<DynamicConvolution>,
       {},
       "dynamic:kernel=3"},
      {{"conformer", "convolution", should, "Gulati et al., 2020", "W·silu(norm(depthwise(glu(W·x))))",
        options_of<ConformerConvolution::Config>},
       {},
       layer_of<ConformerConvolution>,
       {},
       "conformer:kernel=5"},
      {{"hyena", "convolution", should, "Poli et al., 2023", "x₁ ⊙ (h ∗ (x₂ ⊙ v)), h from a network of positions",
        options_of<Hyena::Config>},
       {},
       layer_of<Hyena>},
      {{"gfnet", "convolution", should, "Rao et al., 2021", "F⁻¹(K ⊙ F(x)), a circular filter as large as the grid",
        options_of<GlobalFilter::Config>},
       {},
       layer_of<GlobalFilter>,
       {},
       "gfnet:width=4"},
      {{"gmlp", "convolution", should, "Liu et al., 2021", "z₁ ⊙ (W·z₂ + b), one map W over positions",
        options_of<SpatialGating::Config>},
       {},
       layer_of<SpatialGating>},
      {{"mixer", "convolution", should, "Tolstikhin et al., 2021", "one MLP over positions for all features",
        options_of<TokenMixing::Config>},
       {},
       layer_of<TokenMixing>},
      // ---- cross-modal and hybrid
      {{"cross", "cross-modal", must, "Vaswani et al., 2017", "keys and values from a memory"},
       plain_part_of<CrossAttention>,
       {},
       {"cross", "multi-head"}},
      {{"gated-cross", "cross-modal", must, "Alayrac et al., 2022", "tanh(α)·attention, α = 0 at the start"},
       plain_part_of<GatedCrossAttention>,
       {},
       {"gated-cross", "multi-head", 1e-12, "alpha=100"}},
      {{"co-attention", "cross-modal", must, "Lu et al., 2019", "x looks at the memory and the memory at x",
        options_of<CoAttention::Config>},
       {},
       layer_of<CoAttention>},
      {{"joint", "cross-modal", must, "Esser et al., 2024", "one attention over both, projections of their own"},
       {},
       plain_layer_of<JointAttention>},
      {{"bottleneck", "cross-modal", should, "Nagrani et al., 2021", "the memory is seen through a few latents",
        options_of<BottleneckFusion::Config>},
       {},
       layer_of<BottleneckFusion>},
      {{"guided", "cross-modal", should, "Yu et al., 2019", "attention to x, then of what came to the memory"},
       {},
       plain_layer_of<GuidedLayers>},
      {{"hybrid", "hybrid", should, "Dong et al., 2024", "α ⊙ first(x) + β ⊙ second(x)", options_of<Hybrid::Config>},
       {},
       layer_of<Hybrid>,
       {},
       "hybrid:second=sliding"},
      // ---- series
      {{"variates", "series", should, "Liu et al., 2024", "attention among features, each a history"},
       {},
       plain_layer_of<VariateAttention>},
      {{"two-stage", "series", should, "Zhang and Yan, 2023", "over time by variate, then among variates by routers",
        options_of<TwoStageAttention::Config>},
       {},
       layer_of<TwoStageAttention>},
      {{"auto-correlation", "series", should, "Wu et al., 2021", "values at the lags that correlate most",
        options_of<AutoCorrelation::Config>},
       part_of<AutoCorrelation>},
      {{"pyramid", "series", should, "Liu et al., 2022", "neighbours, children and parent in a tree of means",
        options_of<PyramidAttention::Config>},
       {},
       layer_of<PyramidAttention>,
       {},
       "pyramid:branch=2"},
      {{"patches", "series", should, "Nie et al., 2023", "another kind, of runs of positions",
        options_of<PatchedAttention::Config>},
       {},
       layer_of<PatchedAttention>,
       {},
       "patches:size=3"},
  };
  return rows;
}

namespace {

PositionRow const* position_named(std::string_view name) {
  for (PositionRow const& row : positions())
    if (row.name == name) return &row;
  return nullptr;
}

}  // namespace

AttentionText with_position(std::string_view text, std::string_view position) {
  std::vector<Spec> specs = parse_specs(text);
  if (std::none_of(specs.begin(), specs.end(), [](Spec const& spec) { return position_named(spec.name); })) {
    Spec const spec = parse_spec(position);
    find_row("position", positions(), spec.name);
    specs.push_back(spec);
  }
  AttentionText split;
  for (Spec const& spec : specs) {
    PositionRow const* const row = position_named(spec.name);
    if (row && row->family == "input")
      split.input.push_back(spec);
    else
      split.layer += (split.layer.empty() ? "" : "+") + to_string(spec);
  }
  if (split.layer.empty()) split.layer = "multi-head";
  return split;
}

std::unique_ptr<Part> make_part(Spec const& spec, AttentionConfig const& config) {
  if (PositionRow const* const position = position_named(spec.name)) return position->make(config, spec);
  AttentionRow const& row = find_row("attention", attentions(), spec.name);
  check(row.part, "attention", [&] {
    return Complaint{"'" + spec.name + "' is a layer of its own, not a part of another",
                     "name it first, and parts behind it"};
  });
  return row.part(config, spec);
}

namespace {

/// heads and kv_heads belong to every kind: they move from a kind's own settings to the shared ones.
AttentionConfig with_heads(AttentionConfig config, Spec& kind) {
  Spec shared{kind.name};
  std::erase_if(kind.options, [&](auto const& option) {
    bool const is = option.first == "heads" || option.first == "kv_heads";
    if (is) shared.options.push_back(option);
    return is;
  });
  read_options(
      shared,
      [](ConfigVisitor& v, void* each) {
        auto& own = *static_cast<AttentionConfig*>(each);
        v.field("heads", own.heads, "attention heads; must divide the width");
        v.field("kv_heads", own.kv_heads, "heads of keys and values; 0: as many as heads");
      },
      &config);
  return checked(config);
}

}  // namespace

std::unique_ptr<Attention> make_multi_head(std::string_view text, AttentionConfig const& given) {
  std::vector<Spec> specs = parse_specs(text);
  AttentionConfig const config = with_heads(given, specs[0]);
  Parts parts;
  for (Spec const& spec : specs) {
    if (&spec == &specs[0] && spec.name == "multi-head") {
      expect_no_options(spec);
      continue;
    }
    parts.add(spec.name, make_position(spec, config));
  }
  return std::make_unique<MultiHeadAttention>(config, std::move(parts));
}

std::unique_ptr<Attention> make_attention(std::string_view text, AttentionConfig const& given) {
  std::vector<Spec> specs = parse_specs(text);
  AttentionConfig const config = with_heads(given, specs[0]);
  AttentionRow const* const row =
      position_named(specs[0].name) ? nullptr : &find_row("attention", attentions(), specs[0].name);
  std::unique_ptr<Attention> layer;
  if (row && row->whole) {
    layer = row->whole(config, specs[0]);
    specs.erase(specs.begin());
  } else {
    layer = std::make_unique<MultiHeadAttention>(config);
  }
  for (Spec const& spec : specs) {
    Parts* const parts = layer->parts();
    check(parts, "attention", [&] {
      return Complaint{"'" + std::string(row->name) + "' takes no parts, but '" + spec.name + "' was named",
                       "leave it out"};
    });
    parts->add(spec.name, make_part(spec, layer->config));
  }
  Traits const traits = layer->traits();
  check(config.causal ? traits.causal : traits.bidirectional, "attention", [&] {
    return Complaint{
        "'" + std::string(text) + (config.causal ? "' cannot hide the future" : "' is causal by its nature"),
        config.causal ? "build it with causal = false, or choose one that is listed as causal"
                      : "build it with causal = true"};
  });
  return layer;
}

Traits traits_of(std::string_view text) {
  // Whichever of the two it can be.
  for (bool const causal : {true, false}) try {
      return make_attention(text, {.dim = 8, .heads = 2, .causal = causal, .block = 8})->traits();
    } catch (Error const&) {
      if (!causal) throw;
    }
  return {};
}

}  // namespace heed::nn
