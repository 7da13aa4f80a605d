"""Convolutions of few channels by kernel size: ours that slides, PyTorch's, unfolding; and reductions that slide."""

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.layers import near
from convnn.bench.measure import Action, milliseconds, peak_megabytes, ratio
from convnn.ops import sliding_reduce
from convnn.ops._convolve import _quicker
from convnn.ops._sliding import sliding

NAMES = ("sliding", "PyTorch", "channels last", "unfolded")
LARGEST_BUFFER = 256  # megabytes of unfolded windows that are still measured


class Shape(NamedTuple):
    """A convolution that keeps the size of a square map."""

    inputs: int
    outputs: int
    groups: int
    side: int
    batch: int = 1

    def __str__(self) -> str:
        grouped = f" in {self.groups} groups" if self.groups > 1 else ""
        return f"{self.inputs} -> {self.outputs}{grouped}, {self.side} x {self.side}"


def measure_sliding(shapes: Sequence[Shape], kernels: Sequence[int], repeats: int, with_memory: bool) -> dict[str, Any]:
    """Measure every shape with every kernel, forward alone, and forward and backward, and reductions of a signal."""
    rows = []
    for shape in shapes:
        for kernel in kernels:
            row = {"shape": str(shape), "kernel": kernel, "agrees": _agree(shape, kernel)}
            row["chosen"] = _quicker(*_tensors(shape, kernel), None, (1, 1)) == "sliding"
            for training in (False, True):
                row["training" if training else "forward"] = _measure(shape, kernel, training, repeats, with_memory)
            rows.append(row)
            print(row, flush=True)
    return {"rows": rows, "reductions": [_measure_reductions(2**20, window, repeats) for window in REDUCED]}


def _measure(shape: Shape, kernel: int, training: bool, repeats: int, with_memory: bool) -> dict[str, Any]:
    buffer = 4 * shape.batch * shape.inputs * (shape.side * kernel) ** 2 / 2**20
    names = [name for name in NAMES if name != "unfolded" or buffer <= LARGEST_BUFFER]
    make = partial(_make_step, shape=shape, kernel=kernel, training=training)
    times = milliseconds({name: make(name)[1] for name in names}, repeats)
    return {
        "ms": {name: statistics.median(times[name]) for name in names},
        "times faster": {name: ratio(times, name, "sliding") for name in names[1:]},
        "MB": {name: peak_megabytes(make, name) for name in names} if with_memory and training else None,
    }


def _make_step(name: str, shape: Shape, kernel: int, training: bool) -> tuple[Action, Action]:
    """Make a step on a tiny map and one on the shape."""
    steps = []
    for one in (shape._replace(side=4), shape):
        x, weight = _tensors(one, kernel)
        if name == "channels last":
            x = x.contiguous(memory_format=torch.channels_last)
        leaves = [tensor.requires_grad_(training) for tensor in (x, weight)]
        steps.append(partial(_step, partial(WAYS[name], groups=shape.groups), *leaves))
    return steps[0], steps[1]


def _step(convolve: Callable[..., Tensor], x: Tensor, weight: Tensor) -> None:
    if not x.requires_grad:
        convolve(x, weight)
        return
    x.grad = weight.grad = None
    convolve(x, weight).sum().backward()


