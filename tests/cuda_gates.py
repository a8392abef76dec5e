#!/usr/bin/env python3
"""What the compiler says of CUDA kernels, held against bounds: registers, spills, stack, shared memory, occupancy and the
share of matrix instructions in the innermost loop.

    cuda_gates.py [--archs 80,90] [--cache DIR] [--include DIR] [--gates FILE] [FILE.cu ...]

Compiles each file for each architecture (without files: those that gates.toml names), prints a row for each kernel with a
bound, and for each file how many kernels it holds and which of them spill. Ends with "N passed, N failed, N skipped";
the status is 1 if any failed. Without nvcc all is skipped. Instructions are counted in SASS where cuobjdump or nvdisasm
is found (PyPI: nvidia-cuda-cuobjdump), otherwise in PTX. Times are never looked at.
"""
import argparse
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
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
    def __init__(self, include, cache):
        self.nvcc = shutil.which("nvcc")
        self.disassembler = shutil.which("cuobjdump") or shutil.which("nvdisasm")
        self.cache = cache
        self.work = tempfile.TemporaryDirectory()
        if include is None:  # the tree is seen under the name heed
            include = pathlib.Path(self.work.name) / "include"
            include.mkdir()
            (include / "heed").symlink_to(ROOT)
        self.flags = ["-std=c++20", "--expt-relaxed-constexpr", "-I", str(include)]
        self.version = run([self.nvcc, "--version"]).stdout if self.nvcc else ""

    def key(self, source, arch):
        """Of all that the result follows from: the compiler and every file read outside of it."""
        listed = run([self.nvcc, "-M", f"-arch=sm_{arch}", *self.flags, str(source)])
        if listed.returncode:
            return None
        hashed = hashlib.sha256((self.version + arch + " ".join(self.flags[:2])).encode())
        for name in sorted(set(listed.stdout.replace("\\\n", " ").split()[1:])):
            if not name.startswith(("/usr/include", "/usr/lib")) and "cuda-" not in name and os.path.isfile(name):
                hashed.update(pathlib.Path(name).read_bytes())
        return hashed.hexdigest()

    def compile(self, source, arch, wanted):
        """(kernels by mangled name, error)"""
        to = pathlib.Path(self.work.name) / f"{source.stem}.{arch}"
        cubin, report, ptx = (to.with_suffix(f".{arch}{end}") for end in (".cubin", ".txt", ".ptx"))
        kept = self.cache and (key := self.key(source, arch)) and self.cache / key
        if kept and kept.with_suffix(".cubin").exists():
            cubin, report = kept.with_suffix(".cubin"), kept.with_suffix(".txt")
        else:
            if kept:
                cubin, report = kept.with_suffix(".cubin"), kept.with_suffix(".txt")
            result = run([self.nvcc, "-cubin", f"-arch=sm_{arch}", "-Xptxas", "-v", *self.flags, str(source), "-o",
                          str(cubin)])
            if result.returncode:
                cubin.unlink(missing_ok=True)
                return {}, result.stdout
            report.write_text(result.stdout)
        kernels = read_report(report.read_text())
        if any(re.search(pattern, k.name) for pattern in wanted for k in kernels.values()):
            if self.disassembler:
                if "cuobjdump" in self.disassembler:
                    text = run([self.disassembler, "-sass", str(cubin)]).stdout
                else:
                    text = run([self.disassembler, "-c", str(cubin)]).stdout
                read_sass(text, kernels)
            if not any(k.instructions for k in kernels.values()):
                run([self.nvcc, "-ptx", f"-arch=sm_{arch}", *self.flags, str(source), "-o", str(ptx)])
                read_ptx(ptx.read_text(), kernels)
        return kernels, None


def read_report(text):
    """ptxas -v: for each kernel its stack, spills, registers and shared memory."""
    kernels, now = {}, None
    for line in text.splitlines():
        if m := re.search(r"Compiling entry function '(\S+)'", line):
            now = kernels[m[1]] = Kernel(m[1], m[1])
        elif m := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            if now:
                now.stack, now.spills = int(m[1]), int(m[2]) + int(m[3])
        elif m := re.search(r"Used (\d+) registers", line):
            now.registers = int(m[1])
            if s := re.search(r"(\d+) bytes smem", line):
                now.shared = int(s[1])
            now = None
    for mangled, name in demangled(list(kernels)).items():
        kernels[mangled].name = name
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
    parser.add_argument("--archs", default=",".join(ARCHS))
    parser.add_argument("--gates", type=pathlib.Path, default=ROOT / "tests/cuda_emulator/gates.toml")
    parser.add_argument("--include", type=pathlib.Path, help="a folder in which heed/ is the tree")
    parser.add_argument("--cache", type=pathlib.Path, help="keeps what was compiled, by content")
    arguments = parser.parse_args()
    archs = arguments.archs.split(",")
    gates = tomllib.loads(arguments.gates.read_text())["gate"]
    files = [f.resolve() for f in arguments.files] or sorted({ROOT / g["file"] for g in gates})
    gates = [g for g in gates if (ROOT / g["file"]).resolve() in files]

    compiler = Compiler(arguments.include, arguments.cache)
    if not compiler.nvcc:
        print(f"skipped: nvcc is not here, so nothing is known of {len(gates)} kernels on {len(archs)} architectures")
        print(f"0 passed, 0 failed, {len(gates) * len(archs)} skipped")
        return 0
    if arguments.cache:
        arguments.cache.mkdir(parents=True, exist_ok=True)
    if not compiler.disassembler:
        print("neither cuobjdump nor nvdisasm is here: instructions are counted in PTX, their shares are not judged")

    passed = failed = skipped = 0
    columns = "{:<34} {:>6} {:>9} {:>6} {:>6} {:>7} {:>9} {:>10} {:>9}  {}"
    print(columns.format("kernel", "arch", "registers", "spills", "stack", "shared", "occupancy", "mma share", "mma/ldsm", ""))
    notes = []
    for source in files:
        own = [g for g in gates if (ROOT / g["file"]).resolve() == source]
        for arch in archs:
            kernels, error = compiler.compile(source, arch, [g["kernel"] for g in own])
            if error is not None:
                failed += max(len(own), 1)
                print(f"{source.name}: does not compile for sm_{arch}\n{error}")
                continue
            spilling = [k for k in kernels.values() if k.spills]
            most = max(kernels.values(), key=lambda k: k.registers, default=None)
            if most:
                notes.append(f"{source.name}, sm_{arch}: {len(kernels)} kernels, at most {most.registers} registers "
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
