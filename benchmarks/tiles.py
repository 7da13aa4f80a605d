"""The kernels of tiles on a GPU: parity with published numbers, then time beside those of PyTorch.

Parity comes first: in float32 to 1e-5 of the largest number of each result, in half types to 2e-2.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.clock import Action, Clock
from convnn.backends import triton

NUMBERS = Path(__file__).parents[1] / "tests" / "golden" / "files" / "110-thunderkittens"
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-2}
HEAD = 64


class Sizes(NamedTuple):
    """What is measured.

    Attributes:
        tokens: lengths of sequences, for attention with 16 heads of a batch.
        maps: sides of square maps, their channels, and the side of a window of neighbours.
        heads: heads of all sequences.
    """

    tokens: tuple[int, ...]
    maps: tuple[tuple[int, int, int], ...]
    heads: int


FULL = Sizes((64, 256, 1024, 4096), ((16, 64, 3), (32, 128, 3), (64, 128, 5), (64, 256, 3), (64, 512, 3)), 64)
TINY = Sizes((20,), ((4, 3, 3),), 2)


# Parity.


def parity(device: str) -> list[dict[str, Any]]:
    """Return for each file of published numbers and each type how much every result differs, and whether it agrees."""
    from safetensors.torch import load_file

    dtypes = (torch.float64, torch.float32) if triton.INTERPRETS else (torch.float32, torch.bfloat16)
    rows = []
    for path in sorted(NUMBERS.glob("*.safetensors")):
        numbers = load_file(path)
        compute = next((function for name, function in _COMPUTE.items() if name in path.stem), None)
        if compute is None:
            continue
        for dtype in dtypes:
            given = {key: one.to(device, dtype if one.is_floating_point() else None) for key, one in numbers.items()}
            errors = {key: _error(one, numbers[key]) for key, one in compute(given)}
            agrees = max(errors.values()) <= TOLERANCES[dtype]
            rows.append({"file": path.stem, "dtype": str(dtype)[6:], "errors": errors, "agrees": agrees})
            print(f"{path.stem:<34}{str(dtype)[6:]:<10}" + ("agrees" if agrees else f"DISAGREES: {errors}"), flush=True)
    return rows


def _error(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest error as a share of the largest number; infinite where only one is finite."""
    ours = ours.double().cpu().reshape(theirs.shape)
    is_same = (ours == theirs) | (ours.isnan() & theirs.isnan())
    error = (ours - theirs).abs().masked_fill(is_same, 0).nan_to_num(torch.inf).max()
    return (error / theirs[theirs.isfinite()].abs().max()).item()


