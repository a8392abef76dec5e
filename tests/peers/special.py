#!/usr/bin/env python3
"""Writes replay cases (tests/replay/README.md) of special values, one call of an op with one of them a file.

    pip install torch safetensors numpy expecttest && python3 special.py --out DIR [--ops add,linalg.det]

For every entry of torch.testing's op_db, forward in f32 (empty and rank 0 in i64 where an op takes no f32):
a pointwise op gets a tensor of the value against all special values in its other tensors; any other op a sample whose
first, then last element is the value, in each of its tensors; `empty` is a sample with one axis of size zero, `rank 0`
one whose tensor has no axes. A call that PyTorch refuses is a case that heed must refuse.
heed-replay --table DIR prints what heed gives, one row an op.
"""
import argparse
import itertools
import json
import multiprocessing
import sys
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file

from opinfo import (AMBIGUOUS, COMPLEX, LOOSE, case_of, calls_of, flat, is_left_out, label_of, leaves, mapped, op_db,
                    same, storable)

LARGEST, TINY, DENORMAL = torch.finfo(torch.float32).max, 2.0**-149, 1e-39
COLUMNS = {"nan": [float("nan")], "inf": [float("inf")], "-inf": [float("-inf")], "-0": [-0.0, 0.0],
           "denormal": [DENORMAL, -DENORMAL, TINY, -TINY], "largest": [LARGEST, -LARGEST]}
# 19 of them: a whole vector of any instruction set and a rest. The first is the partner of what the table shows.
PARTNERS = [1.0, -1.0, 0.5, 2.0, 3.0, -2.5, *(v for values in COLUMNS.values() for v in values), 1.0]
PARTNERS += [1.0] * (19 - len(PARTNERS))
SAMPLES, USED_SAMPLES = 400, 40
MOST_ELEMENTS = 2000, 100_000  # of each tensor; the second where no sample has so few
REFUSALS = (RuntimeError, NotImplementedError, ValueError, IndexError, TypeError, AssertionError)


def exchanged(arguments, new):
    """The arguments with the tensors of `new` (by id of the old one) in their place."""
    return mapped(lambda t: new.get(id(t), t), arguments)


