#!/usr/bin/env python3
"""Writes the golden traces beside this file: what PyTorch computes for heed's GPT, layers and step rules.

    pip install torch safetensors numpy && python3 make_golden.py

Every number that goes in is exact in f32, so that the f32 and f64 files describe the same computation. The traces were
made by PyTorch 2.13 on a CPU; tests/golden_test.cpp reads them and needs no Python.
"""
import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

HERE = Path(__file__).parent
VOCABULARY, BLOCK, BATCH, STEPS = 11, 8, 3, 10


def rope(x, base=10000.0):
    """x [B, H, T, D]: feature i is paired with i + D/2."""
    t, half = x.shape[2], x.shape[3] // 2
    angle = torch.outer(torch.arange(t, dtype=torch.float64), base ** (-torch.arange(half, dtype=torch.float64) / half))
    cosine, sine = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cosine - b * sine, b * cosine + a * sine], -1)


class Attention(nn.Module):
    def __init__(self, dim, heads, kv_heads, bias, rotary):
        super().__init__()
        self.heads, self.kv_heads, self.width, self.rotary = heads, kv_heads, dim // heads, rotary
        self.q_proj = nn.Linear(dim, dim, bias)
        self.k_proj = nn.Linear(dim, self.width * kv_heads, bias)
        self.v_proj = nn.Linear(dim, self.width * kv_heads, bias)
        self.out_proj = nn.Linear(dim, dim, bias)

    def forward(self, x):
        b, t, dim = x.shape
        q, k, v = (p(x).view(b, t, h, self.width).transpose(1, 2) for p, h in
                   ((self.q_proj, self.heads), (self.k_proj, self.kv_heads), (self.v_proj, self.kv_heads)))
        if self.rotary:
            q, k = rope(q), rope(k)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=self.kv_heads != self.heads)
        return self.out_proj(y.transpose(1, 2).reshape(b, t, dim))


class MLP(nn.Module):
    def __init__(self, dim, bias, approximate):
        super().__init__()
        self.approximate = approximate
        self.fc = nn.Linear(dim, 4 * dim, bias)
        self.proj = nn.Linear(4 * dim, dim, bias)

    def forward(self, x):
        return self.proj(F.gelu(self.fc(x), approximate=self.approximate))


class Block(nn.Module):
    def __init__(self, dim, heads, kv_heads, bias, rotary, approximate):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, bias=bias)
        self.attn = Attention(dim, heads, kv_heads, bias, rotary)
        self.norm2 = nn.LayerNorm(dim, bias=bias)
        self.mlp = MLP(dim, bias, approximate)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    def __init__(self, dim=16, layers=2, heads=4, kv_heads=4, bias=False, tied=True, rotary=False, approximate="none",
                 vocabulary=VOCABULARY, block=BLOCK):
        super().__init__()
        self.token_embedding = nn.Embedding(vocabulary, dim)
        if not rotary:
            self.position_embedding = nn.Embedding(block, dim)
        self.blocks = nn.ModuleList(Block(dim, heads, kv_heads, bias, rotary, approximate) for _ in range(layers))
        self.norm = nn.LayerNorm(dim, bias=bias)
        self.head = nn.Linear(dim, vocabulary, bias=False)
        self.tied = tied
        if tied:
            self.head.weight = self.token_embedding.weight

    def forward(self, tokens):
        x = self.token_embedding(tokens)
        if hasattr(self, "position_embedding"):
            x = x + self.position_embedding(torch.arange(tokens.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def loss_of(model, tokens, targets):
    logits = model(tokens)
    return logits, F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))


def trace_gpt(model, dtype):
    """Batch 0: logits, loss and gradients; then one AdamW step a batch."""
    model = copy.deepcopy(model).to(dtype)
    if model.tied:
        model.head.weight = model.token_embedding.weight
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(VOCABULARY, (STEPS, BATCH, BLOCK), generator=generator)
    targets = torch.randint(VOCABULARY, (STEPS, BATCH, BLOCK), generator=generator)
    out = {"tokens": tokens, "targets": targets}
    out |= {f"initial.{n}": p.detach().clone() for n, p in model.state_dict().items()}

    logits, loss = loss_of(model, tokens[0], targets[0])
    loss.backward()
    out |= {"logits": logits, "loss": loss}
    out |= {f"grad.{n}": p.grad for n, p in model.named_parameters()}

    parameters = list(model.parameters())
    groups = [{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
              {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), eps=1e-8)
    losses, norms = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        _, loss = loss_of(model, tokens[step], targets[step])
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(parameters, 1.0))
        optimizer.step()
        losses.append(loss)
    out |= {"losses": torch.stack(losses), "norms": torch.stack(norms)}
    out |= {f"final.{n}": p for n, p in model.named_parameters()}
    return out


