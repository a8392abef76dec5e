#!/usr/bin/env python3
"""Writes losses_f64.safetensors: what PyTorch, or a plain formula in it, gives for rows of heed's loss catalogue.

    pip install torch safetensors numpy && python3 make_losses.py

Keys are the row's text, then /0, /1, … for operands, /y for the loss, /d0, … for gradients. All inputs are exact in f32.
Made by PyTorch 2.13 on a CPU; tests/nn_losses_test.cpp reads it and needs no Python.
"""
import math
from pathlib import Path

import torch
import torch.nn.functional as F

HERE = Path(__file__).parent
OUT = {}
GENERATOR = torch.Generator().manual_seed(11)


def n(*shape, scale=1.0):
    return (torch.randn(shape, generator=GENERATOR) * scale).double()


def u(*shape):
    return torch.rand(shape, generator=GENERATOR).clamp(0.05, 0.95).double()


def index(classes, *shape, low=0):
    return torch.randint(low, classes, shape, generator=GENERATOR)


def sign(*shape):
    return torch.randint(0, 2, shape, generator=GENERATOR).double() * 2 - 1


def case(text, f, *operands, wrt=(0,)):
    operands = [o.clone().requires_grad_(i in wrt) for i, o in enumerate(operands)]
    y = f(*operands)
    y.backward()
    OUT.update({f"{text}/{i}": o.detach() for i, o in enumerate(operands)})
    OUT[f"{text}/y"] = y.detach()
    OUT.update({f"{text}/d{i}": operands[i].grad for i in wrt})


def log_cosh(x, t):
    return torch.log(torch.cosh(x - t)).mean()


def quantile(x, t, q):
    return torch.where(t > x, q * (t - x), (1 - q) * (x - t)).mean()


def jsd(a, b):
    p, q = a.softmax(-1), b.softmax(-1)
    m = (p + q) / 2
    return ((p * (p / m).log()).sum(-1) + (q * (q / m).log()).sum(-1)).mean() / 2


def focal(x, t, gamma):
    p = x.softmax(-1).gather(-1, t[..., None])[..., 0]
    return (-((1 - p) ** gamma) * p.log()).mean()


def ldam(x, t, counts, margin, scale):
    m = counts ** -0.25
    m = m / m.max() * margin
    moved = x.clone()
    for i in range(len(t)):
        moved[i, t[i]] = x[i, t[i]] - m[t[i]]
    return F.cross_entropy(scale * moved, t)


def asymmetric(x, t, positive, negative, clip):
    p = x.sigmoid()
    q = (p - clip).clamp(min=0)
    return -(t * (1 - p) ** positive * p.log() + (1 - t) * q**negative * (1 - q).log()).mean()


def gce(x, t, q):
    p = x.softmax(-1).gather(-1, t[..., None])[..., 0]
    return ((1 - p**q) / q).mean()


def bi_tempered(x, t, t1, t2):
    """The normaliser by the paper's iteration, its gradient through the iteration."""
    def power(z):
        return (1 - (t2 - 1) * z) ** (-1 / (t2 - 1))
    low = x - x.amax(-1, keepdim=True)
    z = low
    for _ in range(200):
        z = low * power(z).sum(-1, keepdim=True) ** (1 - t2)
    p = power(low - (power(z).sum(-1, keepdim=True) ** (t2 - 1) - 1) / (t2 - 1))
    own = p.gather(-1, t[..., None])[..., 0]
    return ((1 - own ** (1 - t1)) / (1 - t1) - (1 - (p ** (2 - t1)).sum(-1)) / (2 - t1)).mean()


def bootstrapping(x, t, beta):
    p = x.softmax(-1)
    target = beta * F.one_hot(t, x.shape[-1]).double() + (1 - beta) * p
    return -(target * p.log()).sum(-1).mean()


def contrastive(a, b, same, margin):
    d = (a - b).norm(dim=1)
    return (same * d**2 + (1 - same) * (margin - d).clamp(min=0) ** 2).mean() / 2


