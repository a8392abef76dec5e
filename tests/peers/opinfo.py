#!/usr/bin/env python3
"""Writes replay cases (tests/replay/README.md) from PyTorch's own samples, one safetensors file a sample.

    pip install torch safetensors numpy expecttest && python3 opinfo.py --out DIR [--ops add,linalg.det] [--dtypes f32,f64]

Every entry of torch.testing's op_db gives its sample inputs; what PyTorch computes from them, forward and (f32 and f64)
backward with random cotangents, is what build/release/bin/heed-replay DIR expects. Left out, and counted: complex inputs
other than those of Fourier transforms, sparse and quantised tensors, random results, results that are no tensors.
The format holds values, not strides, so that the samples which PyTorch lays out with gaps are the same cases as the
others. The recurrent modules, which op_db lacks, have samples of their own below.
"""
import argparse
import inspect
import itertools
import json
import math
import multiprocessing
import re
import sys
import warnings
from collections import Counter
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.testing._internal import common_methods_invocations
from torch.testing._internal.common_methods_invocations import op_db

warnings.filterwarnings("ignore")
# OpInfo calls random ops with one seed; with a seed that changes, their randomness shows.
common_methods_invocations.wrapper_set_seed = lambda op, *args, **kwargs: op(*args, **kwargs)
DTYPES = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16, "i64": torch.int64,
          "i32": torch.int32, "i16": torch.int16, "i8": torch.int8, "u8": torch.uint8, "bool": torch.bool,
          "c64": torch.complex64, "c128": torch.complex128}
NAMES = {torch.float32: "f32", torch.float64: "f64", torch.float16: "f16", torch.bfloat16: "bf16"}
TOLERANCE = {"f64": (1e-9, 1e-10), "c128": (1e-9, 1e-10), "f32": (1e-4, 1e-5), "c64": (1e-4, 1e-5), "f16": (4e-3, 4e-3),
             "bf16": (3e-2, 3e-2)}
# Their results pass through a factorisation or a long recurrence, whose errors grow with the condition number.
LOOSE = re.compile(r"linalg\.|cholesky|lu_|lu$|qr|svd|pinverse|logdet|matrix_exp|triangular_solve|geqrf|ormqr|cov|corrcoef|"
                   r"igamma|zeta|polygamma|mvlgamma|erfinv|ndtri|bessel|ctc_loss|renorm|cdist|logcumsumexp")
MOST_ELEMENTS = 200_000
UNUSED = {"device", "layout", "pin_memory", "memory_format", "requires_grad", "out", "generator", "copy", "non_blocking"}
# Not deterministic by contract (uninitialised memory), not functions of tensors, or of internal interfaces.
LEFT_OUT = re.compile(r"^(empty|new_empty|jiterator|torch\.ops|to_sparse|sparse|_|resize|as_strided|hash_tensor|native_|"
                      r"view_as_complex|complex|polar|max_pool2d_with|bmm_triton|cdouble|cfloat|chalf|uniform)")
# What may have complex tensors: pairs of reals in the file.
COMPLEX = re.compile(r"fft\.|i?stft$")
# Unique only up to signs or phases: these results are not compared, and carry no cotangent.
AMBIGUOUS = {"linalg.eigh": {1}, "linalg.svd": {0, 2}, "svd": {0, 2}, "linalg.eig": {1}}
# (name, variant) whose OpInfo computes something else than the function of that name.
COMPOSED = {("linalg.pinv", "singular")}


def parameters(*names):
    return [(name, False, "") for name in names]


# Where OpInfo's callable, Python's signature and the documentation disagree: the documented order.
SIGNATURES = {"einsum": parameters("operands", "equation"), "polygamma": parameters("input", "n"),
              "special.polygamma": parameters("input", "n"), "meshgrid": [("tensors", False, "*"), ("indexing", True, "")],
              "__getitem__": parameters("input", "index"), "mvlgamma": parameters("input", "p"),
              "where": parameters("condition", "input", "other"), "sum_to_size": [("input", False, ""), ("size", False, "*")],
              "nn.functional.logsigmoid": parameters("input"), "nonzero": parameters("input", "as_tuple"),
              "unique": parameters("input", "sorted", "return_inverse", "return_counts", "dim"),
              "lu": parameters("input", "pivot", "get_infos")}