def make_gpt(seed, **options):
    torch.manual_seed(seed)
    model = GPT(**options)
    with torch.no_grad():
        for name, p in model.named_parameters():
            is_gain = "norm" in name and name.endswith("weight")
            p.copy_(torch.randn(p.shape) * (0.1 if p.dim() < 2 else 0.25) + (1 if is_gain else 0))
    return model


class Layers:
    """Collects calls: inputs, output, a cotangent, and the gradients of the differentiable inputs."""

    def __init__(self, dtype):
        self.dtype, self.out = dtype, {}
        self.generator = torch.Generator().manual_seed(3)

    def numbers(self, *shape):
        return torch.randn(shape, generator=self.generator).to(self.dtype)

    def call(self, name, function, **inputs):
        inputs = {k: v.clone().requires_grad_(v.is_floating_point()) for k, v in inputs.items()}
        y = function(**inputs)
        dy = self.numbers(*y.shape)
        y.backward(dy)
        self.out |= {f"{name}.{k}": v for k, v in inputs.items()} | {f"{name}.y": y, f"{name}.dy": dy}
        self.out |= {f"{name}.d{k}": v.grad for k, v in inputs.items() if v.requires_grad}


def trace_layers(dtype):
    c = Layers(dtype)
    n = c.numbers
    c.call("linear", F.linear, input=n(2, 3, 7), weight=n(5, 7), bias=n(5))
    c.call("layer_norm", lambda input, weight, bias: F.layer_norm(input, (19,), weight, bias), input=n(4, 19), weight=n(19),
           bias=n(19))
    c.call("rms_norm", lambda input, weight: F.rms_norm(input, (19,), weight, 1e-6), input=n(4, 19), weight=n(19))
    for name, approximate in (("mlp", "none"), ("mlp_tanh", "tanh")):
        c.call(name, lambda input, fc, fc_bias, proj, proj_bias: F.linear(
            F.gelu(F.linear(input, fc, fc_bias), approximate=approximate), proj, proj_bias),
            input=n(3, 6), fc=n(24, 6), fc_bias=n(24), proj=n(6, 24), proj_bias=n(6))
    targets = torch.tensor([3, 0, -100, 12, 7, -100, 3])
    for name, options in (("cross_entropy", {}), ("cross_entropy_smoothed", {"label_smoothing": 0.1}),
                          ("cross_entropy_sum", {"reduction": "sum"}),
                          ("cross_entropy_none", {"reduction": "none", "label_smoothing": 0.2})):
        c.call(name, lambda logits, targets: F.cross_entropy(logits, targets, **options), logits=n(7, 13) * 4,
               targets=targets)
    for name, kv_heads, keys, causal in (("attend", 4, 9, False), ("attend_causal", 4, 11, True), ("attend_gqa", 2, 11, True)):
        c.call(name, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=kv_heads != 4),
               q=n(2, 4, 11, 6), k=n(2, kv_heads, keys, 6), v=n(2, kv_heads, keys, 6))
    for name, options in (("sgd", {}), ("sgd_momentum", {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.05}),
                          ("sgd_nesterov", {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05})):
        p, gradients = nn.Parameter(n(3, 5)), n(STEPS, 3, 5)
        c.out |= {f"{name}.initial": p.detach().clone(), f"{name}.gradients": gradients}
        optimizer = torch.optim.SGD([p], lr=0.1, **options)
        for g in gradients:
            p.grad = g.clone()
            optimizer.step()
        c.out[f"{name}.final"] = p
    return c.out


def write(name, tensors):
    from safetensors.torch import save_file

    save_file({k: v.detach().clone().contiguous() for k, v in tensors.items()}, HERE / name)
    (HERE / name).chmod(0o644)


if __name__ == "__main__":
    torch.set_num_threads(1)
    learned = make_gpt(1)
    rotary = make_gpt(4, kv_heads=2, bias=True, tied=False, rotary=True, approximate="tanh")
    for dtype, suffix in ((torch.float32, "f32"), (torch.float64, "f64")):
        write(f"gpt_learned_{suffix}.safetensors", trace_gpt(learned, dtype))
        write(f"gpt_rotary_{suffix}.safetensors", trace_gpt(rotary, dtype))
        write(f"layers_{suffix}.safetensors", trace_layers(dtype))
