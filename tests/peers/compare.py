#!/usr/bin/env python3
"""heed beside PyTorch on the same work, interleaved in the same minute.

    tests/peers/compare.py --text ../shared/data/tinyshakespeare.txt [--threads 1 2] [--json rows.json]

For every piece of work heed and PyTorch take turns (A B A B …); what counts is the ratio of the minima of their times, and
beside it the ratio of the medians, which a busy machine spoils first. A ratio above 1 means that heed is faster.
The GPT step is nanoGPT's CPU configuration: 4 layers, 4 heads, width 128, block 64, batch 12, vocabulary 65, no biases, no
dropout, tied head; forward, cross-entropy, gradients cleared, backward, AdamW (1e-3, 0.9, 0.99, decay 0.1).
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "tests" / "peers"
KERNELS = ["gather", "rfft_pair", "cummax", "sum_i64", "eigh", "svd", "depthwise"]
GEMMS = [128, 512, 1024]
GPT_TOKENS = 12 * 64


def environment(threads):
    """Without what would tune or hold back the peer's BLAS."""
    env = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    return env | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


class Torch:
    def __init__(self, threads, text):
        self.process = subprocess.Popen([sys.executable, PEERS / "torch_bench.py", "--threads", str(threads), "--text", text],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(threads))
        self.name = json.loads(self.process.stdout.readline())["peer"]

    def measure(self, name, seconds):
        self.process.stdin.write(f"{name} {seconds}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def heed_lines(program, threads, name, seconds, text):
    arguments = [program, "--filter", name, "--threads", str(threads), "--seconds", str(seconds)]
    if text:
        arguments += ["--text", text]
    output = subprocess.run(arguments, check=True, capture_output=True, text=True, env=environment(threads)).stdout
    return [json.loads(line) for line in output.splitlines()]


def best(results, key="min"):
    return min(r[key] for r in results)


def row(name, threads, ours, peers, peer, milliseconds):
    """`ours` and `peers`: one result a round, in the unit that is `milliseconds` long."""
    ours_ms, peer_ms = best(ours) * milliseconds, best(peers) * milliseconds
    median = [statistics.median(r["median"] for r in side) * milliseconds for side in (ours, peers)]
    share = max((r["limit_share"] for r in ours if "limit_share" in r), default=None)
    return {"name": name, "threads": threads, "ours_ms": ours_ms, "peer_ms": peer_ms, "peer": peer, "ratio": peer_ms / ours_ms,
            "ratio_of_medians": median[1] / median[0], "floor": None if share is None else ours_ms * share,
            "limit_share": share, "spread": median[0] / ours_ms - 1, "peer_spread": median[1] / peer_ms - 1}


def built(options):
    program = Path(options.heed_bench)
    if not program.exists():
        print(f"building {program} …", file=sys.stderr)
        subprocess.run(["cmake", "--preset", "release"], cwd=ROOT, check=True, stdout=sys.stderr)
        subprocess.run(["cmake", "--build", "--preset", "release", "--target", "heed-bench"], cwd=ROOT, check=True, stdout=sys.stderr)
    return str(program)


def libtorch_program(folder):
    """Builds libtorch_ops.cpp against the wheel; None where that fails."""
    import torch
    from torch.utils import cpp_extension

    libraries = Path(torch.__file__).parent / "lib"
    program = Path(folder) / "libtorch_ops"
    command = ["g++", "-std=c++20", "-O2", f"-D_GLIBCXX_USE_CXX11_ABI={int(torch._C._GLIBCXX_USE_CXX11_ABI)}"]
    command += [f"-isystem{p}" for p in cpp_extension.include_paths()]
    command += [PEERS / "libtorch_ops.cpp", "-o", program, f"-L{libraries}", f"-Wl,-rpath,{libraries}", "-Wl,--no-as-needed", "-ltorch",
                "-ltorch_cpu", "-lc10"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return program
    print("libtorch_ops.cpp did not build; one-element operations are timed from Python instead:\n" + done.stderr[-500:], file=sys.stderr)
    return None


def wall_ms(arguments, threads):
    start = time.perf_counter()
    subprocess.run(arguments, check=True, env=environment(threads), stdout=subprocess.DEVNULL)
    return 1e3 * (time.perf_counter() - start)


def compare_ops(program, torch, options):
    names = ["op/add_recorded", "op/add_chain_backward"]
    with tempfile.TemporaryDirectory() as folder:
        peer = libtorch_program(folder)
        ours, theirs = {n: [] for n in names}, {n: [] for n in names}
        for _ in range(options.rounds):
            for r in heed_lines(program, 1, "op", options.seconds, ""):
                ours[r["name"]].append(r)
            if peer:
                output = subprocess.run([peer, str(options.seconds / 4)], check=True, capture_output=True, text=True, env=environment(1))
                results = [json.loads(line) for line in output.stdout.splitlines()]
            else:
                results = [torch.measure(n, options.seconds / 4) for n in names]
            for r in results:
                theirs[r["name"]].append(r)
    version = torch.name.split()[1]
    return [row(n, 1, ours[n], theirs[n], f"libtorch {version}, C++" if peer else torch.name, 1e-6) for n in names]


def compare_start(program, torch, options):
    script = "import torch; torch.ones(64, 64) @ torch.ones(64, 64)"
    ours, theirs = [], []
    for _ in range(options.rounds):
        for side, command in ((ours, [program, "--start"]), (theirs, [sys.executable, "-c", script])):
            t = wall_ms(command, 1)
            side.append({"min": t, "median": t})
    return [row("start/first_matmul", 1, ours, theirs, torch.name, 1)]


def print_table(rows):
    def duration(ms):
        return f"{ms * 1e6:.0f} ns" if ms < 1e-3 else f"{ms * 1e3:.1f} µs" if ms < 1 else f"{ms:.2f} ms"

    print(f"{'work':<24}{'threads':>8}{'heed':>12}{'peer':>12}{'ratio':>8}{'medians':>9}{'of limit':>10}{'spread':>8}  peer")
    for r in rows:
        share = "" if r["limit_share"] is None else f"{100 * r['limit_share']:.0f} %"
        print(f"{r['name']:<24}{r['threads']:>8}{duration(r['ours_ms']):>12}{duration(r['peer_ms']):>12}{r['ratio']:>8.2f}"
              f"{r['ratio_of_medians']:>9.2f}{share:>10}{100 * r['spread']:>6.0f} %  {r['peer']}")
        if r["name"] == "gpt/step":
            print(f"{'  tokens/s':<32}{1e3 * GPT_TOKENS / r['ours_ms']:>12,.0f}{1e3 * GPT_TOKENS / r['peer_ms']:>12,.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", default="", help="what the GPT trains on (random tokens where missing)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=4, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=2, help="length of one turn")
    parser.add_argument("--only", default="", help="only work whose name begins so: gpt, gemm, kernel, op, start")
    parser.add_argument("--json", help="also write the rows there")
    parser.add_argument("--heed-bench", default=ROOT / "build" / "release" / "bin" / "heed-bench", help="the program; built where missing")
    options = parser.parse_args()
    program = built(options)

    def wanted(name):
        return name.startswith(options.only) or options.only.startswith(name + "/")

    rows = []
    for threads in options.threads:
        torch = Torch(threads, options.text)
        for name in ["gpt/step"] + [f"gemm/{n}" for n in GEMMS] + [f"kernel/{k}" for k in KERNELS]:
            if not wanted(name):
                continue
            ours, theirs = [], []
            for _ in range(options.rounds):
                ours += heed_lines(program, threads, name, options.seconds, options.text)
                theirs.append(torch.measure(name, options.seconds))
            rows.append(row(name, threads, ours, theirs, torch.name, 1))
        if threads == min(options.threads):
            if wanted("op"):
                rows += compare_ops(program, torch, options)
            if wanted("start"):
                rows += compare_start(program, torch, options)
        torch.close()
    print_table(rows)
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
