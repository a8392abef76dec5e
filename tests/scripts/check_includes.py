#!/usr/bin/env python3
"""The include graph points one way: examples -> optim/distributed -> optim -> nn -> engine/backward -> engine/ops -> engine core."""
import re
import sys
from pathlib import Path

root = Path(__file__).resolve().parents[2]
failures = {}


def check(name, complaints):
    failures[name] = complaints
    print(f"{'not ok' if complaints else 'ok'} - {name}")
    for complaint in complaints[:10]:
        print("  ", complaint)


def layer(path):
    """Higher may include lower or equal, never the other way round."""
    parts = path.split("/")
    if parts[0] == "tests":
        return 7
    if parts[0] == "examples":
        return 6
    if path.startswith(("optim/distributed/", "optim/distributed.")):
        return 5.5  # an optional component: the rest of optim knows nothing of it
    if parts[0] == "optim":
        return 5
    if parts[0] == "nn":
        return 4
    if parts[0] == "engine":
        if path == "engine/engine.h" or Path(path).stem in (
            "backward", "custom", "derivatives", "explain", "graph", "graph_page", "profile"):
            return 3
        if parts[1] == "io" or path == "engine/ops.h":
            return 2.5 if parts[1] == "io" else 2
        return 2 if parts[1] == "ops" else 1
    raise ValueError(path)


sources = sorted(
    str(p.relative_to(root))
    for top in ("engine", "nn", "optim", "examples", "tests")
    for p in (root / top).rglob("*")
    if p.suffix in (".h", ".cpp", ".cu", ".cuh")
)
includes = {}  # file -> [what it includes]
for source in sources:
    text = (root / source).read_text(encoding="utf-8")
    includes[source] = re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]', text, re.M)
ours = {s: [i[5:] for i in includes[s] if i.startswith("heed/")] for s in sources}

check("every included heed header exists", [f"{s}: heed/{i}" for s in sources for i in ours[s] if not (root / i).is_file()])
check(
    "includes point down the layers",
    [f"{s} includes {i}" for s in sources for i in ours[s] if (root / i).is_file() and layer(i) > layer(s)],
)
check(
    "heed's own headers are included as <heed/...>",
    [f"{s}: {i}" for s in sources for i in includes[s]
     if not i.startswith("heed/") and not s.startswith(("examples/", "tests/"))
     and ((root / i).is_file() or (root / s).parent.joinpath(i).is_file())],
)


def cycles():
    state, found = {}, []

    def walk(node, trail):
        state[node] = "open"
        for target in ours.get(node, []):
            if state.get(target) == "open":
                found.append(" -> ".join(trail[trail.index(target):] + [target]))
            elif target not in state:
                walk(target, trail + [target])
        state[node] = "done"

    for source in sources:
        if source not in state:
            walk(source, [source])
    return found


check("no include cycle", cycles())

with_xsimd = [s for s in sources if any(i.startswith("xsimd") for i in includes[s])]
check("exactly one file includes xsimd", [] if with_xsimd == ["engine/lane.h"] else with_xsimd or ["none"])


def reachable(start):
    seen, queue = set(), [start]
    while queue:
        node = queue.pop()
        if node not in seen:
            seen.add(node)
            queue += ours.get(node, [])
    return seen


# What cmake --install puts down: see cmake/HeedInstall.cmake.
private = ("engine/ops/", "engine/lane.h", "engine/dual.h")
public = [s for s in sources if s.endswith(".h") and s.split("/")[0] in ("engine", "nn", "optim") and not s.startswith(private)]
check("public headers include no private one", [f"{h} reaches {i}" for h in public for i in sorted(reachable(h)) if i.startswith(private)])
banned = ("fmt/", "xsimd", "iostream", "sstream", "iomanip", "fstream", "regex", "ranges", "format", "print")
check(
    "public headers include no fmt, xsimd, iostreams, regex, ranges",
    [f"{h}: <{i}>" for h in public for i in includes[h] if i.startswith("fmt/") or i.startswith("xsimd") or i in banned],
)
check(
    "only *.simd.cpp files and kernel headers include engine/lane.h",
    [s for s in sources if "engine/lane.h" in reachable(s) - {s} and not s.endswith((".simd.cpp", ".cu")) and not s.startswith(private)],
)
sys.exit(any(failures.values()))
