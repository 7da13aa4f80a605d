"""Windows that slide: convolutions of few channels, and sums and extremes along an axis."""

from typing import Any

import torch
from torch import Tensor

from convnn.bench.task import USUAL_VALUES, Function, Setting, Task
from convnn.bench.tasks._draws import rows
from convnn.bench.tasks.windows import CONVOLUTIONS
from convnn.ops import sliding

DTYPES = (torch.float32, torch.float64)


def sliding_conv(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int, groups: int) -> Tensor:
    """Return PyTorch's convolution."""
    return CONVOLUTIONS[x.dim()](x, weight, bias, 1, padding, dilation, groups)


def sliding_reduce(x: Tensor, window: int, op: str) -> Tensor:
    """Return the sum, mean or extreme of every window, unfolded; the gradient goes to the first of equal extremes."""
    unfolded = x.unfold(-1, window, 1)
    if op in ("sum", "mean"):
        return unfolded.sum(-1) if op == "sum" else unfolded.mean(-1)
    found = unfolded.detach()
    best = found.argmax(-1, keepdim=True) if op == "max" else found.argmin(-1, keepdim=True)
    return unfolded.gather(-1, best).squeeze(-1)


def _maps(generator: torch.Generator, setting: Setting) -> list[Any]:
    channels, outputs, groups = (setting[name] for name in ("channels", "outputs", "groups"))
    x = rows(generator, setting["batch"], channels, *setting["size"])
    weight = rows(generator, outputs, channels // groups, *setting["kernel"])
    bias = rows(generator, outputs) if setting["bias"] else None
    return [x, weight, bias, setting["padding"], setting["dilation"], groups]


def _sequences(generator: torch.Generator, setting: Setting) -> list[Any]:
    return [rows(generator, setting["batch"], setting["length"]), setting["window"], setting["op"]]


def _sliding_conv(backend: str) -> Function:
    def kernel(x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, dilation: int, groups: int) -> Tensor:
        return sliding.sliding_conv(x, weight, bias, padding=padding, dilation=dilation, groups=groups, backend=backend)

    return kernel


def _sliding_reduce(_: str) -> Function:
    return sliding.sliding_reduce  # in plain PyTorch, whatever the backend


TASKS = [
    Task(
        "sliding.sliding_conv",
        sliding_conv,
        _maps,
        [
            {"batch": 2, "channels": 1, "outputs": 3, "groups": 1, "size": (9, 11), "kernel": (3, 5), "bias": True}
            | {"padding": 2, "dilation": 1},
            {"batch": 3, "channels": 4, "outputs": 2, "groups": 2, "size": (33,), "kernel": (5,), "bias": False}
            | {"padding": 0, "dilation": 2},
            {"batch": 1, "channels": 4, "outputs": 4, "groups": 1, "size": (32, 32), "kernel": (9, 9), "bias": True}
            | {"padding": 4, "dilation": 1},
        ],
        (*USUAL_VALUES, "zeros"),
        DTYPES,
        parameters=(1, 2),
        ours=_sliding_conv,
    ),
    Task(
        "sliding.sliding_reduce",
        sliding_reduce,
        _sequences,
        [
            {"batch": 2, "length": 7, "window": 7, "op": "mean"},
            {"batch": 3, "length": 33, "window": 5, "op": "max"},
            {"batch": 3, "length": 33, "window": 4, "op": "min"},
            {"batch": 2, "length": 256, "window": 31, "op": "sum"},
        ],
        (*USUAL_VALUES, "zeros", "whole"),
        DTYPES,
        ours=_sliding_reduce,
    ),
]
