#!/usr/bin/env python3
"""heed on an accelerator beside PyTorch there: cuBLAS's products, FlashAttention, and its own kernels.

    tests/peers/device_bench.py [--bench build/cuda/bin/heed-device-bench] [--device cuda:0] [--small] [--seconds S]

heed-device-bench measures its list first, then PyTorch the same, each work repeated for S seconds; the ratio is that of the minima,
and above 1 heed is faster. The last columns are what heed reaches of the mathematics: TFLOP/s, GB/s. Without PyTorch, or without its
support for the device, its columns are empty. --small: sizes for a device that is emulated.
"""
import argparse
import json
import subprocess
import sys
import time


def peers(torch, device):
    """By the name's first part: f(sizes) → what is timed."""
    F = torch.nn.functional

    def normal(*shape, dtype=torch.float32):
        return torch.randn(shape, device=device).to(dtype)

    def gemm(dtype, tf32):
        def make(n):
            a, b = normal(n, n, dtype=dtype), normal(n, n, dtype=dtype)

            def run():
                torch.backends.cuda.matmul.allow_tf32 = tf32
                a @ b
            return run
        return make

    def attention(dtype, backward):
        def make(t):
            q, k, v, g = (normal(1, 16, t, 64, dtype=dtype) for _ in range(4))

            def run():
                if not backward:
                    return F.scaled_dot_product_attention(q, k, v, is_causal=True)
                leaves = [x.detach().requires_grad_() for x in (q, k, v)]
                torch.autograd.grad(F.scaled_dot_product_attention(*leaves, is_causal=True), leaves, g)
            return run
        return make

    def rows(f):
        def make(r, c):
            x = normal(r, c)
            return lambda: f(x)
        return make

    def line(f):
        def make(n):
            x = normal(n)
            return lambda: f(x)
        return make

    def layer_norm(r, c):
        x, w = normal(r, c), normal(c)
        return lambda: F.layer_norm(x, (c,), w, w)

    def cross_entropy(r, c):
        x, t = normal(r, c), torch.randint(c, (r,), device=device)
        return lambda: F.cross_entropy(x, t)

    def conv3x3(images, size):
        x, w = normal(images, 64, size, size), normal(64, 64, 3, 3)

        def run():
            torch.backends.cudnn.allow_tf32 = False
            F.conv2d(x, w, padding=1)
        return run

    return {
        "gemm_f32": gemm(torch.float32, False), "gemm_tf32": gemm(torch.float32, True), "gemm_bf16": gemm(torch.bfloat16, False),
        "attention_f32": attention(torch.float32, False), "attention_backward_f32": attention(torch.float32, True),
        "attention_bf16": attention(torch.bfloat16, False), "attention_backward_bf16": attention(torch.bfloat16, True),
        "softmax": rows(lambda x: x.softmax(-1)), "sum": rows(lambda x: x.sum(1)), "layer_norm": layer_norm,
        "add": line(lambda x: x + x), "gelu": line(F.gelu), "cumsum": line(lambda x: x.cumsum(0)), "sort": line(lambda x: x.sort()),
        "cross_entropy": cross_entropy, "conv3x3": conv3x3,
    }


def least(torch, device, run, seconds, calls):
    """Milliseconds of one call: the best of repeated runs of `calls`."""
    def wait():
        if device.startswith("cuda"):
            torch.cuda.synchronize()
    run()
    wait()
    best, end = float("inf"), time.perf_counter() + seconds
    while best == float("inf") or time.perf_counter() < end:
        start = time.perf_counter()
        for _ in range(calls):
            run()
        wait()
        best = min(best, (time.perf_counter() - start) / calls)
    return 1e3 * best


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", default="build/cuda/bin/heed-device-bench")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--seconds", type=float, default=1)
    arguments = parser.parse_args()
    command = [arguments.bench, "--device", arguments.device, "--seconds", str(arguments.seconds)]
    ran = subprocess.run(command + ["--small"] * arguments.small, stdout=subprocess.PIPE, text=True)
    works = [json.loads(line) for line in ran.stdout.splitlines()]

    try:
        import torch
        there = arguments.device if arguments.device.startswith("cuda") and torch.cuda.is_available() else None
        if arguments.device == "emu:0":
            there = "cpu"  # shows that the table is made, not how fast a device is
        found = peers(torch, there) if there else {}
        print(f"PyTorch {torch.__version__}" + ("" if there else " does not see the device"))
    except ImportError:
        found, there = {}, None
        print("PyTorch is not installed")

    columns = "{:<32} {:>12} {:>12} {:>7} {:>9} {:>9}"
    print(columns.format("work", "heed, ms", "PyTorch, ms", "ratio", "TFLOP/s", "GB/s"))
    for work in works:
        kind, sizes = work["name"].split("/")
        peer = ""
        if kind in found:
            run = found[kind](*map(int, sizes.split("x")))
            peer = least(torch, there, run, arguments.seconds, 1 if arguments.small else 10)
        print(columns.format(work["name"], f"{work['min']:.4g}", f"{peer:.4g}" if peer else "-",
                             f"{peer / work['min']:.2f}" if peer else "-",
                             f"{work['flop'] / work['min'] / 1e9:.2f}" if work["flop"] else "-",
                             f"{work['bytes'] / work['min'] / 1e6:.1f}" if work["bytes"] else "-"), flush=True)
    return ran.returncode


if __name__ == "__main__":
    sys.exit(main())