for name in ("add", "div", "mul", "and", "or", "xor", "matmul", "mod", "pow", "sub"):
    SIGNATURES[f"__r{name}__"] = parameters("input", "other")
SIGNATURES["to"] = parameters("input", "dtype")
for name in ("T", "H", "bfloat16", "bool", "byte", "char", "double", "float", "half", "int", "long", "short"):
    SIGNATURES[name] = parameters("input")
ORDER = {"where": (1, 0, 2), "nn.functional.embedding": (1, 0), "nn.functional.embedding_bag": (1, 0)}


def lookup(name):
    thing = torch
    for part in name.split("."):
        thing = getattr(thing, part, None)
    return thing


def python_signature(name):
    function = lookup(name)
    if not inspect.isfunction(function):
        return None
    found = list(inspect.signature(function).parameters.values())
    if any(p.kind == p.VAR_KEYWORD for p in found):  # boolean_dispatch hides the real one
        hidden = getattr(torch.nn.functional, "_" + name.rsplit(".", 1)[-1], None)
        if not inspect.isfunction(hidden):
            return None
        found = list(inspect.signature(hidden).parameters.values())
    return [(p.name, p.default is not p.empty, "*" if p.kind == p.VAR_POSITIONAL else "") for p in found]


def fits(value, kind):
    """Whether a schema's argument type takes the value."""
    if kind.startswith("Optional["):
        return value is None or fits(value, kind[9:-1])
    if kind.startswith("List["):
        if isinstance(value, int) and not isinstance(value, bool):
            return kind == "List[int]"
        return isinstance(value, (list, tuple)) and all(fits(v, kind[5:-1]) for v in value)
    if kind == "Tensor":
        return isinstance(value, torch.Tensor)
    if kind in ("number", "float", "int", "SymInt"):
        whole = isinstance(value, (int, torch.dtype, torch.layout, torch.memory_format, torch.device))
        return whole or (kind in ("number", "float") and isinstance(value, (float, complex)))
    if kind == "bool":
        return isinstance(value, bool)
    if kind == "str":
        return isinstance(value, str)
    return kind == "Device"


def schema_signature(name, positional, named):
    """Parameters of the first overload in PyTorch's dispatcher that takes these arguments."""
    for candidate in (name.replace(".", "_"), name.rsplit(".", 1)[-1]):
        for schema in torch._C._jit_get_schemas_for_operator("aten::" + candidate):
            arguments = [a for a in schema.arguments if a.name != "out"]
            names = [a.name for a in arguments]
            plain = [a for a in arguments if not a.kwarg_only]
            values = list(positional)
            if len(values) > len(plain) and plain and str(plain[-1].type) == "List[int]":
                values = values[:len(plain) - 1] + [values[len(plain) - 1:]]  # x.permute(1, 0)
            if len(values) > len(plain) or any(k not in names and k != "input" and k not in UNUSED for k in named):
                continue
            given = dict(zip([a.name for a in plain], values)) | named
            if all(fits(given[a.name], str(a.type)) if a.name in given else
                   a.has_default_value() or str(a.type).startswith("Optional") for a in arguments[1:]):
                return [("input" if a.name == "self" else a.name, a.has_default_value(),
                         "*" if len(values) < len(positional) and a is plain[-1] else "") for a in arguments]
    return None


def bound(op, positional, named):
    """[(name, optional, value)] in PyTorch's order."""
    names = SIGNATURES.get(op) or python_signature(op) or schema_signature(op, positional, named)
    if names is None:
        raise LookupError("no signature")
    named, positional, result = dict(named), list(positional), []
    for name, optional, kind in names:
        if kind == "*":
            if len(positional) == 1 and isinstance(positional[0], (list, tuple)):
                positional = list(positional[0])
            result.append((name, optional, positional))
            positional = []
        elif positional:
            result.append((name, optional, positional.pop(0)))
        elif name in named:
            result.append((name, optional, named.pop(name)))
        elif not optional:
            result.append((name, optional, None))
    if positional:
        raise LookupError("more arguments than parameters")
    return result + [(name, True, value) for name, value in named.items()]


def plain(value):
    """A JSON value of the format; TypeError for what it cannot hold."""
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else "nan" if value != value else "inf" if value > 0 else "-inf"
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    raise TypeError(f"an argument of type {type(value).__name__}")


