// Losses of distances: what belongs together comes near, the rest is pushed away.
#pragma once

#include <heed/nn/config.h>
#include <heed/nn/loss/operands.h>

namespace heed::nn::loss {

/// (same·d² + (1 − same)·max(0, margin − d)²)/2 with d = |a − b| (Hadsell, Chopra and LeCun, 2006)
struct Contrastive {
  static constexpr std::string_view operands = "a [N, C]; b [N, C]; same unit [N]";
  double margin = 1;
  Reduction reduction = Reduction::mean;
  void visit(ConfigVisitor& v) { v.field("margin", margin, "distance that strangers keep"); }
  Tensor operator()(Tensor const& a, Tensor const& b, Tensor const& same) const {
    check_operands("contrastive", operands, a, b, same);
    Tensor const d = vector_norm(a - b, 2, {-1});
    return reduced((same * square(d) + (1 - same) * square(relu(margin - d))) * 0.5, reduction);
  }
};

/// max(0, d(anchor, positive) − d(anchor, negative) + margin) (Weinberger and Saul, 2009)
struct Triplet {
  static constexpr std::string_view operands = "anchor [N, C]; positive [N, C]; negative [N, C]";
  double margin = 1, p = 2;
  bool swap = false;
  void visit(ConfigVisitor& v) {
    v.field("margin", margin, "by which the negative is further away");
    v.field("p", p, "of the norm");
    v.field("swap", swap, "the negative's distance to the positive counts where it is smaller");
  }
  Tensor operator()(Tensor const& anchor, Tensor const& positive, Tensor const& negative) const {
    check_operands("triplet", operands, anchor, positive, negative);
    return triplet_margin_loss(anchor, positive, negative, {.margin = margin, .p = p, .swap = swap});
  }
};

/// 1 − cos(a, b) where target is 1, max(0, cos(a, b) − margin) where it is −1
struct CosineEmbedding {
  static constexpr std::string_view operands = "a [N, C]; b [N, C]; target sign [N]";
  double margin = 0;
  void visit(ConfigVisitor& v) { v.field("margin", margin, "similarity that strangers may have"); }
  Tensor operator()(Tensor const& a, Tensor const& b, Tensor const& target) const {
    check_operands("cosine-embedding", operands, a, b, target);
    return cosine_embedding_loss(a, b, target, margin);
  }
};

/// distance where target is 1, max(0, margin − distance) where it is −1
struct HingeEmbedding {
  static constexpr std::string_view operands = "distance [..]; target sign [..]";
  double margin = 1;
  void visit(ConfigVisitor& v) { v.field("margin", margin, "distance that strangers keep"); }
  Tensor operator()(Tensor const& distance, Tensor const& target) const {
    check_operands("hinge-embedding", operands, distance, target);
    return hinge_embedding_loss(distance, target, margin);
  }
};

/// max(0, margin − target·(a − b)): a ranks above b where target is 1.
struct MarginRanking {
  static constexpr std::string_view operands = "a [..]; b [..]; target sign [..]";
  double margin = 0;
  void visit(ConfigVisitor& v) { v.field("margin", margin, "by which the better one leads"); }
  Tensor operator()(Tensor const& a, Tensor const& b, Tensor const& target) const {
    check_operands("margin-ranking", operands, a, b, target);
    return margin_ranking_loss(a, b, target, margin);
  }
};

/// −log σ(positive − negative) of two items' scores: ranking from implicit feedback (Rendle et al., 2009).
struct Bpr {
  static constexpr std::string_view operands = "positive [..]; negative [..]";
  Reduction reduction = Reduction::mean;
  Tensor operator()(Tensor const& positive, Tensor const& negative) const {
    check_operands("bpr", operands, positive, negative);
    return reduced(-log_sigmoid(positive - negative), reduction);
  }
};

/// CE of cos(queries_i, keys_j)/temperature against j = i: the batch's other keys are the strangers (van den Oord et
/// al., 2018); symmetric: the mean with the same of keys among queries (CLIP: Radford et al., 2021). log N where all
/// are alike.
struct InfoNce {
  static constexpr std::string_view operands = "queries [N, C]; keys [N, C]";
  double temperature = 0.07;
  bool symmetric = false;
  void visit(ConfigVisitor& v) {
    v.field("temperature", temperature, "divides the cosines");
    v.field("symmetric", symmetric, "keys look for their queries too");
  }
  Tensor operator()(Tensor const& queries, Tensor const& keys) const;
};

/// InfoNCE of two views a, b of N samples, each of the 2N against the other 2N − 1 (SimCLR: Chen et al., 2020).
struct NtXent {
  static constexpr std::string_view operands = "a [N, C]; b [N, C]";
  double temperature = 0.5;
  void visit(ConfigVisitor& v) { v.field("temperature", temperature, "divides the cosines"); }
  Tensor operator()(Tensor const& a, Tensor const& b) const;
};

/// −1/|P_i|·Σ_{p∈P_i} log(exp(cos_ip/temperature)/Σ_{a≠i} exp(cos_ia/temperature)), P_i the others of i's label, mean
/// over rows that have any (Khosla et al., 2020). Two of each label is NT-Xent.
struct SupCon {
  static constexpr std::string_view operands = "features [N, C]; labels index L [N]";
  double temperature = 0.1;
  void visit(ConfigVisitor& v) { v.field("temperature", temperature, "divides the cosines"); }
  Tensor operator()(Tensor const& features, Tensor const& labels) const;
};

/// CE of scale·cos θ_j, for the target scale·cos(θ_y + margin): an angle between classes (Deng et al., 2019). Where
/// θ_y + margin > π the target's is cos θ_y − margin·sin margin. margin = 0 is CE of scaled cosines.
struct ArcFace {
  static constexpr std::string_view operands = "x [N, K]; weight [C, K]; targets index C [N]";
  double margin = 0.5, scale = 64;
  void visit(ConfigVisitor& v) {
    v.field("margin", margin, "angle, radians");
    v.field("scale", scale, "of the cosines");
  }
  Tensor operator()(Tensor const& x, Tensor const& weight, Tensor const& targets) const;
};

}  // namespace heed::nn::loss
