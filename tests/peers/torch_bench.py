"""PyTorch's side of compare.py: reads "name threads seconds" lines and answers each with one JSON line, like heed-bench.

A piece of work has one or several ways an expert would write it; each is tried once, and the fastest is measured.
"""
import contextlib
import json
import sys
import time
import warnings
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent.parent / "golden"))
from make_golden import GPT  # noqa: E402

warnings.filterwarnings("ignore")
TORCH = f"PyTorch {torch.__version__.split('+')[0]}"
TRIALS, LONG = 4, 0.3  # more trials of a way unless it takes so many seconds
clock = time.process_time if "--cpu" in sys.argv else time.perf_counter


def forward(f):
    def body():
        with torch.inference_mode():
            f()
    return body


def with_backward(leaves, f):
    cotangent = torch.randn_like(f())

    def body():
        for leaf in leaves:
            leaf.grad = None
        f().backward(cotangent)
    return body


def variable(*shape):
    return torch.randn(shape, requires_grad=True)


def eager_and_compiled(make, f):
    """make(f) is the work by f as it stands, or compiled."""
    return {"eager": lambda: make(f), "compiled": lambda: make(torch.compile(f, dynamic=False))}


# ---- products ----

def product(m, k, n):
    calls = int(min(max(2e6 / (m * k * n), 1), 2000))
    a, b = torch.randn(m, k), torch.randn(k, n)
    x, y, weight = a.numpy(), b.numpy(), b.t().contiguous()

    def repeated(f):
        def body():
            for _ in range(calls):
                f()
        return forward(body), calls
    return {"MKL": lambda: repeated(lambda: a @ b), "OpenBLAS": lambda: repeated(lambda: x @ y),
            "oneDNN": lambda: repeated(lambda: torch.ops.mkldnn._linear_pointwise(a, weight, None, "none", [], ""))}


def batched_product():
    a, b = torch.randn(64, 128, 64), torch.randn(64, 64, 128)
    return {"eager": lambda: forward(lambda: a @ b)}


# ---- rows and elements ----

def pointwise(n, f):
    x = torch.randn(n)
    return eager_and_compiled(lambda g: forward(lambda: g(x)), f)


def large_add():
    a, b = torch.randn(1 << 24), torch.randn(1 << 24)
    return eager_and_compiled(lambda g: forward(lambda: g(a, b)), lambda a, b: a + b)


def transpose_copy():
    x = torch.randn(4096, 4096)
    return {"eager": lambda: forward(lambda: x.t().contiguous())}


def rows(f):
    x, w, b = variable(4096, 1024), variable(1024), variable(1024)
    return eager_and_compiled(lambda g: with_backward([x, w, b], lambda: g(x, w, b)), f)


def cross_entropy():
    logits, targets = variable(4096, 32000), torch.randint(32000, (4096,))

    def make(f):
        def body():
            logits.grad = None
            f(logits, targets).backward()
        return body
    return eager_and_compiled(make, lambda x, t: F.cross_entropy(x, t))


def embedding():
    table, index = variable(50_000, 768), torch.randint(50_000, (8192,))
    return eager_and_compiled(lambda g: with_backward([table], lambda: g(index, table)), lambda i, t: F.embedding(i, t))


# ---- attention ----

def attention_inputs(t, heads=8):
    return [variable(2, heads, t, 64) for _ in range(3)]


def attention(t, causal):
    q, k, v = attention_inputs(t)
    return {"sdpa": lambda: with_backward([q, k, v], lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal))}


def window_mask(t, window=256):
    i = torch.arange(t)
    return (i[:, None] >= i) & (i[:, None] - i < window)


def windowed_chunks(q, k, v, window=256):
    """Chunks of `window` queries, each with the `window` keys before it and its own."""
    mask = window_mask(2 * window)[window:]
    out = []
    for i in range(0, q.shape[2], window):
        first = max(i - window, 0)
        keys, values = k[:, :, first:i + window], v[:, :, first:i + window]
        out.append(F.scaled_dot_product_attention(q[:, :, i:i + window], keys, values, attn_mask=mask[:, -keys.shape[2]:]))
    return torch.cat(out, 2)


