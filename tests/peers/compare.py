#!/usr/bin/env python3
"""heed beside the best that an expert would write with its peers, on the same work in the same minute.

    tests/peers/compare.py [--quick] [--threads 1 2] [--filter TEXT] [--json rows.json]

For every row heed and its peers take short turns (A B A B …). What counts is the ratio of the minima of their times, beside it
that of the medians, which a busy machine spoils first; above 1 heed is faster. "of limit" is the share of what the machine's
multiply-add units or its memory, whichever binds, can do; "spread" is how far heed's median lies above its minimum. The floors are
what heed promises; a row below its own is marked. On a busy machine --cpu counts processor time, with one thread. --isa avx2 shows
what a machine without AVX-512 would: both sides leave it alone.

heed runs in one process (heed-bench --serve), PyTorch, NumPy's OpenBLAS and oneDNN in another (torch_bench.py), libtorch from C++ in
a third. Each piece of work is one entry in tests/bench/works.cpp, one in torch_bench.py, and one row below.
"""
import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "tests" / "peers"


@dataclass
class Row:
    name: str
    floor: float             # the least ratio of minima
    floor2: float = 0        # with two threads, where another
    peers: tuple = ("torch",)
    like: str = ""           # the peer is heed itself on this work
    one_thread: bool = False

    def least(self, threads):
        return self.floor2 if self.floor2 and threads > 1 else self.floor


ROWS = [
    *(Row(f"gemm/{n}", 0.95, 0.9) for n in (512, 1024, 2048)),
    Row("gemm_batched/64x128x64x128", 1.05),
    *(Row(f"gemm_small/{n}", 1.5) for n in (8, 16, 32, 64, 96)),
    Row("gemm_vector/2048", 0.9),
    Row("gemm_bf16/1024", 0.9, like="gemm/1024"),
    Row("gemm_f16/1024", 0.9, like="gemm/1024"),
    Row("exp/1e6", 1.5),
    Row("gelu_tanh/1e6", 3),
    Row("gelu/1e6", 0.85),
    Row("softmax/4096x1024", 1.0),
    Row("layer_norm/4096x1024", 1.0),
    Row("rms_norm/4096x1024", 3.5),
    Row("add/64MB", 3),
    Row("exp/64MB", 3),
    Row("transpose/4096", 3),
    Row("cross_entropy/4096x32000", 3),
    Row("embedding/8192of50000x768", 3),
    *(Row(f"{kind}/{t}", 1.3 if t <= 1024 else 1.05) for t in (256, 1024, 4096) for kind in ("attention", "attention_causal")),
    Row("window_forward/4096", 2),
    Row("window/4096", 2.2),
    Row("gpt/d128", 1.4),
    Row("gpt/d384", 1.25),
    Row("mlp/784-512-512-10", 1.15, peers=("torch", "libtorch")),
    Row("op/add", 8, peers=("torch", "libtorch"), one_thread=True),
    Row("decode/d128", 4, peers=("libtorch",)),
    Row("int8/1", 0.9),
    Row("int8/512", 1.5),
    Row("conv3x3/3to64", 1.3),
    Row("conv3x3/64to64", 0.9),
    Row("depthwise3x3/64", 0.9),
    Row("max_pool/2", 0.9),
    Row("batch_norm/64", 0.9),
]
# Shown without a floor, and only when asked for: --filter kernel, --filter step.
STEPS = ["sgd", "sgd:momentum=0.9", "asgd", "rprop", "adagrad", "rmsprop", "adadelta", "adam", "amsgrad", "adamw", "nadam", "radam",
         "adamax", "adafactor", "muon"]
EXTRA = [Row(f"step/{name}", 0) for name in STEPS]
EXTRA += [Row(f"kernel/{name}", 0) for name in ("gather", "rfft_pair", "cummax", "sum_i64", "eigh", "svd", "depthwise")]
BESIDE_BUSY = Row("gpt/d128", 0.4)
MEMORY = ["attention/4096", "attention_causal/4096", "gpt/d128", "gpt/d384"]


AVX2 = {"HEED_ISA": "avx2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell", "TORCHINDUCTOR_CACHE_DIR": f"{tempfile.gettempdir()}/torchinductor_avx2"}


def environment():
    """Without what would tune or hold back a peer's BLAS."""
    return {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}


