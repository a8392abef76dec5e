#!/usr/bin/env python3
"""What the compiler says of CUDA kernels, held against bounds: registers, spills, stack, shared memory, occupancy and the
share of matrix instructions in the innermost loop.

    cuda_gates.py [--archs 80,90] [--all] [--jobs N] [--cache DIR] [--include DIR] [--gates FILE] [FILE.cu ...]

Compiles each file for each architecture (without files: those that gates.toml names), prints a row for each kernel with a
bound, and for each file how many kernels it holds and which of them spill. Ends with "N passed, N failed, N skipped",
each file and each kernel with a bound counted; the status is 1 if any failed. Without nvcc all is skipped. Instructions
are counted in SASS where cuobjdump is found (PyPI: nvidia-cuda-cuobjdump), otherwise in PTX. Times are never looked at.
"""
import argparse
import concurrent.futures
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parent.parent
ARCHS = ["80", "90", "100", "120"]


@dataclass
class Limits:
    """Of one multiprocessor (CUDA C++ Programming Guide, "Technical Specifications per Compute Capability")."""
    warps: int
    blocks: int
    shared: int  # bytes
    shared_per_block: int
    registers: int = 65536


LIMITS = {
    "80": Limits(64, 32, 164 << 10, 163 << 10),
    "90": Limits(64, 32, 228 << 10, 227 << 10),
    "100": Limits(64, 32, 228 << 10, 227 << 10),
    "120": Limits(48, 24, 100 << 10, 99 << 10),
}


@dataclass
class Kernel:
    name: str  # demangled
    mangled: str
    registers: int = 0
    shared: int = 0  # static
    stack: int = 0
    spills: int = 0  # bytes stored and loaded
    instructions: list = field(default_factory=list)  # (address or line, name, address it jumps to or None)
    source: str = "-"  # of the instructions


