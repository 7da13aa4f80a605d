# mypy: disable-error-code="import-untyped, import-not-found"
"""Helpers that the kernel launches share."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch
import triton
from torch import Tensor


def launch(kernel: Any, programs: tuple[int, ...], *arguments: Any, num_warps: int = 4, **constants: Any) -> None:
    """Run a kernel on the current stream; do nothing if there are no programs."""
    if prod(programs):
        # Fused multiply-adds are requested explicitly because Triton 3.9 warns that the default will change.
        kernel[programs](*arguments, num_warps=num_warps, enable_fp_fusion=True, **constants)


@contextmanager
def computing_on(x: Tensor) -> Iterator[None]:
    """Make the device of x current, where Triton launches, and disable autograd and autocast inside an operator."""
    with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
        if x.is_cuda:
            with torch.cuda.device(x.device):
                yield
        else:
            yield


def tile(length: int, at_least: int, at_most: int) -> int:
    """Return the power of two that covers the length, within bounds."""
    return min(max(triton.next_power_of_2(length), at_least), at_most)


def tiles(length: int, block: int) -> int:
    """Return how many blocks cover the length."""
    return triton.cdiv(length, block)


def multiprocessors(x: Tensor) -> int:
    """Return how many multiprocessors the device of x has; two in the interpreter, so that each has many tasks."""
    return int(torch.cuda.get_device_properties(x.device).multi_processor_count) if x.is_cuda else 2


def sum_dtype(values: Tensor) -> torch.dtype:
    """Return the type in which values are summed: float32, or float64 for float64, which only the interpreter gets."""
    return torch.promote_types(values.dtype, torch.float32)


def sum_of_parts(parts: int, shape: tuple[int, ...], like: Tensor, fill: Callable[[Tensor], None]) -> Tensor:
    """Return the sum (*shape) of parts (parts, *shape) that a kernel fills: without atomics, in a fixed order."""
    partial = torch.empty((parts, *shape), device=like.device, dtype=sum_dtype(like))
    fill(partial)
    return partial.sum(0) if parts > 1 else partial[0]


def precision(values: Tensor) -> str:
    """Return the precision of float32 matrix products: TF32 only where PyTorch may use it."""
    return "tf32" if values.is_cuda and torch.backends.cuda.matmul.allow_tf32 else "ieee"