def _attention(given: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    q, k, v, grad = (given[name].flatten(0, 1) for name in ("q", "k", "v", "grad_output"))
    out, logarithms = triton.attend(q, k, v, block=16)
    yield from (("output", out), ("lse", logarithms))
    gradients = triton.attend_backward(grad, q, k, v, out, logarithms, block=16)
    yield from zip(("grad_q", "grad_k", "grad_v"), gradients, strict=True)


def _linear(given: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    q, k, v, grad = (given[name].flatten(0, 1) for name in ("q", "k", "v", "grad_output"))
    slopes = given["slopes"]
    yield from zip(("output", "final_state"), triton.attend_linearly(q, k, v, slopes, chunk=16), strict=True)
    gradients = triton.attend_linearly_backward(grad, q, k, v, slopes, chunk=16)
    yield from zip(("grad_q", "grad_k", "grad_v"), gradients, strict=True)


def _gathered(given: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    x, indices, factors = (given[name][None] for name in ("x", "indices", "weights"))
    weight, grad = given["param.weight"].permute(2, 1, 0), given["grad_output"][None]
    yield "output", triton.convolve(x, indices, factors, weight, given["param.bias"], 1)
    gradients = triton.convolve_backward(grad, x, indices, factors, weight, 1, [True] * 3)
    yield from zip(("grad_x", "grad_weights"), gradients[:2], strict=True)
    yield "grad.weight", gradients[2].permute(2, 1, 0)


_COMPUTE = {"linear-attention": _linear, "attention": _attention, "gather-gemm": _gathered}


# Time.


def times(sizes: Sizes, clock: Clock) -> list[dict[str, Any]]:
    """Return times of attention, linear attention and gathered products, and their rate as a share of a product's."""
    dtype = torch.float32 if triton.INTERPRETS else torch.bfloat16
    peak = _peak(clock, dtype)
    rows = [{"case": "matrix product", "TFLOP/s": peak}]
    for tokens in sizes.tokens:
        if clock.has_time_for(f"attention of {tokens} tokens"):
            rows += _time_attention(tokens, sizes.heads, dtype, clock, peak)
    for side, channels, window in sizes.maps:
        if clock.has_time_for(f"window of {window}, {channels} channels, {side} x {side}"):
            rows.append(_time_gathered(side, channels, window, dtype, clock, peak))
    for row in rows:
        print(row, flush=True)
    return rows


def _peak(clock: Clock, dtype: torch.dtype) -> float:
    """Return the rate of a large square product in TFLOP/s."""
    side = 4096 if clock.device == "cuda" else 64
    a = torch.randn(side, side, device=clock.device, dtype=dtype)
    return _rate(2 * side**3, clock.medians({"product": partial(torch.matmul, a, a)})["product"])


def _rate(operations: float, milliseconds: float) -> float:
    return operations / milliseconds / 1e9


def _row(name: str, operations: float, contestants: dict[str, Action], clock: Clock, peak: float) -> dict[str, Any]:
    milliseconds = clock.medians(contestants)
    shares = {one: _rate(operations, ms) / peak for one, ms in milliseconds.items()}
    return {"case": name, "ms": milliseconds, "share of a product's rate": shares}


def _time_attention(tokens: int, heads: int, dtype: torch.dtype, clock: Clock, peak: float) -> list[dict[str, Any]]:
    q, k, v, grad = (torch.randn(heads, tokens, HEAD, device=clock.device, dtype=dtype) for _ in range(4))
    slopes = torch.linspace(0.01, 1, heads, device=clock.device)
    out, logarithms = triton.attend(q, k, v)
    forward = 4.0 * heads * tokens**2 * HEAD
    decay = (-slopes[:, None, None] * torch.arange(tokens, device=clock.device).float()).exp().to(dtype)
    return [
        _row(
            f"attention, {tokens} tokens",
            forward,
            {"ours": lambda: triton.attend(q, k, v), "PyTorch": lambda: F.scaled_dot_product_attention(q, k, v)},
            clock,
            peak,
        ),
        _row(
            f"attention in order, {tokens} tokens",
            forward / 2,
            {
                "ours": lambda: triton.attend(q, k, v, causal=True),
                "PyTorch": lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True),
            },
            clock,
            peak,
        ),
        _row(
            f"gradients of attention, {tokens} tokens",
            2.5 * forward,
            {"ours": lambda: triton.attend_backward(grad, q, k, v, out, logarithms)},
            clock,
            peak,
        ),
        _row(
            f"linear attention, {tokens} tokens",
            4.0 * heads * tokens * HEAD * (64 + HEAD),
            {
                "ours": lambda: triton.attend_linearly(q, k, v, slopes),
                "all pairs by PyTorch": lambda: (q @ k.mT * decay).tril() @ v,
            },
            clock,
            peak,
        ),
    ]


def _time_gathered(
    side: int, channels: int, window: int, dtype: torch.dtype, clock: Clock, peak: float
) -> dict[str, Any]:
    """Measure a window of neighbours, which PyTorch convolves, and also gathers before it multiplies."""
    from convnn.backends.triton import _dense

    batch = 16 if clock.device == "cuda" else 1
    x = torch.randn(batch, channels, side, side, device=clock.device, dtype=dtype)
    weight = torch.randn(channels, channels, window, window, device=clock.device, dtype=dtype)
    indices = _windows(side, window, x.device).expand(batch, -1, -1).contiguous()
    rows, kernels = x.flatten(2).mT.contiguous(), weight.flatten(2)
    padded = F.pad(rows, (0, 0, 0, 1))
    flat = (indices % padded.shape[1] + padded.shape[1] * torch.arange(batch, device=x.device)[:, None, None]).flatten()
    table, matrix = padded.flatten(0, 1), kernels.permute(2, 1, 0).flatten(0, 1).contiguous()

    def persistent() -> Tensor:
        _dense.PERSISTENT = True
        try:
            return triton.convolve(rows, indices, None, kernels, None, 1)
        finally:
            _dense.PERSISTENT = False

    contestants: dict[str, Action] = {
        "ours": lambda: triton.convolve(rows, indices, None, kernels, None, 1),
        "ours, persistent": persistent,
        "index_select and product": lambda: table.index_select(0, flat).view(-1, matrix.shape[0]) @ matrix,
        "convolution": lambda: F.conv2d(x, weight, padding=window // 2),
    }
    operations = 2.0 * batch * side**2 * window**2 * channels**2
    name = f"window of {window} x {window}, {channels} channels, {side} x {side}"
    return _row(name, operations, contestants, clock, peak)


def _windows(side: int, window: int, device: torch.device) -> Tensor:
    """Return the neighbours (1, side ** 2, window ** 2) of every place of a map, -1 outside of it."""
    margin = window // 2
    places = torch.full((side + 2 * margin,) * 2, -1, device=device)
    places[margin : margin + side, margin : margin + side] = torch.arange(side**2, device=device).view(side, side)
    return places.unfold(0, window, 1).unfold(1, window, 1).reshape(1, side**2, window**2)
