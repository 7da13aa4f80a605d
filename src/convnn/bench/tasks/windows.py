"""Windows: kernels of channels on maps, and convolutions that are undone."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.bench.task import USUAL_VALUES, Function, Setting, Task
from convnn.bench.tasks._draws import rows
from convnn.ops import triangular, windows

CONVOLUTIONS = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, dilation: int) -> Tensor:
    """Return PyTorch's convolution with as many groups as channels."""
    return CONVOLUTIONS[x.dim()](x, weight, bias, stride, padding, dilation, x.shape[1])


def solve(z: Tensor, weight: Tensor) -> Tensor:
    """Return x whose convolution with those above and to the left is z, position by position, channel by channel."""
    known: dict[tuple[int, int, int], Tensor] = {}
    last = weight[:, :, -1, -1]
    channels, (rows_, columns) = z.shape[1], weight.shape[2:]
    for i in range(z.shape[2]):
        for j in range(z.shape[3]):
            for c in range(channels):
                rest = z[:, c, i, j]
                for a in range(min(i + 1, rows_)):
                    for b in range(min(j + 1, columns)):
                        for d in range(channels if a or b else c):
                            rest = rest - weight[c, d, rows_ - 1 - a, columns - 1 - b] * known[d, i - a, j - b]
                known[c, i, j] = rest / last[c, c]
    return torch.stack([known[place] for place in sorted(known)], 1).view_as(z)


def _maps(generator: torch.Generator, setting: Setting) -> list[Any]:
    x = rows(generator, setting["batch"], setting["channels"], *setting["size"])
    weight = rows(generator, setting["channels"], 1, *setting["kernel"])
    bias = rows(generator, setting["channels"]) if setting["bias"] else None
    return [x, weight, bias, setting["stride"], setting["padding"], setting["dilation"]]


def _triangles(generator: torch.Generator, setting: Setting) -> list[Any]:
    channels = setting["channels"]
    weight = 0.2 * rows(generator, channels, channels, *setting["kernel"])
    weight[:, :, -1, -1] = weight[:, :, -1, -1].tril(-1) + torch.eye(channels)
    return [rows(generator, setting["batch"], channels, *setting["size"]), weight]


def _depthwise(backend: str) -> Function:
    def kernel(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int, dilation: int) -> Tensor:
        return windows.depthwise(x, weight, bias, stride=stride, padding=padding, dilation=dilation, backend=backend)

    return kernel


def _solve(backend: str) -> Function:
    def kernel(z: Tensor, weight: Tensor) -> Tensor:
        return triangular.solve(z, weight, backend=backend)

    return kernel


_USUAL = {"stride": 1, "dilation": 1}

TASKS = [
    Task(
        "windows.depthwise",
        depthwise,
        _maps,
        [
            {"batch": 2, "channels": 3, "size": (9, 11), "kernel": (3, 3), "bias": True, "padding": 1, **_USUAL},
            {"batch": 1, "channels": 17, "size": (8, 7), "kernel": (7, 5), "bias": False, "padding": 3, **_USUAL},
            {
                "batch": 3,
                "channels": 4,
                "size": (33,),
                "kernel": (5,),
                "bias": True,
                "padding": 2,
                "stride": 2,
                "dilation": 2,
            },
            {"batch": 2, "channels": 16, "size": (16, 16), "kernel": (11, 11), "bias": True, "padding": 5, **_USUAL},
        ],
        (*USUAL_VALUES, "zeros"),
        (torch.float32, torch.float64),
        parameters=(1, 2),
        ours=_depthwise,
    ),
    Task(
        "triangular.solve",
        solve,
        _triangles,
        [
            {"batch": 2, "channels": 2, "size": (3, 4), "kernel": (2, 2)},
            {"batch": 1, "channels": 1, "size": (5, 2), "kernel": (3, 2)},
            {"batch": 3, "channels": 3, "size": (3, 3), "kernel": (2, 2)},
        ],
        USUAL_VALUES,
        (torch.float32, torch.float64),
        parameters=(1,),
        ours=_solve,
    ),
]
