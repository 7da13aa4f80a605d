"""Depthwise windows of the compiled core against PyTorch's convolution in float64, for every instruction set."""

import math
import random
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends import cpu, reference

pytestmark = pytest.mark.skipif(bool(cpu.unavailable_reasons()), reason="the core is not compiled")

CONVOLVE = (F.conv1d, F.conv2d, F.conv3d)


class Case(NamedTuple):
    sides: Sequence[int]
    kernel: Sequence[int]
    stride: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    channels: int = 5
    batch: int = 2

    def tensors(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return map, weight, bias and a gradient of the output."""
        generator = torch.Generator().manual_seed(sum(self.sides) + self.channels)
        shapes = (self.batch, self.channels, *self.sides), (self.channels, 1, *self.kernel), (self.channels,)
        x, weight, bias = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
        out = CONVOLVE[len(self.sides) - 1](x, weight, bias, *self.geometry, self.channels)
        grad = torch.randn(out.shape, generator=generator, dtype=torch.float64)
        return x.to(dtype), weight.to(dtype), bias.to(dtype), grad.to(dtype)

    @property
    def geometry(self) -> Any:
        return self.stride, self.padding, self.dilation


EACH = {
    "odd": Case((9, 11), (3, 5), (1, 1), (1, 2), (1, 1)),
    "lines of channels": Case((6, 7), (3, 3), (1, 1), (1, 1), (1, 1), channels=35),
    "kernel larger than the map": Case((5, 4), (13, 9), (1, 1), (6, 4), (1, 1)),
    "stride": Case((11, 14), (5, 5), (2, 3), (2, 2), (1, 1), channels=17),
    "stride larger than the kernel": Case((9, 9), (2, 2), (3, 3), (0, 0), (1, 1)),
    "dilation": Case((15, 13), (3, 4), (1, 1), (3, 2), (3, 2)),
    "both": Case((17, 12), (3, 3), (2, 3), (4, 1), (3, 2), channels=9),
    "no padding": Case((8, 9), (5, 3), (1, 1), (0, 0), (1, 1)),
    "more padding than kernel": Case((4, 3), (2, 2), (1, 1), (5, 4), (1, 1)),
    "tall": Case((30, 6), (11, 1), (1, 1), (5, 0), (1, 1)),
    "wide": Case((6, 30), (1, 21), (1, 1), (0, 10), (1, 1)),
    "a signal": Case((50,), (7,), (2,), (3,), (2,), channels=20),
    "a volume": Case((5, 6, 7), (3, 5, 1), (2, 1, 1), (1, 2, 0), (1, 1, 2)),
    "a long volume": Case((3, 4, 5), (1, 3, 7), (1, 1, 1), (0, 1, 3), (1, 1, 1)),
    "one position": Case((1, 1), (3, 3), (1, 1), (1, 1), (1, 1)),
    "slabs": Case((67, 5), (5, 3), (2, 1), (3, 1), (1, 1), channels=3, batch=1),
    "31 x 31": Case((32, 32), (31, 31), (1, 1), (15, 15), (1, 1), channels=3, batch=1),
    "empty batch": Case((6, 5), (3, 3), (1, 1), (1, 1), (1, 1), batch=0),
}


def _gradients(
    case: Case, tensors: tuple[Tensor, ...], needs: Sequence[bool] = (True, True)
) -> Sequence[Tensor | None]:
    x, weight, _, grad = tensors
    return cpu.depthwise_backward(grad, x, weight, *case.geometry, needs)


def _definition(case: Case, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    x, weight, bias, grad = (tensor.double() for tensor in tensors)
    x, weight = x.requires_grad_(), weight.requires_grad_()
    out = CONVOLVE[len(case.sides) - 1](x, weight, bias, *case.geometry, case.channels)
    return [out.detach(), *torch.autograd.grad(out, (x, weight), grad)]


def _differs(case: Case, dtype: torch.dtype) -> list[str]:
    """Return what is not that of the definition, by more than rounding, in terms of the sum of absolute values."""
    tensors = case.tensors(dtype)
    x, weight, bias, _ = tensors
    found = [cpu.depthwise(x, weight, bias, *case.geometry), *_gradients(case, tensors)]
    expected, sizes = _definition(case, tensors), _definition(case, tuple(tensor.abs() for tensor in tensors))
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    differing = []
    for name, one, right, size in zip(("output", "map", "weight"), found, expected, sizes, strict=True):
        assert one is not None
        same_kind = one.dtype == dtype and one.shape == right.shape
        if not same_kind or ((one.double() - right).abs() > tolerance * (1 + size)).any():
            differing.append(name)
    return differing


@pytest.mark.parametrize("name", EACH)
def test_windows_are_those_of_the_definition(core: str, name: str) -> None:
    for dtype in (torch.float64, torch.float32):
        assert not _differs(EACH[name], dtype)


def test_definition_is_the_sum_over_the_window() -> None:
    case = EACH["both"]
    x, weight, bias, grad = case.tensors()
    out, grad_x, grad_weight = torch.zeros_like(grad), torch.zeros_like(x), torch.zeros_like(weight)
    out += bias.view(-1, 1, 1)
    for o in torch.cartesian_prod(*(torch.arange(n) for n in grad.shape[2:])).tolist():
        for k in torch.cartesian_prod(*(torch.arange(n) for n in case.kernel)).tolist():
            i, j = (a * s + b * d - p for a, b, s, p, d in zip(o, k, *case.geometry, strict=True))
            if 0 <= i < x.shape[2] and 0 <= j < x.shape[3]:
                tap, at = weight[:, 0, k[0], k[1]], grad[:, :, o[0], o[1]]
                out[:, :, o[0], o[1]] += tap * x[:, :, i, j]
                grad_x[:, :, i, j] += tap * at
                grad_weight[:, 0, k[0], k[1]] += (at * x[:, :, i, j]).sum(0)
    gradients = reference.depthwise_backward(grad, x, weight, *case.geometry, (True, True))
    for found, right in zip(
        (reference.depthwise(x, weight, bias, *case.geometry), *gradients), (out, grad_x, grad_weight), strict=True
    ):
        torch.testing.assert_close(found, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["lines of channels", "both", "slabs", "31 x 31", "a volume"])
def test_bits_do_not_depend_on_the_number_of_threads(core: str, name: str, each_thread_count: tuple[int, ...]) -> None:
    tensors = EACH[name].tensors(torch.float32)
    results = []
    for threads in each_thread_count:
        torch.set_num_threads(threads)
        results.append(_gradients(EACH[name], tensors))
    for one in results[1:]:
        assert all(torch.equal(found, first) for found, first in zip(one, results[0], strict=True))


def test_one_gradient_is_that_of_both(core: str) -> None:
    tensors = EACH["odd"].tensors(torch.float32)
    of_map, of_weight = _gradients(EACH["odd"], tensors)
    only_map, none = _gradients(EACH["odd"], tensors, (True, False))
    assert none is None
    none, only_weight = _gradients(EACH["odd"], tensors, (False, True))
    assert none is None
    assert torch.equal(only_map, of_map)
    assert torch.equal(only_weight, of_weight)


def test_memory_order_does_not_matter(core: str) -> None:
    case = EACH["lines of channels"]
    tensors = case.tensors(torch.float32)
    first = _gradients(case, tensors)
    spread = tuple(one.repeat_interleave(2, dim=-1)[..., ::2] if one.dim() > 1 else one for one in tensors)
    in_rows = tuple(one.contiguous(memory_format=torch.channels_last) if one.dim() == 4 else one for one in tensors)
    for other in (spread, in_rows):
        assert all(torch.equal(a, b) for a, b in zip(_gradients(case, other), first, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_are_computed_in_float32(core: str, dtype: torch.dtype) -> None:
    tensors = EACH["stride"].tensors(dtype)
    found = _gradients(EACH["stride"], tensors)
    wide = _gradients(EACH["stride"], tuple(one.float() for one in tensors))
    assert all(torch.equal(a, b.to(dtype)) for a, b in zip(found, wide, strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize("place", [0, 1, 3], ids=["map", "weight", "grad"])
def test_what_is_not_finite_reaches_what_it_is_part_of(core: str, place: int, bad: float) -> None:
    """Check the results that contain such a number, and that no other channel changes."""
    case = Case((9, 10), (5, 5), (2, 1), (2, 2), (1, 2), channels=18)
    tensors = [*case.tensors(torch.float32)]
    before = _gradients(case, tuple(tensors))
    mark, changed = torch.zeros_like(tensors[place]), tensors[place].clone()
    at = (16, 0, 0, 1) if place == 1 else (0, 16, 0, 1)
    mark[at], changed[at] = 1, bad
    after = _gradients(case, (*tensors[:place], changed, *tensors[place + 1 :]))
    ones = [torch.ones_like(tensor) for tensor in tensors]
    contain = _definition(case, (*ones[:place], mark, *ones[place + 1 :]))[1:]
    for axis, (first, now, count) in enumerate(zip(before, after, contain, strict=True)):
        if axis == place:  # the gradient of what changed does not contain it
            assert torch.equal(now, first)
            continue
        assert not now[count != 0].isfinite().any()
        others = torch.tensor([channel for channel in range(18) if channel != 16])
        channels = 1 - axis
        assert torch.equal(now.index_select(channels, others), first.index_select(channels, others))


def _random_case(draw: random.Random) -> Case | None:
    axes = draw.choice([1, 2, 2, 3])
    sides = [draw.randint(1, {1: 70, 2: 20, 3: 9}[axes]) for _ in range(axes)]
    kernel = [draw.choice([1, 2, 3, 4, 5, 7, 9, 13, 17]) if axes < 3 else draw.randint(1, 6) for _ in range(axes)]
    stride, dilation = ([draw.choice([1, 1, 1, 2, 3, 5]) for _ in range(axes)] for _ in range(2))
    padding = [draw.randint(0, 12) for _ in range(axes)]
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    if any(size + 2 * p < r for size, p, r in zip(sides, padding, reach, strict=True)):
        return None
    return Case(
        sides, kernel, stride, padding, dilation, draw.choice([1, 2, 7, 8, 15, 16, 17, 33, 64]), draw.randint(1, 3)
    )


@pytest.mark.long
def test_random_windows(core: str) -> None:
    draw, tried = random.Random(23), 0
    while tried < 1000:
        case = _random_case(draw)
        if case is not None:
            tried += 1
            assert not _differs(case, draw.choice([torch.float32, torch.float64])), case