class Op:
    def __init__(self, info, out, written, left_out):
        self.info, self.label, self.out = info, label_of(info), out
        self.written, self.left_out, self.number = written, left_out, Counter()

    def results(self, sample):
        """What PyTorch gives, as a list of tensors; None where it is nothing to compare with."""
        call, positional, named, _ = sample
        runs = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            positional_again, named_again = mapped(lambda t: t.clone(), (positional, named))
            runs.append([torch.tensor(r) if isinstance(r, bool) else r
                         for r in flat(call(*positional_again, **named_again))])
        for a, b in zip(*runs):
            if a is None:
                continue
            if not isinstance(a, torch.Tensor) or a.layout != torch.strided or a.is_quantized or a.dtype == torch.uint32:
                return None
            if a.is_complex() and not COMPLEX.match(self.info.name) or not same(a, b):
                return None
        return runs[0] if any(o is not None for o in runs[0]) else None

    def usable(self, sample, most):
        try:
            tensors = case_of(self.info.name, sample[3](sample[1], sample[2]))[0]
            if not tensors or any(t.layout != torch.strided or t.is_quantized or t.is_complex() or t.numel() > most
                                  for t in tensors.values()):
                return False
            return self.results(sample) is not None
        except (LookupError, *REFUSALS):
            return False

    def write(self, column, where, sample, new):
        """One case; whether PyTorch took it."""
        call, positional, named, written = sample
        positional, named = exchanged((list(positional), dict(named)), new)
        tensors, args = case_of(self.info.name, written(positional, named))
        rtol, atol = (1e-3, 1e-4) if LOOSE.search(self.info.name) else (1e-4, 1e-5)
        if self.pointwise(sample):
            atol = 2 * TINY
        case = {"op": self.info.name, "args": args, "rtol": rtol, "atol": atol, "special": column, "where": where,
                "row": self.label, "pointwise": self.pointwise(sample)}
        file = {f"input.{key}": storable(t) for key, t in tensors.items()}
        try:
            outputs = self.results((call, positional, named, written))
            if outputs is None:
                self.left_out[self.label, column, "random or not a tensor"] += 1
                return False
            for k, output in enumerate(outputs):
                if output is not None and k not in AMBIGUOUS.get(self.info.name, ()):
                    file[f"output.{k}"] = storable(output)
            if case["pointwise"]:
                file |= self.alone((call, positional, named, written), outputs)
        except REFUSALS as error:
            case["throws"] = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        if len(file) == len(tensors) and "throws" not in case:
            return False
        folder = self.out / self.label
        folder.mkdir(parents=True, exist_ok=True)
        save_file(file, folder / f"{column}_{self.number[column]:02}.safetensors", metadata={"case": json.dumps(case)})
        self.number[column] += 1
        self.written[self.label] += 1
        return "throws" not in case

    def alone(self, sample, outputs):
        """What PyTorch gives for every element by itself, where that is something else."""
        call, positional, named, written = sample
        tensors, parts = leaves((positional, named)), []
        for i in range(tensors[0].numel()):
            one = {id(t): t[i:i + 1] for t in tensors}
            parts.append(flat(call(*exchanged(positional, one), **exchanged(named, one))))
        if any(p is None or p.numel() != 1 or p.dim() > 1 for part in parts for p in part):
            return {}
        results = [torch.cat([p.reshape(1) for p in column]) for column in zip(*parts)]
        return {f"alone.{k}": storable(a) for k, (a, o) in enumerate(zip(results, outputs))
                if not torch.equal(a.nan_to_num(7e7), o.nan_to_num(7e7)) or not torch.equal(a.signbit(), o.signbit())}

    def accepted(self, sample, new):
        call, positional, named, written = sample
        positional, named = exchanged((list(positional), dict(named)), new)
        try:
            return self.results((call, positional, named, written)) is not None
        except REFUSALS:
            return False

    def names(self, sample):
        """The tensors as the file names them."""
        return {id(t): key for key, t in case_of(self.info.name, sample[3](sample[1], sample[2]))[0].items()}

    def rows(self, sample):
        """The sample of a pointwise op with tensors of one axis, or None: each element of the result depends on one
        element of every tensor."""
        tensors = leaves((sample[1], sample[2]))
        lengths = {t.shape for t in tensors}
        if len(lengths) != 1 or tensors[0].numel() < 2 or not all(t.is_floating_point() or t.dtype == torch.bool
                                                                  for t in tensors):
            return None
        new = {}
        for t in tensors:
            values = t.flatten()[:2]
            new[id(t)] = torch.cat([values, values, values])[:5]
        call, positional, named, written = sample
        flatter = (call, *exchanged((list(positional), dict(named)), new), written)
        try:
            before = self.results(flatter)
            if before is None or any(o is None or o.shape != (5,) for o in before):
                return None
            for change in (1000, -1000):
                moved = {id(t): torch.cat([t[:1] + change if t.is_floating_point() else ~t[:1], t[1:]])
                         for t in leaves((flatter[1], flatter[2]))}
                after = self.results((call, *exchanged((flatter[1], flatter[2]), moved), written))
                if after is None or any(not same(a[1:], b[1:]) for a, b in zip(after, before)):
                    return None
        except REFUSALS:
            return None
        return flatter

    def pointwise(self, sample):
        return sample is getattr(self, "flatter", None)

    def write_pointwise(self, sample):
        self.flatter = sample
        tensors = leaves((sample[1], sample[2]))
        names = self.names(sample)
        for column, values in COLUMNS.items():
            for t in tensors:
                if not t.is_floating_point():
                    continue
                others = [o for o in tensors if o is not t]
                # The value against every combination of the others.
                partners = list(itertools.product(*(PARTNERS if o.is_floating_point() else (True, False) for o in others)))
                partners = partners if others else [()] * len(PARTNERS)
                new = {id(o): torch.tensor([p[i] for p in partners] * len(values)).to(o.dtype)
                       for i, o in enumerate(others)}
                new[id(t)] = torch.tensor(values).repeat_interleave(len(partners))
                self.write(column, names[id(t)], sample, new)

    def write_replaced(self, sample):
        names = self.names(sample)
        for column, values in COLUMNS.items():
            for t in leaves((sample[1], sample[2])):
                if not t.is_floating_point() or t.numel() == 0 or id(t) not in names:
                    continue
                for place in sorted({0, t.numel() - 1}):
                    changed = t.detach().clone(memory_format=torch.contiguous_format)
                    changed.view(-1)[place] = values[0]
                    self.write(column, f"{names[id(t)]} at {place}", sample, {id(t): changed})

    def write_empty(self, samples):
        def candidates(sample, axis):
            tensors = leaves((sample[1], sample[2]))
            first = tensors[0]
            for chosen in ([t for t in tensors if t.shape == first.shape], [first],
                           [t for t in tensors if t.dim() > axis and t.shape[axis] == first.shape[axis]],
                           [t for t in tensors if t.dim() >= first.dim() - axis
                            and t.shape[axis - first.dim()] == first.shape[axis]]):
                new = {}
                for t in chosen:
                    at = axis if t.dim() > axis and t.shape[axis] == first.shape[axis] else axis - first.dim()
                    new[id(t)] = t.narrow(at, 0, 0)
                yield new

        sample = samples[0]
        for axis in range(leaves((sample[1], sample[2]))[0].dim()):
            tries = list(candidates(sample, axis))
            self.write("empty", f"axis {axis}", sample, next((n for n in tries if self.accepted(sample, n)), tries[0]))

    def write_rank_0(self, samples):
        def candidates(sample):
            tensors = leaves((sample[1], sample[2]))
            first = tensors[0]
            for chosen in ([t for t in tensors if t.shape == first.shape], [first], tensors):
                yield {id(t): t.flatten()[0] for t in chosen if t.numel()}

        for sample in samples[:8]:
            for new in candidates(sample):
                if self.accepted(sample, new):
                    self.write("rank 0", "", sample, new)
                    return
        self.write("rank 0", "", samples[0], next(candidates(samples[0])))

    def write_all(self):
        dtype = torch.float32 if torch.float32 in self.info.dtypes else torch.int64
        try:
            samples = list(calls_of(self.info, dtype, False, SAMPLES))
        except Exception as error:
            self.left_out[self.label, "all", f"no samples: {type(error).__name__}"] += 1
            return
        # Whose first tensor has elements, and axes.
        samples = [s for s in samples if leaves((s[1], s[2])) and leaves((s[1], s[2]))[0].numel() > 1]
        fitting = (list(itertools.islice((s for s in samples if self.usable(s, most)), USED_SAMPLES))
                   for most in MOST_ELEMENTS)
        samples = next(filter(None, fitting), [])
        if not samples:
            self.left_out[self.label, "all", "no sample that is a function of a tensor"] += 1
            return
        rows = next((r for r in map(self.rows, samples) if r is not None), None)
        if rows is not None:
            self.write_pointwise(rows)
        elif dtype == torch.float32:
            self.write_replaced(samples[0])
        self.write_empty(samples)
        self.write_rank_0(samples)


def work(job):
    position, out = job
    torch.set_num_threads(1)
    written, left_out = Counter(), Counter()
    Op(op_db[position], Path(out), written, left_out).write_all()
    return written, left_out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for the cases")
    parser.add_argument("--ops", help="names as OpInfo writes them, with commas; all without")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    wanted = options.ops.split(",") if options.ops else None
    chosen = [i for i, info in enumerate(op_db)
              if not is_left_out(info) and (wanted is None or {info.name, label_of(info)} & set(wanted))]
    written, left_out = Counter(), Counter()
    with multiprocessing.Pool(options.jobs) as pool:
        for w, l in pool.imap_unordered(work, [(i, options.out) for i in chosen], chunksize=4):
            written.update(w)
            left_out.update(l)
    for (label, column, why), count in sorted(left_out.items()):
        print(f"left out: {label}: {column}: {count} × {why}")
    print(f"{sum(written.values())} cases of {len(written)} ops in {options.out}")


if __name__ == "__main__":
    sys.exit(main())
