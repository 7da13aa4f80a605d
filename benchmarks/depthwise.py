"""Depthwise convolutions with large kernels, alone and in networks: PyTorch's, in both memory formats, and ours."""

import copy
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.contestants import Case, step
from benchmarks.layers import near
from convnn.bench.measure import milliseconds, peak_megabytes, ratio
from convnn.nn import replace_depthwise

NAMES = ("PyTorch", "PyTorch, channels last", "ours")
DILATED = ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5))  # beside a kernel of 13: UniRepLKNet


def measure_depthwise(case: Case, sides: Sequence[int], repeats: int, with_memory: bool) -> dict[str, Any]:
    """Measure a depthwise convolution of each contestant: forward alone, and forward and backward."""
    rows = {}
    for side in sides:
        rows[side] = {"agrees": _agree(side, case)}
        for training in (False, True):
            make = partial(_make_step, case=case, side=side, training=training)
            times = milliseconds({name: make(name)[1] for name in NAMES}, repeats)
            rows[side]["training" if training else "forward"] = _compared(times) | {
                "MB": {name: peak_megabytes(make, name) for name in NAMES} if with_memory and training else None
            }
        print(side, rows[side], flush=True)
    return {"case": case._asdict(), "rows": rows, "agrees": all(row["agrees"] for row in rows.values())}


def measure_large_kernels(batch: int, side: int, repeats: int) -> dict[str, Any]:
    """Measure training steps of the bodies of two networks, at their published widths and depths."""
    rows = {}
    for name, make in BODIES.items():
        steps = {contestant: _make_body_step(make, contestant, batch, side) for contestant in NAMES}
        rows[name] = _compared(milliseconds(steps, repeats))
        print(name, rows[name], flush=True)
    return {"batch": batch, "side": side, "rows": rows}


def _compared(times: dict[str, list[float]]) -> dict[str, Any]:
    """Return medians, and how much faster ours is than each, and than the better of PyTorch's two."""
    better = [min(pair) for pair in zip(*(times[name] for name in NAMES[:2]), strict=True)]
    faster = {name: ratio(times, name, "ours") for name in NAMES[:2]}
    faster["the better"] = statistics.median(a / b for a, b in zip(better, times["ours"], strict=True))
    return {"ms": {name: statistics.median(times[name]) for name in NAMES}, "ours is faster": faster}


def _make_step(name: str, case: Case, side: int, training: bool) -> tuple[Callable[[], object], Callable[[], object]]:
    """Make a step of a convolution on a tiny map and one on the case."""
    conv = _prepared(_depthwise(case.inputs, side), name)
    maps = [torch.randn(batch, case.inputs, size, size) for batch, size in ((1, 4), (case.batch, case.side))]
    first, second = (_in_format(x, name).requires_grad_(training) for x in maps)
    return partial(step, conv, first, training), partial(step, conv, second, training)


def _make_body_step(make: Callable[[], nn.Module], name: str, batch: int, side: int) -> Callable[[], object]:
    torch.manual_seed(0)
    body = _prepared(make(), name)
    return partial(step, body, _in_format(torch.randn(batch, 3, side, side), name), True)


def _prepared(model: nn.Module, name: str) -> nn.Module:
    if name == "ours":
        model = nn.Sequential(model)  # so that a single convolution has a name
        replace_depthwise(model)
    return model if name == "PyTorch" else model.to(memory_format=torch.channels_last)


def _in_format(x: Tensor, name: str) -> Tensor:
    return x if name == "PyTorch" else x.contiguous(memory_format=torch.channels_last)


def _agree(side: int, case: Case) -> bool:
    """Return whether output and all gradients of ours are those of PyTorch in float64."""
    torch.manual_seed(0)
    plain = _depthwise(case.inputs, side)
    ours = _prepared(copy.deepcopy(plain), "ours")
    data = torch.randn(min(case.batch, 2), case.inputs, case.side, case.side)
    results = []
    for model, x in ((ours, data.clone()), (plain.double(), data.double())):
        x.requires_grad_()
        out = model(x)
        out.square().sum().backward()
        results.append([out, x.grad, *(p.grad for p in model.parameters())])
    return all(near(found, right, 1e-5) for found, right in zip(*results, strict=True))


def _depthwise(channels: int, side: int, dilation: int = 1, **settings: Any) -> nn.Conv2d:
    padding = dilation * (side // 2)
    return nn.Conv2d(channels, channels, side, padding=padding, dilation=dilation, groups=channels, **settings)


class Branches(nn.Module):
    """The sum of depthwise convolutions, each with its own batch normalisation."""

    def __init__(self, channels: int, branches: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(_depthwise(channels, *branch, bias=False), nn.BatchNorm2d(channels)) for branch in branches
        )

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches)


class Residual(nn.Sequential):
    """Parts in a row, added to their input."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


def _pointwise(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


def _feed_forward(width: int) -> Residual:
    return Residual(nn.BatchNorm2d(width), _pointwise(width, 4 * width), nn.GELU(), _pointwise(4 * width, width))


def _replk(width: int, branches: Sequence[tuple[int, int]]) -> nn.Sequential:
    before = nn.BatchNorm2d(width), _pointwise(width, width), nn.ReLU()
    block = Residual(*before, Branches(width, branches), nn.ReLU(), _pointwise(width, width))
    return nn.Sequential(block, _feed_forward(width))


def _unireplk(width: int, branches: Sequence[tuple[int, int]]) -> nn.Sequential:
    wider = nn.Conv2d(width, 4 * width, 1), nn.GELU()
    return Residual(Branches(width, branches), *wider, nn.Conv2d(4 * width, width, 1), nn.BatchNorm2d(width))


def _body(
    block: Callable[..., nn.Module], widths: Sequence[int], branches: Sequence[Sequence[Sequence[tuple[int, int]]]]
) -> nn.Sequential:
    """Put blocks with these branches, for each stage and block, behind a stem and between halvings of the map."""
    parts: list[nn.Module] = [nn.Conv2d(3, widths[0], 4, stride=4), nn.BatchNorm2d(widths[0])]
    for stage, (width, of_blocks) in enumerate(zip(widths, branches, strict=True)):
        if stage:
            parts += [nn.Conv2d(widths[stage - 1], width, 3, stride=2, padding=1), nn.BatchNorm2d(width)]
        parts += [block(width, of_block) for of_block in of_blocks]
    return nn.Sequential(*parts)


def _replknet_31b() -> nn.Sequential:
    branches = [[[(side, 1), (5, 1)]] * depth for side, depth in zip((31, 29, 27, 13), (2, 2, 18, 2), strict=True)]
    return _body(_replk, (128, 256, 512, 1024), branches)


def _unireplknet_t() -> nn.Sequential:
    small, large = [(3, 1)], [(13, 1), *DILATED]
    return _body(_unireplk, (80, 160, 320, 640), [[small] * 3, [large] * 3, [large, small, small] * 6, [large] * 3])


BODIES = {"RepLKNet-31B": _replknet_31b, "UniRepLKNet-T": _unireplknet_t}