class Server:
    """A process that answers "name threads seconds" lines."""

    def __init__(self, command, environ=None):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env=environment() | (environ or {}))

    def measure(self, name, threads, seconds):
        self.process.stdin.write(f"{name} {threads} {seconds}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args[0]} ended while measuring {name}")
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def built(options):
    program = Path(options.heed_bench)
    if not program.exists():
        print(f"building {program} …", file=sys.stderr)
        subprocess.run(["cmake", "--preset", "release"], cwd=ROOT, check=True, stdout=sys.stderr)
        subprocess.run(["cmake", "--build", "--preset", "release", "--target", "heed-bench"], cwd=ROOT, check=True, stdout=sys.stderr)
    return str(program)


def libtorch_program(folder):
    """libtorch_bench.cpp built against the wheel; None where that fails."""
    import torch
    from torch.utils import cpp_extension

    source, program = PEERS / "libtorch_bench.cpp", folder / "libtorch_bench"
    newest = max(file.stat().st_mtime for file in (source, PEERS.parent / "bench" / "turns.h"))
    if program.exists() and program.stat().st_mtime > newest:
        return program
    libraries = Path(torch.__file__).parent / "lib"
    command = ["g++", "-std=c++20", "-O2", f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"]
    command += [f"-isystem{p}" for p in cpp_extension.include_paths()]
    command += [source, "-o", program, f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu", "-lc10"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return program
    print("libtorch_bench.cpp did not build, so its rows have Python's figures or none:\n" + done.stderr[-500:], file=sys.stderr)
    return None


class Bench:
    def __init__(self, options):
        self.options = options
        program = built(options)
        clock = ["--cpu"] if options.cpu else []
        self.programs = {"heed": [program, "--serve", *clock], "torch": [sys.executable, PEERS / "torch_bench.py", *clock]}
        if library := libtorch_program(Path(program).parent):
            self.programs["libtorch"] = [library, *clock]
        self.servers = {}

    def server(self, side, threads):
        # One process a thread count for OpenBLAS, which reads its own at the start.
        key = (side, threads)
        if key not in self.servers:
            counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
            self.servers[key] = Server(self.programs[side], counts | (AVX2 if self.options.isa == "avx2" else {}))
        return self.servers[key]

    def turns(self, sides, threads):
        """{side: results}, `sides` being {label: (server, name)}: turn about until there are enough rounds."""
        results, options = {label: [] for label in sides}, self.options
        end = time.monotonic() + options.most
        for done in range(options.rounds):
            if done >= 2 and time.monotonic() > end:
                break
            for label, (side, name) in sides.items():
                if answer := self.server(side, threads).measure(name, threads, options.seconds):
                    results[label].append(answer)
        return {label: rows for label, rows in results.items() if len(rows) and "min" in rows[0]}

    def row(self, row, threads):
        if row.like:
            sides = {"heed": ("heed", row.name), "other": ("heed", row.like)}
        else:
            sides = {side: (side, row.name) for side in ("heed", *row.peers) if side in self.programs}
        results = self.turns(sides, threads)
        ours = results.pop("heed", None)
        if not ours or not results:
            return None
        theirs = min(results.values(), key=lambda rows: min(r["min"] for r in rows))
        name = f"heed {row.like}" if row.like else theirs[-1]["peer"]
        return self.figures(row.name, threads, ours, theirs, name, row.least(threads))

    @staticmethod
    def figures(name, threads, ours, theirs, peer, floor):
        least = [min(r["min"] for r in side) for side in (ours, theirs)]
        median = [statistics.median(r["median"] for r in side) for side in (ours, theirs)]
        limit = max(r["limit"] for r in ours)
        return {"name": name, "threads": threads, "ours_ms": least[0], "peer_ms": least[1], "peer": peer, "ratio": least[1] / least[0],
                "ratio_of_medians": median[1] / median[0], "floor": floor, "limit_share": limit / least[0] if limit else None,
                "spread": median[0] / least[0] - 1}

    def beside_busy(self, threads):
        """heed's training step while another process keeps one processor busy, against its own quiet speed."""
        quiet, busy, name = [], [], BESIDE_BUSY.name
        for _ in range(self.options.rounds):
            quiet.append(self.server("heed", threads).measure(name, threads, self.options.seconds))
            with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
                busy.append(self.server("heed", threads).measure(name, threads, 2 * self.options.seconds))
                other.kill()
        # What counts is the usual step, not the luckiest one.
        row = self.figures(name + " beside busy", threads, busy, quiet, "heed alone", BESIDE_BUSY.floor)
        return row | {"ratio": row["ratio_of_medians"]}

    def start(self):
        script = "import torch; torch.ones(64, 64) @ torch.ones(64, 64)"
        ours, theirs = [], []
        for _ in range(self.options.rounds):
            for side, command in ((ours, [self.programs["heed"][0], "--start"]), (theirs, [sys.executable, "-c", script])):
                begin = time.perf_counter()
                subprocess.run(command, check=True, env=environment(), stdout=subprocess.DEVNULL)
                t = 1e3 * (time.perf_counter() - begin)
                side.append({"min": t, "median": t, "limit": 0})
        return self.figures("start/first_matmul", 1, ours, theirs, "PyTorch, import and first product", 1)

    def memory(self, name):
        """Growth of resident memory on the first call of a fresh process, in MB."""
        grown = []
        for side in ("heed", "torch"):
            server = Server(self.programs[side])
            grown.append(server.measure(name, 1, 0)["growth"])
            server.close()
        return {"name": f"{name} memory", "threads": 1, "ours_mb": grown[0], "peer_mb": grown[1], "peer": "PyTorch eager", "floor": 1,
                "ratio": grown[1] / max(grown[0], 0.1)}

    def close(self):
        for server in self.servers.values():
            server.close()


def duration(ms):
    return f"{ms * 1e6:.0f} ns" if ms < 1e-3 else f"{ms * 1e3:.1f} µs" if ms < 1 else f"{ms:.2f} ms"


HEADER = f"{'work':<28}{'threads':>8}{'heed':>12}{'peer':>12}{'ratio':>8}{'medians':>9}{'floor':>7}{'of limit':>10}{'spread':>8}  peer"


def line(r):
    mark = " " if r["ratio"] >= r["floor"] else "<"
    if "ours_mb" in r:
        return (f"{r['name']:<28}{r['threads']:>8}{r['ours_mb']:>9.0f} MB{r['peer_mb']:>9.0f} MB{r['ratio']:>8.2f}{'':>9}"
                f"{mark + format(r['floor'], '.2f'):>7}{'':>18}  {r['peer']}")
    share = "" if r["limit_share"] is None else f"{100 * r['limit_share']:.0f} %"
    return (f"{r['name']:<28}{r['threads']:>8}{duration(r['ours_ms']):>12}{duration(r['peer_ms']):>12}{r['ratio']:>8.2f}"
            f"{r['ratio_of_medians']:>9.2f}{mark + format(r['floor'], '.2f'):>7}{share:>10}{100 * r['spread']:>6.0f} %  {r['peer']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=6, help="turns of each side (default 6)")
    parser.add_argument("--seconds", type=float, default=0.2, help="length of a turn (default 0.2)")
    parser.add_argument("--most", type=float, default=15, help="seconds for a row, from which on two turns must do")
    parser.add_argument("--quick", action="store_true", help="a third of the time: fewer and shorter turns")
    parser.add_argument("--filter", default="", help="only work whose name begins so; several by commas")
    parser.add_argument("--cpu", action="store_true", help="processor time of one thread instead of time that passed")
    parser.add_argument("--isa", choices=["avx2"], help="instruction set that neither side may go beyond")
    parser.add_argument("--json", help="also write the rows there")
    parser.add_argument("--heed-bench", default=ROOT / "build" / "release" / "bin" / "heed-bench", help="the program; built where missing")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.most = 4, 0.05, 4
    if options.cpu:
        options.threads = [1]

    def wanted(name):
        return any(name.startswith(each) for each in options.filter.split(","))

    rows = []

    def show(row):
        if row:
            rows.append(row)
            print(line(row), flush=True)

    with contextlib.closing(Bench(options)) as bench:
        print(HEADER)
        for row in filter(lambda r: wanted(r.name), ROWS + (EXTRA if options.filter else [])):
            for threads in options.threads[:1] if row.one_thread else options.threads:
                show(bench.row(row, threads))
        if wanted("busy") and not options.cpu:
            for threads in options.threads:
                show(bench.beside_busy(threads))
        if wanted("start") and not options.cpu:
            show(bench.start())
    for name in MEMORY:
        if wanted("memory"):
            show(bench.memory(name))
    below = sorted({r["name"] for r in rows if r["ratio"] < r["floor"]})
    print(f"{len(rows)} rows; below their floor: {', '.join(below) or 'none'}")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
