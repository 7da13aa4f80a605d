"""Sliding convolutions of the compiled core against PyTorch's in float64, for every instruction set."""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends import cpu

pytestmark = pytest.mark.skipif(bool(cpu.unavailable_reasons()), reason="the core is not compiled")

CONVOLVE = (F.conv1d, F.conv2d, F.conv3d)


class Case(NamedTuple):
    sides: Sequence[int]
    kernel: Sequence[int]
    padding: Sequence[int]
    dilation: Sequence[int]
    channels: tuple[int, int, int] = (1, 1, 1)  # input and output channels of a group, and groups
    batch: int = 1

    def tensors(self, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return map, weight, bias and a gradient of the output."""
        generator = torch.Generator().manual_seed(sum(self.sides) + sum(self.channels))
        inputs, outputs, groups = self.channels
        shape = (self.batch, inputs * groups, *self.sides)
        kernel = (outputs * groups, inputs, *self.kernel)
        x, weight, bias = (
            torch.randn(size, generator=generator, dtype=torch.float64) for size in (shape, kernel, kernel[:1])
        )
        grad = torch.randn(_convolution(self, x, weight, bias).shape, generator=generator, dtype=torch.float64)
        return x.to(dtype), weight.to(dtype), bias.to(dtype), grad.to(dtype)


EACH = {
    "one channel": Case((9, 11), (3, 5), (1, 2), (1, 1)),
    "vectors and a remainder": Case((20, 83), (7, 7), (3, 3), (1, 1), batch=2),
    "channels of a block": Case((5, 9), (3, 7), (1, 3), (1, 1), (3, 8, 1)),
    "channels of several blocks": Case((7, 66), (3, 3), (1, 1), (1, 1), (2, 19, 2)),
    "few outputs of many inputs": Case((9, 8), (3, 4), (1, 2), (1, 1), (5, 3, 2)),
    "a kernel for each channel": Case((13, 12), (5, 5), (2, 2), (1, 1), (1, 1, 7), batch=3),
    "interleaved images": Case((14, 14), (13, 13), (6, 6), (1, 1), (1, 1, 2), batch=5),
    "kernel larger than the map": Case((5, 4), (13, 9), (6, 4), (1, 1), (2, 2, 1)),
    "extent larger than a vector": Case((40, 6), (3, 1), (20, 0), (17, 1), (1, 2, 1)),
    "dilation": Case((15, 43), (3, 4), (3, 9), (3, 5), (2, 5, 1)),
    "no padding": Case((8, 9), (5, 3), (0, 0), (1, 1), (1, 4, 1)),
    "more padding than kernel": Case((4, 3), (2, 2), (5, 4), (1, 1), (1, 1, 2)),
    "slabs": Case((67, 5), (5, 3), (3, 1), (2, 1), (1, 2, 1)),
    "tall": Case((30, 6), (11, 1), (5, 0), (1, 1)),
    "a signal": Case((50,), (7,), (3,), (2,), (4, 4, 1)),
    "slabs of a signal": Case((9001,), (5,), (4,), (3,)),
    "a volume": Case((5, 6, 7), (3, 5, 1), (1, 2, 0), (1, 1, 2), (2, 2, 2)),
    "slabs of a volume": Case((33, 2, 5), (3, 1, 3), (1, 0, 1), (2, 1, 1), (1, 4, 1)),
    "one position": Case((1, 1), (3, 3), (1, 1), (1, 1)),
    "one tap": Case((4, 5), (1, 1), (0, 0), (1, 1), (3, 2, 1)),
    "31 x 31": Case((32, 40), (31, 31), (15, 15), (1, 1)),
    "empty batch": Case((6, 5), (3, 3), (1, 1), (1, 1), batch=0),
}


def _convolution(case: Case, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return CONVOLVE[len(case.sides) - 1](x, weight, bias, 1, case.padding, case.dilation, case.channels[2])


def _gradients(
    case: Case, tensors: tuple[Tensor, ...], needs: Sequence[bool] = (True, True)
) -> Sequence[Tensor | None]:
    x, weight, _, grad = tensors
    return cpu.sliding_backward(grad, x, weight, case.padding, case.dilation, needs)


def _results(case: Case, tensors: tuple[Tensor, ...]) -> list[Tensor | None]:
    return [cpu.sliding(*tensors[:3], case.padding, case.dilation), *_gradients(case, tensors)]


def _definition(case: Case, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    x, weight, bias, grad = (tensor.double() for tensor in tensors)
    x, weight = x.requires_grad_(), weight.requires_grad_()
    out = _convolution(case, x, weight, bias)
    return [out.detach(), *torch.autograd.grad(out, (x, weight), grad)]


def _differs(case: Case, dtype: torch.dtype) -> list[str]:
    """Return what is not that of the definition, by more than rounding, in terms of the sum of absolute values."""
    tensors = case.tensors(dtype)
    expected, sizes = _definition(case, tensors), _definition(case, tuple(tensor.abs() for tensor in tensors))
    tolerance = 1e-12 if dtype == torch.float64 else 3e-6
    differing = []
    for name, one, right, size in zip(
        ("output", "map", "weight"), _results(case, tensors), expected, sizes, strict=True
    ):
        assert one is not None
        same_kind = one.dtype == dtype and one.shape == right.shape
        if not same_kind or not ((one.double() - right).abs() <= tolerance * (1 + size)).all():
            differing.append(name)
    return differing


@pytest.mark.parametrize("name", EACH)
def test_windows_are_those_of_the_definition(core: str, name: str) -> None:
    for dtype in (torch.float64, torch.float32):
        assert not _differs(EACH[name], dtype)


@pytest.mark.parametrize("name", ["channels of several blocks", "slabs", "slabs of a signal", "interleaved images"])
def test_bits_do_not_depend_on_the_number_of_threads(core: str, name: str, each_thread_count: tuple[int, ...]) -> None:
    tensors = EACH[name].tensors(torch.float32)
    results = []
    for threads in each_thread_count:
        torch.set_num_threads(threads)
        results.append(_results(EACH[name], tensors))
    for one in results[1:]:
        assert all(torch.equal(found, first) for found, first in zip(one, results[0], strict=True))


def test_one_gradient_is_that_of_both(core: str) -> None:
    case = EACH["few outputs of many inputs"]
    tensors = case.tensors(torch.float32)
    both = _gradients(case, tensors)
    for needs in ((True, False), (False, True)):
        for one, need, right in zip(_gradients(case, tensors, needs), needs, both, strict=True):
            assert (one is not None) == need
            assert one is None or torch.equal(one, right)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_types_are_computed_in_float32(core: str, dtype: torch.dtype) -> None:
    case = EACH["channels of a block"]
    tensors = case.tensors(dtype)
    found, wide = _results(case, tensors), _results(case, tuple(one.float() for one in tensors))
    assert all(torch.equal(a, b.to(dtype)) for a, b in zip(found, wide, strict=True))


@pytest.mark.parametrize("bad", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize("place", [0, 1, 3], ids=["map", "weight", "grad"])
def test_what_is_not_finite_reaches_what_it_is_part_of(core: str, place: int, bad: float) -> None:
    """Check the results that contain such a number, and that no other group changes."""
    case = Case((9, 10), (5, 5), (2, 2), (1, 2), (2, 3, 3))
    tensors = [*case.tensors(torch.float32)]
    before = _results(case, tuple(tensors))
    mark, changed = torch.zeros_like(tensors[place]), tensors[place].clone()
    at = (3, 0, 0, 1) if place == 1 else (0, 3 if place == 3 else 2, 0, 1)  # of the second group
    mark[at], changed[at] = 1, bad
    after = _results(case, (*tensors[:place], changed, *tensors[place + 1 :]))
    ones = [torch.ones_like(tensor) for tensor in tensors]
    ones[2].zero_()
    contain = _definition(case, (*ones[:place], mark, *ones[place + 1 :]))
    linear = {0: (0, 2), 1: (0, 1), 3: (1, 2)}[place]  # the results that the changed tensor is part of
    for i, (axis, first, now, count) in enumerate(zip((1, 1, 0), before, after, contain, strict=True)):
        assert first is not None
        assert now is not None
        if i in linear:
            assert not now[count != 0].isfinite().any()
        else:
            assert torch.equal(now, first)
        third = first.shape[axis] // 3
        for group in (0, 2):
            part = slice(group * third, (group + 1) * third)
            assert torch.equal(now.movedim(axis, 0)[part], first.movedim(axis, 0)[part])


def _random_case(draw: random.Random) -> Case | None:
    axes = draw.choice([1, 2, 2, 3])
    sides = [draw.randint(1, {1: 200, 2: 40, 3: 9}[axes]) for _ in range(axes)]
    kernel = [draw.choice([1, 2, 3, 4, 5, 7, 9, 13, 17]) if axes < 3 else draw.randint(1, 6) for _ in range(axes)]
    dilation, padding = [draw.choice([1, 1, 1, 2, 3]) for _ in range(axes)], [draw.randint(0, 12) for _ in range(axes)]
    if any(n + 2 * p <= d * (k - 1) for n, p, d, k in zip(sides, padding, dilation, kernel, strict=True)):
        return None
    channels = draw.choice([1, 1, 2, 3]), draw.choice([1, 1, 2, 4, 5, 8, 9, 17]), draw.choice([1, 1, 2, 5])
    return Case(sides, kernel, padding, dilation, channels, draw.randint(1, 5))


@pytest.mark.long
def test_random_windows(core: str) -> None:
    draw, tried = random.Random(111), 0
    while tried < 1000:
        case = _random_case(draw)
        if case is not None:
            tried += 1
            assert not _differs(case, draw.choice([torch.float32, torch.float64])), case
