#!/usr/bin/env python3
"""cable.py NAMESPACE NAMESPACE SECONDS LOSS: joins two network namespaces by a cable (devices "cable", 10.77.0.1 and .2) that
delays each packet and loses a share of them, for kernels that have no netem. Prints "ready"; works until it is ended."""
import ctypes
import fcntl
import os
import random
import select
import struct
import subprocess
import sys
import time
from collections import deque

libc = ctypes.CDLL(None, use_errno=True)
names, delay, loss = sys.argv[1:3], float(sys.argv[3]), float(sys.argv[4])


def end_in(namespace, number):
    with open(f"/run/netns/{namespace}") as file:
        if libc.setns(file.fileno(), 0x40000000):  # CLONE_NEWNET
            raise OSError(ctypes.get_errno(), "setns")
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, 0x400454CA, struct.pack("16sH", b"cable", 0x0001 | 0x1000))  # TUNSETIFF: packets, no header
    for command in (f"address add 10.77.0.{number}/24 dev cable", "link set cable up txqueuelen 10000", "link set lo up"):
        subprocess.run(["ip", *command.split()], check=True)
    return end


ends = [end_in(name, number) for number, name in enumerate(names, 1)]
print("ready", flush=True)
draws = random.Random(1)
queues = {end: deque() for end in ends}  # what leaves at this end: (when, packet)
while True:
    waiting = [queue[0][0] for queue in queues.values() if queue]
    until = max(0, min(waiting) - time.monotonic()) if waiting else None
    for end in select.select(ends, [], [], until)[0]:
        other = ends[1 - ends.index(end)]
        try:
            for _ in range(64):
                packet = os.read(end, 65536)
                if draws.random() >= loss:
                    queues[other].append((time.monotonic() + delay, packet))
        except BlockingIOError:
            pass
    now = time.monotonic()
    for end, queue in queues.items():
        while queue and queue[0][0] <= now:
            try:
                os.write(end, queue.popleft()[1])
            except OSError:
                pass  # a full device loses packets, as a cable does