def info_nce(q, k, tau, symmetric):
    s = F.cosine_similarity(q[:, None], k[None], dim=2) / tau
    t = torch.arange(len(q))
    return (F.cross_entropy(s, t) + F.cross_entropy(s.T, t)) / 2 if symmetric else F.cross_entropy(s, t)


def sup_con(z, labels, tau):
    z = F.normalize(z, dim=1)
    total, rows = 0, 0
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        friends = [a for a in others if labels[a] == labels[i]]
        if not friends:
            continue
        below = torch.logsumexp(torch.stack([z[i] @ z[a] / tau for a in others]), 0)
        total = total - sum(z[i] @ z[p] / tau - below for p in friends) / len(friends)
        rows += 1
    return total / rows


def nt_xent(a, b, tau):
    return sup_con(torch.cat([a, b]), list(range(len(a))) * 2, tau)


def arc_face(x, w, t, margin, scale):
    cosine = F.normalize(x, dim=1) @ F.normalize(w, dim=1).T
    rows = []
    for i in range(len(t)):
        theta = cosine[i, t[i]].acos()
        own = (theta + margin).cos() if theta + margin < math.pi else cosine[i, t[i]] - margin * math.sin(margin)
        rows.append(torch.stack([own if j == t[i] else cosine[i, j] for j in range(len(w))]))
    return F.cross_entropy(scale * torch.stack(rows), t)


def tversky(x, t, alpha, beta, smooth):
    p, t = x.sigmoid().flatten(1), t.flatten(1)
    tp, fp, fn = (p * t).sum(1), (p * (1 - t)).sum(1), ((1 - p) * t).sum(1)
    return (1 - (tp + smooth) / (tp + alpha * fp + beta * fn + smooth)).mean()


def lovasz(errors, inside):
    errors, order = errors.sort(descending=True)
    truth = inside[order]
    total, covered, outside, before, loss = truth.sum(), 0.0, 0.0, 0.0, 0.0
    for e, g in zip(errors, truth):
        covered, outside = covered + g, outside + 1 - g
        cost = 1 - (total - covered) / (total + outside)
        loss, before = loss + e * (cost - before), cost
    return loss


def lovasz_softmax(x, t):
    p, t = x.flatten(0, -2).softmax(-1), t.flatten()
    return torch.stack([lovasz(((t == c).double() - p[:, c]).abs(), (t == c).double()) for c in t.unique()]).mean()


def vic_reg(a, b):
    loss = 25 * F.mse_loss(a, b)
    for x in (a, b):
        c = torch.cov(x.T)
        loss = loss + 25 / 2 * (1 - (x.var(0) + 1e-4).sqrt()).clamp(min=0).mean()
        loss = loss + (c.pow(2).sum() - c.diagonal().pow(2).sum()) / x.shape[1]
    return loss


def barlow(a, b, weight):
    a, b = ((x - x.mean(0)) / (x.var(0, unbiased=False) + 1e-5).sqrt() for x in (a, b))
    c = a.T @ b / len(a)
    return ((1 - c.diagonal()) ** 2).sum() + weight * (c.pow(2).sum() - c.diagonal().pow(2).sum())


def ppo(p, old, advantage, clip):
    r = (p - old).exp()
    return -torch.minimum(r * advantage, r.clamp(1 - clip, 1 + clip) * advantage).mean()


def grpo(p, old, ref, reward, mask, clip, beta):
    advantage = ((reward - reward.mean()) / (reward.std() + 1e-4))[:, None]
    r = (p - old).exp()
    each = -torch.minimum(r * advantage, r.clamp(1 - clip, 1 + clip) * advantage)
    each = each + beta * ((ref - p).exp() - (ref - p) - 1)
    return (each * mask).sum() / mask.sum()


