#!/usr/bin/env python3
"""Small mechanical faults in the kernels of samples.cu, one at a time: how many does the race build notice?

usage: mutants.py [--build DIR] [--limit N] [--seed S]

Each mutant drops a barrier, moves a bound by one, swaps two indices or changes a sign or a constant; it is noticed if the
samples then report something, give wrong results, or do not end. Those nobody notices are printed: a few are no faults at
all (a barrier too many, a bound that no element lies on)."""
import argparse
import pathlib
import random
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
RULES = [
    ("barrier dropped", r"__syncthreads\(\);", ";"),
    ("barrier dropped", r"__syncwarp\(\);", ";"),
    ("barrier weakened", r"__syncthreads\(\)", "__syncwarp()"),
    ("bound up", r"(?<=[\w\])]) < (?=[\w(])", " <= "),
    ("bound down", r"(?<=[\w\])]) < (?=(\w+)[;)\s?&])", r" + 1 < "),
    ("index swapped", r"threadIdx\.x", "threadIdx.y"),
    ("index swapped", r"threadIdx\.y", "threadIdx.x"),
    ("block index swapped", r"blockIdx\.x", "blockIdx.y"),
    ("block index swapped", r"blockIdx\.y", "blockIdx.x"),
    ("sign", r" \+ (?=[\w(])", " - "),
    ("constant", r"(?<=[/*%] )(4|8|16|32|64)\b", lambda m: str(int(m[0]) // 2)),
    ("stride", r"\+= (8|32)\b", lambda m: "+= %d" % (int(m[1]) * 2)),
    ("stride", r"\* (tile|head|pitch|k|n)\b", r"* (\1 - 1)"),
    ("atomic dropped", r"atomicAdd\(to, all\)", "*to += all"),
    ("group count", r"stages - 2\)", "stages - 1)"),
    ("stage count", r"t % stages", "t % (stages - 1)"),
    ("lane", r"by /= 2", "by /= 4"),
    ("max", r"fmaxf\((\w+), ", r"fminf(\1, "),
]
MAIN = """#include "samples.h"
#include <control.h>
#include <cstdio>
int main() {
  heed::emu::settings().quiet = true;
  std::string text = heed::samples::run(heed::samples::Bug::none);
  if (text.empty() && !heed::emu::reports().empty()) text = heed::emu::reports().front();
  if (!heed::emu::reports().empty()) text = heed::emu::reports().front();
  std::puts(text.c_str());
}
"""


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--build", default="build/release")
    options.add_argument("--limit", type=int, default=0, help="this many mutants, chosen by the seed")
    options.add_argument("--seed", type=int, default=1)
    options = options.parse_args()
    build = pathlib.Path(options.build).resolve()
    text = (HERE / "samples.cu").read_text()
    begin, end = text.index("// ---- kernels"), text.index("// ---- their host side")
    mutants = []
    for what, pattern, to in RULES:
        for match in re.finditer(pattern, text[begin:end]):
            line_start = text.rindex("\n", 0, begin + match.start()) + 1
            if text[line_start:].lstrip().startswith("//") or "if constexpr (bug ==" in text[line_start:text.index("\n", line_start)]:
                continue
            with_fault = to(match) if callable(to) else match.expand(to)
            mutants.append((what, begin + match.start(), begin + match.end(), with_fault))
    random.Random(options.seed).shuffle(mutants)
    if options.limit:
        mutants = mutants[:options.limit]

    flags = ["-std=c++20", "-O1", "-w", f"-I{build}/include", f"-I{HERE}", "-DHEED_EMU_RACE"]
    library = build / "tests/cuda_emulator/libheed_cuda_emulator_race.a"
    caught, seen, kinds, survivors, invalid = 0, 0, {}, [], 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "main.cpp").write_text(MAIN)
        subprocess.run(["g++", *flags, "-c", folder / "main.cpp", "-o", folder / "main.o"], check=True)
        for what, start, stop, fault in mutants:
            (folder / "samples.cu").write_text(text[:start] + fault + text[stop:])
            made = subprocess.run(["g++", *flags, "-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0",
                                   "--param=tsan-distinguish-volatile=1", "-x", "c++", "-c", folder / "samples.cu", "-o",
                                   folder / "samples.o"], capture_output=True)
            if made.returncode:
                invalid += 1
                continue
            subprocess.run(["g++", folder / "main.o", folder / "samples.o", library, "-o", folder / "run"], check=True)
            try:
                said = subprocess.run([folder / "run"], capture_output=True, timeout=60, text=True)
                said = said.stdout.strip() or ("status %d" % said.returncode if said.returncode else "")
            except subprocess.TimeoutExpired:
                said = "does not end"
            seen += 1
            kind = re.search(r"race|out of bounds|uninitialised|divergence|host pointer|misaligned|wrong result|access to|does not end|status|cp.async", said)
            if said:
                caught += 1
                name = kind[0] if kind else "other"
                kinds[name] = kinds.get(name, 0) + 1
            else:
                line = text.count("\n", 0, start) + 1
                survivors.append(f"samples.cu:{line}: {what}: {text[start:stop]!r} -> {fault!r}: "
                                 + text.splitlines()[line - 1].strip())
    for survivor in survivors:
        print("not noticed:", survivor)
    print(", ".join(f"{count} by {kind}" for kind, count in sorted(kinds.items(), key=lambda item: -item[1])))
    print(f"{caught} of {seen} mutants noticed; {invalid} did not compile")


if __name__ == "__main__":
    sys.exit(main())