def window_forward(t):
    q, k, v = (x.detach() for x in attention_inputs(t))

    def flex():
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention
        mask = create_block_mask(lambda b, h, i, j: (i >= j) & (i - j < 256), None, None, t, t, device="cpu")
        compiled = torch.compile(flex_attention, dynamic=False)

        def body():
            with torch.no_grad():
                compiled(q, k, v, block_mask=mask)
        return body

    def masked():
        mask = window_mask(t)
        return forward(lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
    return {"compiled flex_attention": flex, "loop over chunks": lambda: forward(lambda: windowed_chunks(q, k, v)),
            "sdpa with a mask": masked}


def window_backward(t):
    q, k, v = attention_inputs(t)
    return {"loop over chunks": lambda: with_backward([q, k, v], lambda: windowed_chunks(q, k, v))}


# ---- images ----

def images(channels, leaves, f):
    """In either layout of memory."""
    def make(layout):
        x = torch.randn(32, channels, 32, 32).to(memory_format=layout).requires_grad_()
        parameters = [variable(*shape) for shape in leaves]
        return with_backward([x, *parameters], lambda: f(x, *parameters))
    return {"eager": lambda: make(torch.contiguous_format), "eager, channels last": lambda: make(torch.channels_last)}


def convolution(inputs, outputs, groups=1):
    return images(inputs, [(outputs, inputs // groups, 3, 3), (outputs,)],
                  lambda x, w, b: F.conv2d(x, w, b, padding=1, groups=groups))


def batch_norm():
    mean, var = torch.zeros(64), torch.ones(64)
    return images(64, [(64,), (64,)], lambda x, w, b: F.batch_norm(x, mean, var, w, b, training=True))


# ---- training and decoding ----

def gpt(layers, dim, heads, block, batch):
    tokens, targets = torch.randint(65, (2, batch, block))

    def make(compiled):
        model = GPT(dim=dim, layers=layers, heads=heads, kv_heads=heads, vocabulary=65, block=block)
        with torch.no_grad():
            for p in model.parameters():
                if p.dim() >= 2:
                    p.normal_(std=0.02)
        groups = [{"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
                  {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
        run = torch.compile(model, dynamic=False) if compiled else model

        def body():
            loss = F.cross_entropy(run(tokens).view(-1, 65), targets.view(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return body
    return {"eager": lambda: make(False), "compiled": lambda: make(True)}


def mlp():
    x, y = torch.randn(128, 784), torch.randint(10, (128,))

    def make(compiled):
        layers = torch.nn.Sequential(torch.nn.Linear(784, 512), torch.nn.ReLU(), torch.nn.Linear(512, 512), torch.nn.ReLU(),
                                     torch.nn.Linear(512, 10))
        optimizer = torch.optim.Adam(layers.parameters(), lr=1e-3, fused=True)
        run = torch.compile(layers, dynamic=False) if compiled else layers

        def body():
            loss = F.cross_entropy(run(x), y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return body
    return {"eager, fused Adam": lambda: make(False), "compiled, fused Adam": lambda: make(True)}


def rule_step(make, ways):
    """A step of the rule on nanoGPT's weights; ways are torch.optim's own: for each tensor, foreach, fused."""
    def start(way):
        model = GPT(dim=128, layers=4, heads=4, kv_heads=4, vocabulary=65, block=64)
        parameters = [p for p in model.parameters() if p.dim() >= 2 or make is not torch.optim.Muon]
        for p in parameters:
            p.grad = torch.randn_like(p)
        return make(parameters, lr=1e-6, weight_decay=0.1, **({way: True} if way else {})).step
    return {way or "eager": lambda way=way: start(way) for way in ways}


FOREACH, FUSED = ("foreach",), ("foreach", "fused")
RULES = {
    "sgd": (torch.optim.SGD, FUSED), "adagrad": (torch.optim.Adagrad, FUSED), "adam": (torch.optim.Adam, FUSED),
    "adamw": (torch.optim.AdamW, FUSED), "rmsprop": (torch.optim.RMSprop, FOREACH), "adadelta": (torch.optim.Adadelta, FOREACH),
    "nadam": (torch.optim.NAdam, FOREACH), "radam": (torch.optim.RAdam, FOREACH), "adamax": (torch.optim.Adamax, FOREACH),
    "asgd": (torch.optim.ASGD, FOREACH), "adafactor": (torch.optim.Adafactor, FOREACH), "muon": (torch.optim.Muon, ("",)),
    "sgd:momentum=0.9": (lambda p, **o: torch.optim.SGD(p, momentum=0.9, **o), FUSED),
    "amsgrad": (lambda p, **o: torch.optim.Adam(p, amsgrad=True, **o), FUSED),
    "rprop": (lambda p, weight_decay, **o: torch.optim.Rprop(p, **o), FOREACH),
}


def recorded_chain():
    x, other = torch.ones(1, requires_grad=True), torch.ones(1)

    def body():
        for _ in range(10):
            y = x
            for _ in range(100):
                y = y + other
            x.grad = None
            y.backward()
    return {"eager": lambda: (body, 1000)}


def int8_linear(rows):
    x, weight = torch.randn(rows, 4096), torch.randn(14336, 4096)
    scale = weight.abs().amax(1) / 127
    values = (weight / scale[:, None]).round().to(torch.int8)
    half = x.bfloat16()
    return {"f32 weights": lambda: forward(lambda: F.linear(x, weight)),
            "int8pack": lambda: forward(lambda: torch._weight_int8pack_mm(x, values, scale)),
            "int8pack of bf16": lambda: forward(lambda: torch._weight_int8pack_mm(half, values, scale.bfloat16()))}


def kernel(f, *inputs):
    return {"eager": lambda: forward(lambda: f(*inputs))}


KERNELS = {
    "gather": lambda: kernel(lambda x, i: torch.gather(x, 1, i), torch.randn(1000, 1000), torch.randint(1000, (1000, 1000))),
    "rfft_pair": lambda: kernel(lambda x: torch.fft.irfft(torch.fft.rfft(x)), torch.randn(64, 4096)),
    "cummax": lambda: kernel(lambda x: torch.cummax(x, 1), torch.randn(1000, 1000)),
    "sum_i64": lambda: kernel(lambda x: x.sum(0), torch.randint(100, (1000, 1000))),
    "eigh": lambda: kernel(torch.linalg.eigh, (lambda x: x + x.T)(torch.randn(128, 128))),
    "svd": lambda: kernel(lambda x: torch.linalg.svd(x, full_matrices=False), torch.randn(128, 128)),
    "depthwise": lambda: kernel(lambda x, w: F.conv2d(x, w, stride=2, padding=1, groups=64), torch.randn(8, 64, 56, 56),
                                torch.randn(64, 1, 3, 3)),
}

WORKS = {f"kernel/{name}": make for name, make in KERNELS.items()}
WORKS |= {f"step/{name}": lambda rule=rule: rule_step(*rule) for name, rule in RULES.items()}
WORKS |= {f"gemm/{n}": lambda n=n: product(n, n, n) for n in (512, 1024, 2048)}
WORKS |= {f"gemm_small/{n}": lambda n=n: product(n, n, n) for n in (8, 16, 32, 64, 96)}
WORKS |= {f"attention/{t}": lambda t=t: attention(t, False) for t in (256, 1024, 4096)}
WORKS |= {f"attention_causal/{t}": lambda t=t: attention(t, True) for t in (256, 1024, 4096)}
WORKS |= {
    "gemm_batched/64x128x64x128": batched_product,
    "gemm_vector/2048": lambda: product(1, 2048, 2048),
    "exp/1e6": lambda: pointwise(1_000_000, torch.exp),
    "gelu_tanh/1e6": lambda: pointwise(1_000_000, lambda x: F.gelu(x, approximate="tanh")),
    "gelu/1e6": lambda: pointwise(1_000_000, lambda x: F.gelu(x)),
    "softmax/4096x1024": lambda: rows(lambda x, w, b: torch.softmax(x, -1)),
    "layer_norm/4096x1024": lambda: rows(lambda x, w, b: F.layer_norm(x, (1024,), w, b)),
    "rms_norm/4096x1024": lambda: rows(lambda x, w, b: F.rms_norm(x, (1024,), w, 1e-6)),
    "add/64MB": large_add,
    "exp/64MB": lambda: pointwise(1 << 24, torch.exp),
    "transpose/4096": transpose_copy,
    "cross_entropy/4096x32000": cross_entropy,
    "embedding/8192of50000x768": embedding,
    "window_forward/4096": lambda: window_forward(4096),
    "window/4096": lambda: window_backward(4096),
    "gpt/d128": lambda: gpt(4, 128, 4, 64, 12),
    "gpt/d384": lambda: gpt(6, 384, 6, 256, 12),
    "mlp/784-512-512-10": mlp,
    "op/add": recorded_chain,
    "conv3x3/3to64": lambda: convolution(3, 64),
    "conv3x3/64to64": lambda: convolution(64, 64),
    "depthwise3x3/64": lambda: convolution(64, 64, 64),
    "int8/1": lambda: int8_linear(1),
    "int8/512": lambda: int8_linear(512),
    "max_pool/2": lambda: images(64, [], lambda x: F.max_pool2d(x, 2)),
    "batch_norm/64": batch_norm,
}


def seconds_of(body):
    start = clock()
    body()
    return clock() - start


class Measured:
    """The fastest way of a piece of work, found at the first call for a number of threads."""

    def __init__(self, name):
        self.ways, self.ready, self.chosen, self.last = WORKS[name](), {}, {}, 0

    def way(self, label):
        """(body, pieces a call)"""
        if label not in self.ready:
            made = self.ways[label]()
            self.ready[label] = made if isinstance(made, tuple) else (made, 1)
        return self.ready[label]

    def choose(self, threads):
        if len(self.ways) == 1:
            self.chosen[threads] = next(iter(self.ways))
            return
        best = {}
        for label in list(self.ways):
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    body, _ = self.way(label)
                    body()
                    best[label] = seconds_of(body)
                    if best[label] < LONG:
                        best[label] = min(best[label], *(seconds_of(body) for _ in range(TRIALS)))
            except Exception as error:  # no compiler, an operation this build lacks
                print(f"{label}: {str(error).splitlines()[0]}", file=sys.stderr)
                del self.ways[label]
        self.chosen[threads] = min(best, key=best.get)

    def measure(self, threads, seconds):
        if threads not in self.chosen:
            self.choose(threads)
        label = self.chosen[threads]
        body, pieces = self.way(label)
        if self.last < seconds / 4:
            self.last = seconds_of(body)
        times, end = [], clock() + seconds
        while not times or clock() + self.last / 2 < end:
            times.append(seconds_of(body))
            self.last = times[-1]
        times.sort()
        peer = f"NumPy, {label}" if label == "OpenBLAS" else f"{TORCH} {label}"
        return {"min": 1e3 * times[0] / pieces, "median": 1e3 * times[len(times) // 2] / pieces, "peer": peer}


def resident(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    return 0


def growth(name):
    """Megabytes by which the first call of the first way raises the process's resident memory at its peak."""
    made = next(iter(WORKS[name]().values()))()
    body = made[0] if isinstance(made, tuple) else made
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS:")
    body()
    return (resident("VmHWM:") - before) / 1024


def main():
    torch.set_num_threads(1)
    ready = {}
    for line in sys.stdin:
        name, threads, seconds = line.split()
        threads, seconds = int(threads), float(seconds)
        torch.set_num_threads(threads)
        if name not in WORKS:
            answer = {}
        elif seconds == 0:
            answer = {"growth": growth(name), "peer": TORCH}
        else:
            if name not in ready:
                ready = {name: Measured(name)}  # the last one's inputs would stay in memory
                torch.compiler.reset()
            answer = ready[name].measure(threads, seconds)
        print(json.dumps({"name": name, "threads": threads} | answer), flush=True)


if __name__ == "__main__":
    main()