def written_index(index, tensors):
    """The index of x[index]; its tensors go to `tensors`."""
    items = []
    for item in index if isinstance(index, tuple) else (index,):
        if isinstance(item, slice):
            items.append([item.start, item.stop, item.step])
        elif item is Ellipsis:
            items.append("...")
        elif isinstance(item, (torch.Tensor, list, bool)):
            tensor = item if isinstance(item, torch.Tensor) else torch.tensor(item)
            items.append(f"index.{len(tensors)}")
            tensors[items[-1]] = tensor
        else:
            items.append(plain(item))
    return items


def is_tensors(value):
    return isinstance(value, (list, tuple)) and any(isinstance(v, torch.Tensor) for v in value)


def case_of(op, arguments):
    """(tensors by name, args) of a call."""
    tensors, args, position, leading = {}, {}, 0, True
    for name, optional, value in arguments:
        if name in UNUSED:
            continue
        if op == "__getitem__" and name == "index":
            args["index"] = written_index(value, tensors)
        elif isinstance(value, torch.Tensor):
            tensors[str(position) if leading and not optional else name] = value
            position += 1
        elif is_tensors(value):
            first = position == 0 and leading and not tensors
            for i, v in enumerate(value):
                if v is not None:
                    tensors[str(i) if first else f"{name}.{i}"] = v
            leading = False
        elif value is None:
            position += 1
        else:
            leading = False
            args[name] = plain(value)
    return tensors, args


def flat(value):
    if isinstance(value, (list, tuple)):
        return [leaf for v in value for leaf in flat(v)]
    return [value]


def mapped(function, value):
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, (list, tuple)):
        items = [mapped(function, v) for v in value]
        return items if isinstance(value, list) else type(value)(items) if type(value) is torch.Size else tuple(items)
    return {k: mapped(function, v) for k, v in value.items()} if isinstance(value, dict) else value


def storable(tensor):
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor)
    return tensor.clone(memory_format=torch.contiguous_format)


def same(a, b):
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))


