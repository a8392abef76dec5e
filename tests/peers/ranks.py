#!/usr/bin/env python3
"""ranks.py BUILD [ROUNDS] [BYTES]: time of all_reduce between two ranks, heed (threads, MPI) and torch.distributed (Gloo) in turn,
ROUNDS times (5); the least and the median of each. Both sides use one thread a rank."""
import os
import re
import socket
import statistics
import subprocess
import sys

build, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5
size = int(sys.argv[3]) if len(sys.argv) > 3 else 64 << 20
environment = dict(os.environ, HEED_THREADS="1", OMP_NUM_THREADS="1", OMPI_ALLOW_RUN_AS_ROOT="1",
                   OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
ranks = f"{build}/bin/heed-ranks"

if "GLOO_RANK" in os.environ:
    import time

    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{os.environ['GLOO_PORT']}",
                            rank=int(os.environ["GLOO_RANK"]), world_size=2)

    def seconds(batches, calls, f):
        least = 1e9
        for _ in range(batches):
            dist.barrier()
            start = time.perf_counter()
            for _ in range(calls):
                f()
            least = min(least, (time.perf_counter() - start) / calls)
        return least

    small, middle, large = torch.ones(16), torch.ones(4096), torch.ones(size // 4)
    got = [seconds(20, 100, lambda: dist.all_reduce(small)), seconds(20, 50, lambda: dist.all_reduce(middle)),
           seconds(7, 2, lambda: dist.all_reduce(large))]
    if dist.get_rank() == 0:
        print("got", *got)
    dist.destroy_process_group()
    sys.exit()


def heed(command):
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    numbers = re.search(r"of 64 B ([\d.]+) us.*of 16 KB ([\d.]+) us.* MB ([\d.]+) ms", said)
    return [float(numbers[1]) * 1e-6, float(numbers[2]) * 1e-6, float(numbers[3]) * 1e-3]


def gloo():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [subprocess.Popen([sys.executable, *sys.argv], stdout=subprocess.PIPE, text=True,
                                  env=dict(environment, GLOO_RANK=str(rank), GLOO_PORT=str(port))) for rank in range(2)]
    said = "".join(process.communicate()[0] for process in processes)
    return [float(x) for x in re.search(r"got (.*)", said)[1].split()]


sides = {
    "heed, threads": lambda: heed([ranks, "threads", "2", "bench", str(size)]),
    "heed, mpi": lambda: heed(["mpirun", "--oversubscribe", "--bind-to", "none", "-n", "2", ranks, "bench", str(size)]),
    "torch, gloo": gloo,
}
times = {name: [] for name in sides}
for _ in range(rounds):
    for name, side in sides.items():
        times[name].append(side())
print(f"all_reduce of two ranks: least / median of {rounds} rounds")
print(f"{'':14} {'64 B, us':>16} {'16 KB, us':>16} {f'{size >> 20} MiB, GB/s':>16}")
for name, rows in times.items():
    a, b, c = zip(*rows)
    print(f"{name:14} {min(a) * 1e6:7.1f} /{statistics.median(a) * 1e6:7.1f} {min(b) * 1e6:7.1f} /{statistics.median(b) * 1e6:7.1f}"
          f" {size / min(c) / 1e9:7.2f} /{size / statistics.median(c) / 1e9:7.2f}")