def up(value, step):
    return -(-value // step) * step


def occupancy(arch, threads, registers, shared):
    """Share of a multiprocessor's warps that blocks of this kernel can fill: registers are given by warp in units of 256
    from four files of a quarter each, shared memory by block in units of 128 bytes and 1 KiB for the system."""
    limits = LIMITS[arch]
    warps = up(threads, 32) // 32
    if shared > limits.shared_per_block:
        return 0.0
    by_registers = limits.registers // 4 // up(max(registers, 1) * 32, 256) * 4 // warps
    by_shared = limits.shared // up(shared + 1024, 128)
    blocks = min(limits.warps // warps, limits.blocks, by_registers, by_shared)
    return blocks * warps / limits.warps


def run(command, **more):
    return subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)


def demangled(names):
    if not names or not shutil.which("c++filt"):
        return dict(zip(names, names))
    text = run(["c++filt", "-i"], input="\n".join(names)).stdout
    return dict(zip(names, text.splitlines()))


class Compiler:
    """Machine code of every architecture comes from one PTX, that of the first: kernels do not ask which they run on."""

    def __init__(self, include, cache, archs):
        self.nvcc = shutil.which("nvcc")
        self.disassembler = shutil.which("cuobjdump")
        self.cache = cache
        self.archs = archs
        self.work = tempfile.TemporaryDirectory()
        if include is None:  # the tree is seen under the name heed
            include = pathlib.Path(self.work.name) / "include"
            include.mkdir()
            (include / "heed").symlink_to(ROOT)
        code = ",".join(f"sm_{arch}" for arch in archs)
        self.flags = ["-std=c++20", "--expt-relaxed-constexpr", f"-gencode=arch=compute_{archs[0]},code=[{code}]",
                      "-Xptxas", "-v", "-I", str(include)]
        self.version = run([self.nvcc, "--version"]).stdout if self.nvcc else ""

    def key(self, source):
        """Of all that the result follows from: the compiler and every file read outside of it."""
        listed = run([self.nvcc, "-M", *self.flags, str(source)])
        if listed.returncode:
            return None
        hashed = hashlib.sha256((self.version + " ".join(self.flags[:3])).encode())
        for name in sorted(set(listed.stdout.replace("\\\n", " ").split()[1:])):
            if not name.startswith(("/usr/include", "/usr/lib")) and "cuda-" not in name and os.path.isfile(name):
                hashed.update(pathlib.Path(name).read_bytes())
        return hashed.hexdigest()

    def compile(self, source, wanted):
        """(kernels by mangled name by architecture, error)"""
        folder = pathlib.Path(self.work.name) / "_".join(source.relative_to(ROOT).with_suffix("").parts)
        if self.cache and (key := self.key(source)):
            folder = self.cache / key
        binary, report, ptx = folder / "object.o", folder / "report.txt", folder / f"{source.stem}.ptx"
        if not report.exists():
            folder.mkdir(parents=True, exist_ok=True)
            result = run([self.nvcc, *self.flags, "--keep", "--keep-dir", str(folder), "-c", str(source), "-o", str(binary)])
            for other in folder.iterdir():
                if other not in (binary, ptx):
                    other.unlink()
            if result.returncode:
                return {}, result.stdout
            report.write_text(result.stdout)
        kernels = read_report(report.read_text())
        for arch, own in kernels.items():
            if not any(re.search(pattern, k.name) for pattern in wanted for k in own.values()):
                continue
            if self.disassembler:
                read_sass(run([self.disassembler, "-sass", "-arch", f"sm_{arch}", str(binary)]).stdout, own)
            if not any(k.instructions for k in own.values()):
                read_ptx(ptx.read_text(), own)
        return kernels, None


def read_report(text):
    """ptxas -v: for each architecture, for each kernel its stack, spills, registers and shared memory."""
    kernels, now = {}, None
    for line in text.splitlines():
        if m := re.search(r"Compiling entry function '(\S+)' for 'sm_(\d+)'", line):
            now = kernels.setdefault(m[2], {})[m[1]] = Kernel(m[1], m[1])
        elif m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            if now:
                now.stack, now.spills = int(m[1]), int(m[2]) + int(m[3])
        elif now and (m := re.search(r"Used (\d+) registers", line)):
            now.registers = int(m[1])
            if s := re.search(r"(\d+) bytes smem", line):
                now.shared = int(s[1])
            now = None
    for own in kernels.values():
        for mangled, name in demangled(list(own)).items():
            own[mangled].name = name
    return kernels


def read_sass(text, kernels):
    now, labels, waiting = None, {}, []
    for line in text.splitlines():
        if m := re.search(r"Function : (\S+)|^\s*\.section\s+\.text\.(\S+?),", line):
            now, labels = kernels.get(m[1] or m[2]), {}
        elif now is None:
            continue
        elif m := re.match(r"\s*(\.L_x_\d+):", line):
            labels[m[1]] = True
            waiting.append(m[1])
        elif m := re.match(r"\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);", line):
            address, name, rest = int(m[1], 16), m[2], m[3]
            for label in waiting:
                labels[label] = address
            waiting.clear()
            target = None
            if name.startswith("BRA"):
                if t := re.search(r"0x([0-9a-f]+)", rest):
                    target = int(t[1], 16)
                elif t := re.search(r"\.L_x_\d+", rest):
                    target = labels.get(t[0])  # a label not seen yet is ahead: no loop
                    target = target if isinstance(target, int) else None
            if name != "NOP":
                now.instructions.append((address, name, target))
                now.source = "sass"


def read_ptx(text, kernels):
    now, labels = None, {}
    for number, line in enumerate(text.splitlines()):
        if m := re.search(r"\.entry (\w+)", line):
            now, labels = kernels.get(m[1]), {}
        elif m := re.match(r"(\$\w+):", line):
            labels[m[1]] = number
        elif now is not None and (m := re.match(r"\s+(?:@!?%p\d+\s+)?([a-z][\w.:]*)\s*([^;]*);", line)):
            target = labels.get(m[2].strip()) if m[1].startswith("bra") else None
            now.instructions.append((number, m[1], target))
            now.source = "ptx"


def is_matrix(name):
    return name.startswith(("HMMA", "IMMA", "DMMA", "HGMMA", "QMMA", "OMMA", "UTCHMMA", "mma.", "wgmma."))


def is_matrix_load(name):
    return name.startswith(("LDSM", "ldmatrix"))


def hot_loop(kernel):
    """Names of the instructions in the loop with most matrix instructions, of those that hold no other loop with any; all
    instructions where no loop has one. What a branch skips inside of the loop is counted as well."""
    count = lambda names: sum(map(is_matrix, names))
    loops = [(to, at) for at, _, to in kernel.instructions if to is not None and to <= at]
    inside = {loop: [n for at, n, _ in kernel.instructions if loop[0] <= at <= loop[1]] for loop in loops}
    inside = {loop: names for loop, names in inside.items() if count(names)}
    innermost = [names for (start, end), names in inside.items()
                 if not any(start <= s and e <= end and (s, e) != (start, end) for s, e in inside)]
    return max(innermost, key=count, default=[n for _, n, _ in kernel.instructions])


def check(gate, kernel, arch):
    """What is measured, and what is wrong with it."""
    def bound(name, otherwise=None):
        value = gate.get(name, otherwise)
        return value.get(f"sm_{arch}") if isinstance(value, dict) else value

    wrong = []
    shared = kernel.shared + bound("dynamic_shared", 0)
    names = hot_loop(kernel)
    matrix, loads = sum(map(is_matrix, names)), sum(map(is_matrix_load, names))
    measured = {
        "registers": kernel.registers,
        "spills": kernel.spills,
        "stack": kernel.stack,
        "shared": shared,
        "occupancy": occupancy(arch, gate["threads"], kernel.registers, shared),
        "mma_share": matrix / len(names) if names else 0.0,
        "mma_per_ldmatrix": matrix / loads if loads else 0.0,
    }
    for name, otherwise in (("registers", None), ("spills", 0), ("stack", 0), ("shared", None)):
        most = bound(name, otherwise)
        if most is not None and measured[name] > most:
            wrong.append(f"{name} {measured[name]} > {most}")
    for name in ("occupancy", "mma_share", "mma_per_ldmatrix"):
        least = bound(name)
        # PTX has other instructions than what it becomes: a share there is shown, not judged.
        if least is not None and measured[name] < least and (name == "occupancy" or kernel.source == "sass"):
            wrong.append(f"{name} {measured[name]:.2f} < {least}")
    judged = kernel.source == "sass" or not ("mma_share" in gate or "mma_per_ldmatrix" in gate)
    return measured, wrong, judged


def short(name):
    name = re.sub(r"^void ", "", name)
    name = re.sub(r"\((?!anonymous).*\)$", "", name)
    return re.sub(r"heed::|cuda(_level)?::|\(anonymous namespace\)::|_GLOBAL__N__\w+::", "", name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    parser.add_argument("--all", action="store_true", help="every .cu file below engine as well")
    parser.add_argument("--archs", default=",".join(ARCHS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--gates", type=pathlib.Path, default=ROOT / "tests/cuda_emulator/gates.toml")
    parser.add_argument("--include", type=pathlib.Path, help="a folder in which heed/ is the tree")
    parser.add_argument("--cache", type=pathlib.Path, help="keeps what was compiled, by content")
    arguments = parser.parse_args()
    archs = arguments.archs.split(",")
    gates = tomllib.loads(arguments.gates.read_text())["gate"]
    files = {f.resolve() for f in arguments.files} or {ROOT / g["file"] for g in gates}
    if arguments.all:
        files |= set((ROOT / "engine").rglob("*.cu"))
    files = sorted(files, key=lambda f: -f.stat().st_size)  # the longest first, for jobs side by side
    gates = [g for g in gates if ROOT / g["file"] in files]

    compiler = Compiler(arguments.include, arguments.cache, archs)
    if not compiler.nvcc:
        print(f"skipped: nvcc is not here, so nothing is known of {len(gates)} kernels on {len(archs)} architectures")
        print(f"0 passed, 0 failed, {len(gates) * len(archs)} skipped")
        return 0
    if not compiler.disassembler:
        print("cuobjdump is not here: instructions are counted in PTX, their shares are not judged")

    passed = failed = skipped = 0
    columns = "{:<34} {:>6} {:>9} {:>6} {:>6} {:>7} {:>9} {:>10} {:>9}  {}"
    print(columns.format("kernel", "arch", "registers", "spills", "stack", "shared", "occupancy", "mma share", "mma/ldsm", ""))
    notes = []

    def compiled(source):
        start = time.monotonic()
        own = [g for g in gates if ROOT / g["file"] == source]
        return source, own, *compiler.compile(source, [g["kernel"] for g in own]), time.monotonic() - start

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(compiled, files))
    for source, own, by_arch, error, seconds in results:
        if error is not None:
            failed += max(len(own), 1)
            print(f"{source.relative_to(ROOT)}: does not compile\n{error}")
            continue
        passed += 1
        notes.append(f"{source.relative_to(ROOT)}: compiles for {', '.join('sm_' + a for a in archs)} in {seconds:.0f} s")
        for arch in archs:
            kernels = by_arch.get(arch, {})
            spilling = [k for k in kernels.values() if k.spills]
            most = max(kernels.values(), key=lambda k: k.registers, default=None)
            if most:
                notes.append(f"  sm_{arch}: {len(kernels)} kernels, at most {most.registers} registers "
                             f"({short(most.name)}), {len(spilling)} spill"
                             + "".join(f"\n    {short(k.name)}: {k.spills} bytes" for k in spilling))
            for gate in own:
                found = [k for k in kernels.values() if re.search(gate["kernel"], k.name)]
                if not found:
                    failed += 1
                    print(columns.format(gate["kernel"], arch, *["-"] * 7, "FAILED: no such kernel"))
                for kernel in found:
                    m, wrong, judged = check(gate, kernel, arch)
                    failed += bool(wrong)
                    passed += not wrong
                    skipped += not judged
                    share = f"{m['mma_share']:.0%} {kernel.source}" if m["mma_share"] else "-"
                    ratio = f"{m['mma_per_ldmatrix']:.1f}" if m["mma_per_ldmatrix"] else "-"
                    print(columns.format(short(kernel.name)[:34], arch, m["registers"], m["spills"], m["stack"], m["shared"],
                                         f"{m['occupancy']:.0%}", share, ratio,
                                         "FAILED: " + ", ".join(wrong) if wrong else "ok"))
    print()
    print("\n".join(notes))
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
