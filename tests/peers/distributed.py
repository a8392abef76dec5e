#!/usr/bin/env python3
"""heed's ranks beside torch.distributed with Gloo, on the same work in the same minute.

    tests/peers/distributed.py [--ranks 1 2] [--turns 12] [--quick]

A step of nanoGPT's training on a CPU (4 layers, width 128, 64 positions, batch 12 over all ranks, AdamW; heed: DataParallel,
PyTorch: DistributedDataParallel, eager and compiled), and all_reduce of small and large tensors. One thread a rank. Both sides take
short turns (A B A B …) while the other is stopped; what counts is the ratio of the minima, above 1 heed is faster. Bytes are what
a rank sends: heed counts them, headers included; of Gloo's they are counted by the kernel on the loopback interface, acknowledgements
included, and what else goes over that interface too.
"""
import argparse
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none"]
ONE_THREAD = {"HEED_THREADS": "1", "OMP_NUM_THREADS": "1", "OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def torch_rank(compiled):
    """One rank of PyTorch's side: rank 0 reads orders as heed-distributed-bench does."""
    import torch
    import torch.distributed as dist
    import torch.nn.functional as F
    sys.path.insert(0, str(ROOT / "tests" / "golden"))
    from make_golden import GPT
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, size = dist.get_rank(), dist.get_world_size()
    print(f"rank {rank} pid {os.getpid()}", flush=True)

    def training():
        torch.manual_seed(1)
        model = GPT(dim=128, layers=4, heads=4, kv_heads=4, vocabulary=65, block=64)
        with torch.no_grad():
            for p in model.parameters():
                if p.dim() >= 2:
                    p.normal_(std=0.02)
        parameters = list(model.parameters())
        optimizer = torch.optim.AdamW([{"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
                                       {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0}],
                                      lr=1e-3, betas=(0.9, 0.99), fused=True)
        run = torch.nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True) if size > 1 else model
        if compiled:
            run = torch.compile(run, dynamic=False)
        tokens, targets = torch.randint(65, (2, 12 // size, 64))

        def step():
            loss = F.cross_entropy(run(tokens).view(-1, 65), targets.view(-1))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        return step

    step = None
    while True:
        order = torch.zeros(3, dtype=torch.int64)
        if rank == 0:
            words = sys.stdin.readline().split() or ["quit"]
            if words[0] == "step":
                order = torch.tensor([1, 0, int(words[1])])
            elif words[0] == "reduce":
                order = torch.tensor([2, int(words[1]), int(words[2])])
        dist.broadcast(order, 0)
        what, n, calls = order.tolist()
        if what == 0:
            break
        if what == 1:
            step = step or training()
            call = step
        else:
            x = torch.ones(n // 4)
            call = lambda: dist.all_reduce(x)  # noqa: E731
        dist.barrier()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        seconds = time.perf_counter() - start
        if rank == 0:
            print(f"{seconds / calls:.9g} 0", flush=True)
    dist.destroy_process_group()


def loopback_bytes():
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "lo":
            return int(numbers.split()[8])
    return 0


class Side:
    """Ranks that are asked through rank 0, and stopped in between."""

    def __init__(self, name, commands, ranks, environments):
        self.name, self.ranks, self.pids = name, ranks, []
        self.processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                           env=os.environ | ONE_THREAD | environment)
                          for command, environment in zip(commands, environments)]
        for _ in range(ranks):
            for process in self.processes:
                if len(self.pids) < ranks:
                    self.pids.append(int(process.stdout.readline().split()[-1]))
        self.signal(signal.SIGSTOP)

    def signal(self, what):
        for pid in self.pids:
            os.kill(pid, what)

    def ask(self, order, calls):
        self.signal(signal.SIGCONT)
        before = loopback_bytes()
        self.processes[0].stdin.write(f"{order} {calls}\n")
        self.processes[0].stdin.flush()
        seconds, counted = (float(word) for word in self.processes[0].stdout.readline().split())
        on_loopback = (loopback_bytes() - before) / calls / self.ranks
        self.signal(signal.SIGSTOP)
        return seconds, counted or on_loopback

    def end(self):
        self.signal(signal.SIGCONT)
        self.processes[0].stdin.close()
        for process in self.processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def heed(ranks, binary):
    launcher = [*MPIRUN, "-n", str(ranks)] if ranks > 1 else []
    return Side("heed", [[*launcher, binary]], ranks, [{}])


def torch(ranks, compiled):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = [sys.executable, __file__, "--torch-rank", "compiled" if compiled else "eager"]
    return Side("compiled" if compiled else "eager", [command] * ranks, ranks,
                [{"RANK": str(r), "WORLD_SIZE": str(ranks), "LOCAL_RANK": str(r), "MASTER_ADDR": "127.0.0.1",
                  "MASTER_PORT": port, "GLOO_SOCKET_IFNAME": "lo"} for r in range(ranks)])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--quick", action="store_true", help="no compiled model, fewer turns")
    parser.add_argument("--torch-rank", help=argparse.SUPPRESS)
    parser.add_argument("--heed", default=str(ROOT / "build/release/bin/heed-distributed-bench"))
    arguments = parser.parse_args()
    if arguments.torch_rank:
        return torch_rank(arguments.torch_rank == "compiled")
    turns = 4 if arguments.quick else arguments.turns
    orders = {"step": ("step", 10), "all_reduce of 64 B": ("reduce 64", 200), "all_reduce of 16 KB": ("reduce 16384", 200),
              "all_reduce of 4 MB": ("reduce 4194304", 10), "all_reduce of 64 MB": ("reduce 67108864", 2)}
    alone = {}
    for ranks in arguments.ranks:
        sides = [heed(ranks, arguments.heed), torch(ranks, False)] + ([] if arguments.quick else [torch(ranks, True)])
        try:
            for name, (order, calls) in orders.items():
                if ranks == 1 and name != "step":
                    continue
                of_order = [s for s in sides if s.name != "compiled" or name == "step"]
                for side in of_order:
                    side.ask(order, calls)  # the first is for warming up
                    side.ask(order, calls)
                seconds = {side.name: [] for side in of_order}
                sent = {side.name: [] for side in of_order}
                for _ in range(turns):
                    for side in of_order:
                        took, counted = side.ask(order, calls)
                        seconds[side.name].append(took)
                        sent[side.name].append(counted)
                least = {n: min(s) for n, s in seconds.items()}
                best = min((n for n in least if n != "heed"), key=least.get)
                line = f"{ranks} rank{'s' if ranks > 1 else ''}  {name:<20}"
                for n, s in least.items():
                    line += f"  {n} {s * 1e3:.4g} ms (median {statistics.median(seconds[n]) * 1e3:.4g}"
                    line += f", {statistics.median(sent[n]) / 1e6:.4g} MB)" if ranks > 1 else ")"
                line += f"  {least[best] / least['heed']:.2f} x {best}"
                if name == "step":
                    if ranks == 1:
                        alone = least
                    elif alone:
                        line += "  speed-up " + ", ".join(f"{n} {alone[n] / least[n]:.2f}" for n in least)
                print(line, flush=True)
        finally:
            for side in sides:
                side.end()


if __name__ == "__main__":
    main()