def _tensors(shape: Shape, kernel: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(kernel)
    x = torch.randn(shape.batch, shape.inputs, shape.side, shape.side, generator=generator)
    weight = torch.randn(shape.outputs, shape.inputs // shape.groups, kernel, kernel, generator=generator)
    return x, weight


def _slide(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    return sliding(x, weight, None, [weight.shape[-1] // 2] * 2, [1, 1], "cpu")


def _convolve(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2, groups=groups)


def _unfold(x: Tensor, weight: Tensor, groups: int) -> Tensor:
    windows = F.unfold(x, weight.shape[-1], padding=weight.shape[-1] // 2).unflatten(1, (groups, -1))
    kernels = weight.flatten(1).unflatten(0, (groups, -1))
    return (kernels @ windows).flatten(1, 2).unflatten(2, x.shape[2:])


WAYS = {"sliding": _slide, "PyTorch": _convolve, "channels last": _convolve, "unfolded": _unfold}


def _agree(shape: Shape, kernel: int) -> bool:
    """Return whether output and gradients of ours are those of PyTorch in float64."""
    x, weight = _tensors(shape, kernel)
    results = []
    for way, dtype in ((_slide, torch.float32), (_convolve, torch.float64)):
        leaves = [tensor.to(dtype).requires_grad_() for tensor in (x, weight)]
        out = way(*leaves, shape.groups)
        results.append([out.detach(), *torch.autograd.grad(out.square().sum(), leaves)])
    return all(near(found, right, 1e-5) for found, right in zip(*results, strict=True))


REDUCED = (3, 8, 31, 128, 512)
REDUCTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "max": lambda x, window: sliding_reduce(x, window, "max"),
    "max_pool1d": lambda x, window: F.max_pool1d(x, window, 1),
    "mean": lambda x, window: sliding_reduce(x, window, "mean"),
    "avg_pool1d": lambda x, window: F.avg_pool1d(x, window, 1),
    "sum": lambda x, window: sliding_reduce(x, window, "sum"),
    "cumsum": lambda x, window: (sums := F.pad(x.cumsum(-1), (1, 0)))[..., window:] - sums[..., :-window],
}


def _measure_reductions(length: int, window: int, repeats: int) -> dict[str, Any]:
    """Measure reductions of a signal, forward, and the largest error of both sums relative to the sum in float64."""
    x = torch.randn(1, 1, length, generator=torch.Generator().manual_seed(window))
    times = milliseconds({name: partial(way, x, window) for name, way in REDUCTIONS.items()}, repeats)
    right = sliding_reduce(x.double(), window)
    errors = {name: (REDUCTIONS[name](x, window) - right).abs().max().item() for name in ("sum", "cumsum")}
    return {"window": window, "ms": {name: statistics.median(found) for name, found in times.items()}, "errors": errors}


def sliding_table(results: dict[str, Any]) -> str:
    """A row a shape and kernel: forward; forward and backward. Bold where the rule of `sliding_conv` takes ours."""
    head = [
        "convolution",
        "kernel",
        "sliding, ms",
        *(f"{name}, times" for name in NAMES[1:]),
        *(f"{n}, MB" for n in NAMES),
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in results["sliding"]["rows"]:
        phases = row["forward"], row["training"]
        cells = ["; ".join(f"{one['ms']['sliding']:.2f}" for one in phases)]
        for name in NAMES[1:]:
            faster = [one["times faster"].get(name) for one in phases]
            cells.append(
                "; ".join("-" if one is None else f"{one:.1f}" for one in faster) if row["agrees"] else "parity failed"
            )
        memory = row["training"]["MB"] or {}
        cells += ["" if name not in memory else f"{memory[name]:.0f}" for name in NAMES]
        kernel = f"{row['kernel']} x {row['kernel']}"
        lines.append("| " + " | ".join([row["shape"], f"**{kernel}**" if row["chosen"] else kernel, *cells]) + " |")
    return (
        "### Sliding convolutions\n\n"
        "Forward; forward and backward. *Times* is the time of the other over ours; *unfolded* is `F.unfold` and a"
        " matrix product, up to a buffer of 256 MB. Kernels in bold are those with which `sliding_conv` takes ours.\n\n"
        + "\n".join(lines)
        + "\n"
    )


def reductions_table(results: dict[str, Any]) -> str:
    measured = results["sliding"]["reductions"]
    names = list(measured[0]["ms"])
    head = ["window", *(f"{name}, ms" for name in names), *(f"error of {name}" for name in measured[0]["errors"])]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for one in measured:
        cells = [str(one["window"]), *(f"{one['ms'][name]:.2f}" for name in names)]
        lines.append("| " + " | ".join([*cells, *(f"{error:.0e}" for error in one["errors"].values())]) + " |")
    return "### Sliding reductions of a signal of 2^20 numbers, forward\n\n" + "\n".join(lines) + "\n"
