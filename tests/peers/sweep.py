#!/usr/bin/env python3
"""PyTorch's GELU over all 2^32 floats, in the measures of heed-sweep: for the function whose cancellation forbids a bound
in ULP.

    pip install torch numpy && python3 tests/peers/sweep.py [--stride N]

Largest absolute error, and largest relative error of results that are normal numbers, against f64."""
import argparse
import math

import numpy
import torch

options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
options.add_argument("--stride", type=int, default=1)
stride = options.parse_args().stride

BLOCK = 1 << 22
absolute = relative = 0.0
for first in range(0, 1 << 32, BLOCK * stride):
    bits = numpy.arange(first, min(first + BLOCK * stride, 1 << 32), stride, dtype=numpy.uint64).astype(numpy.uint32)
    x = torch.from_numpy(bits.view(numpy.float32).copy())
    exact = x.double() * 0.5 * torch.special.erfc(x.double() * -math.sqrt(0.5))
    error = (torch.nn.functional.gelu(x).double() - exact).abs()
    error = torch.where(error.isfinite() & (exact.abs() < 3.4e38), error, 0.0)
    absolute = max(absolute, error.max().item())
    normal = torch.where(exact.abs() >= 2.0**-126, error / exact.abs(), 0.0)
    relative = max(relative, torch.nan_to_num(normal, nan=0.0).max().item())
print(f"gelu       torch {torch.__version__}  absolute {absolute:.4g}  relative {relative:.4g}")