def leaves(value):
    """The tensors of nested arguments, in order."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in leaves(v)]
    return [t for v in value.values() for t in leaves(v)] if isinstance(value, dict) else []


def gradients_of(tensors, original, again, outputs, unchecked, cotangents=None):
    """grad_output.K and grad_input.S; `again` are the arguments of the run, copies of `original`."""
    pairs = dict(zip(map(id, leaves(original)), leaves(again)))
    wanted = {key: pairs[id(t)] for key, t in tensors.items() if id(t) in pairs and pairs[id(t)].requires_grad}
    generator = torch.Generator().manual_seed(7)
    sources = {f"grad_output.{k}": o for k, o in enumerate(outputs)
               if o is not None and o.requires_grad and k not in unchecked}
    if not wanted or not sources:
        return {}
    if cotangents is None:
        cotangents = {k: torch.randn(o.shape, dtype=o.dtype, generator=generator) for k, o in sources.items()}
    try:
        gradients = torch.autograd.grad(list(sources.values()), list(wanted.values()),
                                        [cotangents[k].to(o.dtype) for k, o in sources.items()], allow_unused=True)
    except (RuntimeError, NotImplementedError):
        return {}
    return {k: storable(c) for k, c in cotangents.items()} | {
        f"grad_input.{key}": storable(g) for key, g in zip(wanted, gradients) if g is not None}


class Writer:
    def __init__(self, out):
        self.out, self.written, self.left_out, self.files = out, Counter(), Counter(), []

    def write(self, label, dtype, number, op, call, positional, named, arguments, differentiable):
        """One sample: `call(*positional, **named)` gives the results, `arguments` says how it is written."""
        def fresh():
            return mapped(lambda t: t.detach().clone(memory_format=torch.contiguous_format)
                          .requires_grad_(t.requires_grad and differentiable), (list(positional), dict(named)))

        tensors, args = case_of(op, arguments)
        if any(t.layout != torch.strided or t.is_quantized for t in tensors.values()):
            return self.skip(label, "sparse or quantised")
        if any(t.is_complex() for t in tensors.values()) and not COMPLEX.match(op):
            return self.skip(label, "complex")
        if sum(t.numel() for t in tensors.values()) > MOST_ELEMENTS:
            return self.skip(label, "huge")
        runs = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            again = fresh()
            results = call(*again[0], **again[1])
            runs.append([torch.tensor(r) if isinstance(r, bool) else r for r in flat(results)])
        outputs = runs[1]
        if not all(isinstance(o, torch.Tensor) or o is None for o in outputs):
            return self.skip(label, "its result is no tensor")
        if any(o is not None and o.layout != torch.strided for o in outputs):
            return self.skip(label, "sparse or quantised")
        if any(a is not None and not same(a.detach(), b.detach()) for a, b in zip(*runs)):
            return self.skip(label, "random")
        if any(o is not None and (o.dtype == torch.uint32 or o.is_complex() and not COMPLEX.match(op))
               for o in outputs):
            return self.skip(label, "complex")
        if not any(o is not None for o in outputs):
            return self.skip(label, "its result is no tensor")
        unchecked = AMBIGUOUS.get(op, ())
        file = {f"input.{key}": storable(t) for key, t in tensors.items()}
        for k, output in enumerate(outputs):
            if output is not None and k not in unchecked:
                file[f"output.{k}"] = storable(output)
        if differentiable:
            file |= gradients_of(tensors, (positional, named), again, outputs, unchecked)
        rtol, atol = TOLERANCE.get(dtype, (1e-4, 1e-5))
        # A tensor of a narrower type than the case's brings that type's tolerance.
        for tensor in file.values():
            rtol, atol = max((rtol, atol), TOLERANCE.get(NAMES.get(tensor.dtype), (0, 0)))
        if LOOSE.search(op):
            factor = 100 if dtype in ("f64", "c128") else 10
            rtol, atol = rtol * factor, atol * factor
        if dtype in ("f32", "f16", "bf16") and "dtype" not in args:
            atol = max(atol, 4 * self.own_error(op, call, tensors, (positional, named), differentiable, file, rtol, atol))
        folder = self.out / label
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"op": op, "args": args, "rtol": rtol, "atol": atol})
        path = folder / f"{dtype}_{number:04}.safetensors"
        save_file(file, path, metadata={"case": text})
        self.written[label] += 1
        self.files.append((sum(t.numel() for t in tensors.values()) < 4, path.stat().st_size, path))

    @staticmethod
    def own_error(op, call, tensors, original, differentiable, file, rtol, atol):
        """PyTorch's own largest error in this type, by its results in f64, where it comes near the tolerance."""
        def wide(t):
            grown = t.detach().clone()
            grown = grown.double() if grown.is_floating_point() else grown
            return grown.requires_grad_(t.requires_grad and differentiable)

        again = mapped(wide, (list(original[0]), dict(original[1])))
        try:
            outputs = [o for o in flat(call(*again[0], **again[1])) if not isinstance(o, bool)]
            exact = {f"output.{k}": storable(o) for k, o in enumerate(outputs) if o is not None}
            if differentiable:
                exact |= gradients_of(tensors, original, again, outputs, AMBIGUOUS.get(op, ()),
                                      {k: t for k, t in file.items() if k.startswith("grad_output")})
        except (RuntimeError, NotImplementedError, ValueError, IndexError, TypeError):
            return 0
        worst = 0
        for key, value in file.items():
            if not key.startswith(("output.", "grad_input.")) or key not in exact or not value.is_floating_point():
                continue
            if value.shape != exact[key].shape:
                continue
            error = (value.double() - exact[key].double()).abs().nan_to_num(0, 0, 0)
            if (error > (atol + rtol * exact[key].abs().nan_to_num(0, 0, 0)) / 4).any():
                worst = max(worst, error.max().item())
        return worst

    def keep(self, label, count):
        """Deletes what was written since the last call, but for the `count` smallest files with four elements or more."""
        for _, _, path in sorted(self.files)[count:] if count else ():
            path.unlink()
            self.written[label] -= 1
        self.files = []

    def skip(self, label, why):
        self.left_out[label, why] += 1


def label_of(info):
    return info.name + (f"[{info.variant_test_name}]" if info.variant_test_name else "")