def main():
    x, t, c = n(3, 4, 5, scale=2), index(5, 3, 4), n(6, 5, scale=2)
    a, b, labels = n(6, 4), n(6, 4), torch.tensor([0, 1, 0, 2, 1, 0])
    case("mse", F.mse_loss, n(3, 4), n(3, 4), wrt=(0, 1))
    case("mae", F.l1_loss, n(3, 4), n(3, 4), wrt=(0, 1))
    case("huber:delta=0.7", lambda x, t: F.huber_loss(x, t, delta=0.7), n(3, 4), n(3, 4))
    case("smooth-l1:beta=0.7", lambda x, t: F.smooth_l1_loss(x, t, beta=0.7), n(3, 4), n(3, 4))
    case("log-cosh", log_cosh, n(3, 4, scale=3), n(3, 4), wrt=(0, 1))
    case("quantile:q=0.9", lambda x, t: quantile(x, t, 0.9), n(3, 4), n(3, 4), wrt=(0, 1))
    case("poisson-nll:full=true", lambda x, t: F.poisson_nll_loss(x, t, full=True), n(3, 4), index(6, 3, 4).double())
    case("gaussian-nll:full=true", lambda x, t, v: F.gaussian_nll_loss(x, t, v, full=True), n(3, 4), n(3, 4), u(3, 4),
         wrt=(0, 2))
    case("cross-entropy:label_smoothing=0.1", lambda x, t: F.cross_entropy(x.flatten(0, 1), t.flatten(),
                                                                          label_smoothing=0.1), x, t)
    case("linear-cross-entropy", lambda x, t, w, b: F.cross_entropy(F.linear(x, w, b), t), n(6, 4), index(5, 6), n(5, 4),
         n(5), wrt=(0, 2, 3))
    case("nll", F.nll_loss, c.log_softmax(-1).float().double(), index(5, 6))
    case("bce", F.binary_cross_entropy, u(3, 4), u(3, 4))
    case("bce-logits", lambda x, t, w: F.binary_cross_entropy_with_logits(x, t, pos_weight=w), n(3, 4), u(3, 4),
         u(4) * 2)
    case("kl-div", lambda p, q: F.kl_div(p, q, reduction="batchmean"), c.log_softmax(-1).float().double(),
         n(6, 5).softmax(-1).float().double())
    case("jsd", jsd, n(6, 5), n(6, 5), wrt=(0, 1))
    case("focal:gamma=1.5", lambda x, t: focal(x, t, 1.5), x, t)
    case("gce:q=0.6", lambda x, t: gce(x, t, 0.6), x, t)
    case("bi-tempered:t1=0.7,t2=1.3", lambda x, t: bi_tempered(x, t, 0.7, 1.3), x, t)
    case("bootstrapping:beta=0.8", lambda x, t: bootstrapping(x, t, 0.8), x, t)
    case("ldam:max_margin=0.4,scale=5", lambda x, t, k: ldam(x, t, k, 0.4, 5), c, index(5, 6), u(5) * 40)
    case("asymmetric:gamma_pos=1,gamma_neg=3,clip=0.1", lambda x, t: asymmetric(x, t, 1, 3, 0.1), n(3, 5), u(3, 5))
    case("z-loss:weight=0.01", lambda x: 0.01 * x.logsumexp(-1).pow(2).mean(), x)
    case("hinge", lambda x, t: (1 - t * x).clamp(min=0).mean(), n(3, 4), sign(3, 4))
    case("hinge:power=2", lambda x, t: (1 - t * x).clamp(min=0).pow(2).mean(), n(3, 4), sign(3, 4))
    case("soft-margin", F.soft_margin_loss, n(3, 4), sign(3, 4))
    case("multi-margin:margin=0.5,p=2", lambda x, t: F.multi_margin_loss(x, t, p=2, margin=0.5), c, index(5, 6))
    case("multilabel-margin", F.multilabel_margin_loss, n(3, 4),
         torch.tensor([[1, 3, -1, 0], [0, -1, 1, 2], [3, 2, 1, -1]]))
    case("multilabel-soft-margin", F.multilabel_soft_margin_loss, n(3, 4), (u(3, 4) > 0.5).double())
    case("contrastive:margin=2", lambda a, b, s: contrastive(a, b, s, 2), a, b, (sign(6) + 1) / 2, wrt=(0, 1))
    case("triplet:margin=0.8", lambda a, p, q: F.triplet_margin_loss(a, p, q, margin=0.8), a, b, n(6, 4), wrt=(0, 1, 2))
    case("cosine-embedding:margin=0.1", lambda a, b, s: F.cosine_embedding_loss(a, b, s, margin=0.1), a, b, sign(6),
         wrt=(0, 1))
    case("hinge-embedding", F.hinge_embedding_loss, n(3, 4), sign(3, 4))
    case("margin-ranking:margin=0.3", lambda a, b, s: F.margin_ranking_loss(a, b, s, margin=0.3), n(3, 4), n(3, 4),
         sign(3, 4), wrt=(0, 1))
    case("bpr", lambda p, q: -F.logsigmoid(p - q).mean(), n(3, 4), n(3, 4), wrt=(0, 1))
    case("info-nce:temperature=0.2", lambda q, k: info_nce(q, k, 0.2, False), a, b, wrt=(0, 1))
    case("info-nce:temperature=0.2,symmetric=true", lambda q, k: info_nce(q, k, 0.2, True), a, b, wrt=(0, 1))
    case("nt-xent:temperature=0.3", lambda q, k: nt_xent(q, k, 0.3), a, b, wrt=(0, 1))
    case("sup-con:temperature=0.2", lambda z, y: sup_con(z, y, 0.2), a, labels)
    case("arc-face:margin=0.9,scale=8", lambda x, w, t: arc_face(x, w, t, 0.9, 8), a, n(5, 4), index(5, 6), wrt=(0, 1))
    case("tversky:alpha=0.3,beta=0.7", lambda x, t: tversky(x, t, 0.3, 0.7, 1), n(2, 3, 4), u(2, 3, 4))
    case("dice", lambda x, t: (1 - (2 * (x.sigmoid() * t).sum((1, 2)) + 1) /
                               (x.sigmoid().sum((1, 2)) + t.sum((1, 2)) + 1)).mean(), n(2, 3, 4), u(2, 3, 4))
    case("jaccard", lambda x, t: (1 - ((x.sigmoid() * t).sum((1, 2)) + 1) / (
        x.sigmoid().sum((1, 2)) + t.sum((1, 2)) - (x.sigmoid() * t).sum((1, 2)) + 1)).mean(), n(2, 3, 4), u(2, 3, 4))
    case("lovasz-softmax", lovasz_softmax, x, index(3, 3, 4))
    case("lovasz-hinge", lambda x, t: lovasz((1 - t * x).clamp(min=0).flatten(), (t > 0).double().flatten()), n(3, 4),
         sign(3, 4))
    case("byol", lambda p, z: (2 - 2 * F.cosine_similarity(p, z, dim=1)).mean(), a, b)
    case("vic-reg", vic_reg, a * 0.5, b, wrt=(0, 1))
    case("barlow-twins:lambda=0.1", lambda a, b: barlow(a, b, 0.1), a, b, wrt=(0, 1))
    case("dpo:beta=0.3", lambda c, r, d, s: -F.logsigmoid(0.3 * ((c - d) - (r - s))).mean(), n(5), n(5), n(5), n(5),
         wrt=(0, 1))
    case("ppo", lambda p, o, advantage: ppo(p, o, advantage, 0.2), n(3, 4, scale=0.3), n(3, 4, scale=0.3), n(3, 4))
    case("grpo", lambda p, o, r, w, m: grpo(p, o, r, w, m, 0.2, 0.04), n(4, 5, scale=0.3), n(4, 5, scale=0.3),
         n(4, 5, scale=0.3), n(4), (u(4, 5) > 0.3).double())
    # PyTorch's gradient of ctc_loss is that of log_softmax before it: only the value is compared.
    log_p, targets = n(7, 2, 4).log_softmax(-1).float().double(), index(4, 2, 3, low=1)
    lengths, target_lengths = torch.tensor([7, 6]), torch.tensor([3, 2])
    case("ctc", lambda p, t, i, k: F.ctc_loss(p, t, i, k), log_p, targets, lengths, target_lengths)
    del OUT["ctc/d0"]


if __name__ == "__main__":
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    main()
    save_file({k: v.contiguous() for k, v in OUT.items()}, HERE / "losses_f64.safetensors")
    (HERE / "losses_f64.safetensors").chmod(0o644)
