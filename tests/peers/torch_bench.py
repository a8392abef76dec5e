"""PyTorch's side of compare.py: reads "name seconds" lines, answers each with one JSON line like heed-bench's."""
import argparse
import json
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
from make_golden import GPT  # noqa: E402

BATCH, BATCHES, BLOCK, VOCABULARY = 12, 16, 64, 65


def measure(seconds, body):
    """Minimum and median of repeated calls, after one that is not counted."""
    body()
    times, end = [], time.perf_counter() + seconds
    while len(times) < 5 or time.perf_counter() < end:
        start = time.perf_counter()
        body()
        times.append(time.perf_counter() - start)
    times.sort()
    return times[0], times[len(times) // 2], len(times)


def gemm(n):
    a, b = torch.randn(n, n), torch.randn(n, n)
    calls = max(1, 512**3 // n**3)

    def body():
        with torch.inference_mode():
            for _ in range(calls):
                a @ b

    return body, calls


def kernels():
    """Name to the call that heed-bench makes under that name."""
    x, index = torch.randn(1000, 1000), torch.randint(1000, (1000, 1000))
    lines, integers = torch.randn(64, 4096), torch.randint(100, (1000, 1000))
    square = torch.randn(128, 128)
    symmetric, image, taps = square + square.T, torch.randn(8, 64, 56, 56), torch.randn(64, 1, 3, 3)
    return {
        "kernel/gather": lambda: torch.gather(x, 1, index),
        "kernel/rfft_pair": lambda: torch.fft.irfft(torch.fft.rfft(lines)),
        "kernel/cummax": lambda: torch.cummax(x, 1),
        "kernel/sum_i64": lambda: integers.sum(0),
        "kernel/eigh": lambda: torch.linalg.eigh(symmetric),
        "kernel/svd": lambda: torch.linalg.svd(square, full_matrices=False),
        "kernel/depthwise": lambda: F.conv2d(image, taps, stride=2, padding=1, groups=64),
    }


def kernel(name):
    call = kernels()[name]

    def body():
        with torch.inference_mode():
            call()

    return body, 1


def add_recorded():
    x, other = torch.ones(1, requires_grad=True), torch.ones(1)

    def body():
        for _ in range(1000):
            x + other

    return body, 1000


def add_chain_backward():
    x, other = torch.ones(1, requires_grad=True), torch.ones(1)

    def body():
        for _ in range(10):
            y = x
            for _ in range(100):
                y = y + other
            x.grad = None
            y.backward()

    return body, 1000


def gpt(text):
    torch.manual_seed(1)
    if text:
        characters = Path(text).read_text()
        index = {c: i for i, c in enumerate(sorted(set(characters)))}
        data = torch.tensor([index[c] for c in characters])
    else:
        data = torch.randint(VOCABULARY, (100_000,))
    starts = torch.randint(int(0.9 * len(data)) - BLOCK, (BATCHES, BATCH))
    batches = [tuple(torch.stack([data[i + k:i + k + BLOCK] for i in row]) for k in (0, 1)) for row in starts]
    model = GPT(dim=128, layers=4, heads=4, kv_heads=4, vocabulary=VOCABULARY, block=BLOCK)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() >= 2:
                p.normal_(std=0.02)
    groups = [{"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    state = {"step": 0}

    def body():
        tokens, targets = batches[state["step"] % BATCHES]
        state["step"] += 1
        logits = model(tokens)
        loss = F.cross_entropy(logits.view(-1, VOCABULARY), targets.view(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()

    return body, 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--text", default="")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    works = {"op/add_recorded": add_recorded, "op/add_chain_backward": add_chain_backward, "gpt/step": lambda: gpt(options.text)}
    works |= {f"gemm/{n}": lambda n=n: gemm(n) for n in (128, 512, 1024)}
    works |= {name: lambda name=name: kernel(name) for name in kernels()}
    ready = {}
    print(json.dumps({"peer": f"PyTorch {torch.__version__.split('+')[0]}"}), flush=True)
    for line in sys.stdin:
        name, seconds = line.split()
        if name not in ready:
            ready[name] = works[name]()
        body, per_call = ready[name]
        least, median, count = measure(float(seconds), body)
        scale = (1e9 if name.startswith("op/") else 1e3) / per_call
        print(json.dumps({"name": name, "threads": options.threads, "min": least * scale, "median": median * scale, "count": count}),
              flush=True)


if __name__ == "__main__":
    main()