class shape_inputs:
    """Ops that read one triangle take symmetric or triangular matrices; triangular ones are made so again inside the call,
    since PyTorch gives a gradient to the triangle that it does not read."""

    def __init__(self, info):
        self.kind = getattr(info.gradcheck_wrapper, "__name__", "")
        if info.name == "cholesky_solve":
            self.kind = "gradcheck_wrapper_triangular_input"
        self.place = 1 if info.name == "cholesky_solve" else 0

    def shape(self, x, upper):
        if self.kind == "gradcheck_wrapper_hermitian_input":
            return (x + x.mT) / 2
        if self.kind.startswith("gradcheck_wrapper_triangular_input"):
            return x.triu() if upper else x.tril()
        return x

    def upper(self, named):
        return named.get("upper", False)

    def __call__(self, sample):
        def shaped(x):
            return self.shape(x.detach(), self.upper(sample.kwargs)).requires_grad_(x.requires_grad)

        if self.kind.startswith(("gradcheck_wrapper_hermitian_input", "gradcheck_wrapper_triangular_input")):
            if self.place == 0 and isinstance(sample.input, torch.Tensor):
                sample.input = shaped(sample.input)
            elif self.place == 1:
                sample.args = (shaped(sample.args[0]), *sample.args[1:])
        return sample

    def call(self, op):
        if not self.kind.startswith("gradcheck_wrapper_triangular_input"):
            return op

        def shaped(*positional, **named):
            positional = list(positional)
            positional[self.place] = self.shape(positional[self.place], self.upper(named))
            return op(*positional, **named)

        return shaped


def calls_of(info, dtype, differentiable, limit=None):
    """The samples of an op as (call, positional, named, written): written(positional, named) are the arguments in PyTorch's
    order."""
    extra = {}
    call = info.op
    while hasattr(call, "func") and hasattr(call, "keywords"):  # functools.partial
        extra, call = call.keywords | extra, call.func

    def written(positional, named):
        order = ORDER.get(info.name)
        shown = [positional[i] for i in order] + positional[len(order):] if order else positional
        return bound(info.name, shown, extra | named)

    torch.manual_seed(0)
    floating = dtype.is_floating_point or dtype.is_complex
    samples = list(itertools.islice(info.sample_inputs("cpu", dtype, requires_grad=differentiable and floating), limit))
    shaped = shape_inputs(info)
    for sample in map(shaped, samples):
        positional, named = [sample.input, *sample.args], sample.kwargs
        if info.name == "to":  # whose positions mean many things
            target = [a for a in (*sample.args, *sample.kwargs.values()) if isinstance(a, (torch.Tensor, torch.dtype))]
            positional, named = positional[:1] + target[:1], {}
        yield shaped.call(info.op), positional, named, written


def is_left_out(info):
    return bool(LEFT_OUT.search(info.name)) or (info.name, info.variant_test_name) in COMPOSED


def write_op(info, dtypes, limit, keep, writer):
    label = label_of(info)
    if is_left_out(info):
        return writer.skip(label, "left out")
    for key in dtypes:
        if DTYPES[key] not in info.dtypes or (key in ("c64", "c128") and not COMPLEX.match(info.name)):
            continue
        differentiable = key in ("f32", "f64", "c64", "c128") and info.supports_autograd
        try:
            calls = list(calls_of(info, DTYPES[key], differentiable, limit or None))
        except Exception as error:
            writer.skip(label, f"no samples: {type(error).__name__}")
            continue
        for number, (call, positional, named, written) in enumerate(calls):
            try:
                writer.write(label, key, number, info.name, call, positional, named, written(positional, named),
                             differentiable)
            except LookupError as error:
                writer.skip(label, str(error))
            except TypeError as error:
                writer.skip(label, str(error)[:60])
            except (RuntimeError, NotImplementedError, ValueError, IndexError) as error:
                writer.skip(label, f"PyTorch: {str(error).splitlines()[0][:60]}")
        writer.keep(label, keep)


def write_recurrent(dtypes, keep, writer):
    """Layers and cells by PyTorch's modules: what op_db lacks."""
    for key in (k for k in dtypes if k in ("f32", "f64")):
        dtype, numbers = DTYPES[key], Counter()
        torch.manual_seed(0)

        def emit(op, module, inputs, args):
            weights = dict(module.named_parameters())
            inputs = [t.requires_grad_() for t in inputs]

            def call(*positional, **named):
                state = positional[1:] if "LSTM" not in op else (tuple(positional[1:]),) if positional[1:] else ()
                return torch.func.functional_call(module, named, (positional[0], *state))

            arguments = [(str(i), False, t) for i, t in enumerate(inputs)] + [(k, True, w) for k, w in weights.items()]
            writer.write(op, key, numbers[op], op, call, inputs, weights,
                         arguments + [(k, True, v) for k, v in args.items()], True)
            numbers[op] += 1

        def random(*shape):
            return torch.randn(*shape, dtype=dtype)

        kinds = [("RNN", {"nonlinearity": "tanh"}), ("RNN", {"nonlinearity": "relu"}), ("LSTM", {}), ("GRU", {})]
        for (kind, more), layers, both, batch_first, bias in itertools.product(kinds, (1, 2), (False, True), (False, True),
                                                                               (True, False)):
            args = {"num_layers": layers, "bidirectional": both, "batch_first": batch_first, "bias": bias} | more
            module = getattr(torch.nn, kind)(3, 4, dtype=dtype, **args)
            for state, batched in itertools.product((True, False), (True, False)):
                batch = (2,) if batched else ()
                x = random(*((2, 5, 3) if batch_first and batched else (5, *batch, 3)))
                states = [random(layers * (2 if both else 1), *batch, 4) for _ in range(2 if kind == "LSTM" else 1)]
                emit("nn." + kind, module, [x] + (states if state else []), args)
        module = torch.nn.LSTM(3, 4, proj_size=2, dtype=dtype)
        emit("nn.LSTM", module, [random(5, 2, 3)], {"proj_size": 2})
        for (kind, more), bias, state, batch in itertools.product(kinds, (True, False), (True, False), ((2,), ())):
            module = getattr(torch.nn, kind + "Cell")(3, 4, bias=bias, dtype=dtype, **more)
            states = [random(*batch, 4) for _ in range(2 if kind == "LSTM" else 1)] if state else []
            emit(f"nn.{kind}Cell", module, [random(*batch, 3)] + states, {"bias": bias} | more)
        if keep:
            files = sorted(writer.files, key=lambda file: file[2].parent)
            for op, group in itertools.groupby(files, key=lambda file: file[2].parent.name):
                writer.files = list(group)
                writer.keep(op, keep)


def work(job):
    infos, dtypes, limit, keep, out, recurrent = job
    torch.set_num_threads(1)
    writer = Writer(Path(out))
    for position in infos:
        write_op(op_db[position], dtypes, limit, keep, writer)
    if recurrent:
        write_recurrent(dtypes, keep, writer)
    return writer.written, writer.left_out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, help="folder for the cases")
    parser.add_argument("--ops", help="names as OpInfo writes them, with commas; all without")
    parser.add_argument("--dtypes", default="f64,f32", help="of " + ",".join(DTYPES) + ", or all (default: f64,f32)")
    parser.add_argument("--limit", type=int, default=0, help="samples of each op and type (default: all)")
    parser.add_argument("--keep", type=int, default=0, help="of each op and type the smallest N files (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    dtypes = list(DTYPES) if options.dtypes == "all" else options.dtypes.split(",")
    if unknown := set(dtypes) - set(DTYPES):
        parser.error(f"expected types of {','.join(DTYPES)}, got {','.join(sorted(unknown))}")
    wanted = options.ops.split(",") if options.ops else None
    chosen = [i for i, info in enumerate(op_db) if wanted is None or {info.name, label_of(info)} & set(wanted)]
    recurrent = wanted is None or any(w.startswith("nn.") and not w.startswith("nn.functional.") for w in wanted)
    # Many small jobs, so that the processes end together.
    jobs = [(chosen[i:i + 8], dtypes, options.limit, options.keep, options.out, False) for i in range(0, len(chosen), 8)]
    jobs += [([], dtypes, options.limit, options.keep, options.out, True)] if recurrent else []
    written, left_out = Counter(), Counter()
    with multiprocessing.Pool(options.jobs) as pool:
        for w, l in pool.imap_unordered(work, jobs):
            written.update(w)
            left_out.update(l)
    for (label, why), count in sorted(left_out.items()):
        print(f"left out: {label}: {count} × {why}")
    print(f"{sum(written.values())} cases of {len(written)} ops in {options.out}")


if __name__ == "__main__":
    sys.exit(main())
