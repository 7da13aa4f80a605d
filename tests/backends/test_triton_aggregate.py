"""The kernel over the neighbours and its gradients, in Triton, against the definition."""

from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends import reference, triton
from convnn.errors import InputError
from pairwise import one_in, only
from triton_kernels import DEVICE, DTYPES, TOLERANCES, needs_kernels, neighbors, poisoned, rows  # noqa: F401  fixtures

# The interpreter computes with NumPy, which warns of every NaN and overflow.
pytestmark = [needs_kernels, pytest.mark.filterwarnings("ignore::RuntimeWarning")]


FORMS = [
    (1, 1, 1), (3, 5, 1), (17, 63, 1), (65, 64, 1), (16, 65, 1),
    (3, 3, 3), (65, 65, 65), (4, 12, 4),
]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "with_bias", "scored"), one_in(7, product(FORMS, [False, True], [False, True])), ids=str
)
def test_convolve(form: tuple[int, int, int], with_bias: bool, scored: bool) -> None:
    channels, outputs, groups = form
    check_convolve(*case(2, 9, 10, channels, outputs, 4, groups, scored), groups, with_bias)


OTHER_SIZES = [(1, 31, 5, 1), (2, 32, 3, 2), (3, 43, 7, 3), (1, 2, 40, 33), (0, 3, 4, 2), (2, 0, 4, 2)]


@pytest.mark.parametrize(
    ("groups", "size"),
    [
        *only(lambda one: one[1] in OTHER_SIZES[::4], product([1], OTHER_SIZES)),
        *only(lambda one: one[1] in OTHER_SIZES[1::2], product([3], OTHER_SIZES)),
    ],
    ids=str,
)
def test_convolve_of_other_sizes(groups: int, size: tuple[int, int, int, int]) -> None:
    batch, count, length, K = size
    check_convolve(*case(batch, count, length, 3, 3, K, groups, True), groups, True)


@pytest.mark.parametrize(
    ("groups", "dtype"),
    one_in(2, [(1, dtype) for dtype in triton.DTYPES] + [(6, dtype) for dtype in DTYPES]),
    ids=lambda one: str(one) if isinstance(one, torch.dtype) else {1: "dense", 6: "depthwise"}[one],
)
def test_convolve_of_other_types_and_strides(groups: int, dtype: torch.dtype) -> None:
    _, indices, scores, weight = case(2, 5, 7, 6, 6, 4, groups, True)
    values = rows(2, 6, 7, dtype=dtype).transpose(1, 2)
    indices, scores = indices.transpose(0, 1).contiguous().transpose(0, 1), scores[:, :1].expand(2, 5, 4)
    check_convolve(values, indices, scores, weight.to(dtype).transpose(0, 1).contiguous().transpose(0, 1), groups, True)


@pytest.mark.parametrize(("groups", "scored"), one_in(3, product([1, 3], [False, True])))
def test_convolve_when_all_choose_one(groups: int, scored: bool) -> None:
    values, indices, scores, weight = case(2, 20, 4, 3, 3, 4, groups, scored)
    check_convolve(values, torch.full_like(indices, 2), scores, weight, groups, True)


@pytest.mark.parametrize("slots", one_in(3, [1, 2, 3]))
def test_convolve_in_parts_of_the_slots(slots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from convnn.backends.triton import _dense_spread

    monkeypatch.setattr(_dense_spread, "_BUFFER", slots * 2 * 9 * 3 * 4)
    check_convolve(*case(2, 9, 10, 3, 5, 4, 1, True), 1, True)


def test_weight_is_summed_in_several_parts() -> None:
    check_convolve(*case(2, 70, 10, 3, 5, 2, 1, True), 1, True)


@pytest.mark.parametrize("groups", [1, 3], ids=["dense", "depthwise"])
@pytest.mark.parametrize("needed", [0, 1, 2], ids=["values", "scores", "weight"])
def test_only_the_gradients_needed(needed: int, groups: int) -> None:
    needs = [i == needed for i in range(3)]
    found = triton.convolve_backward(rows(2, 9, 3, seed=5), *case(2, 9, 10, 3, 3, 4, groups, True), groups, needs)
    assert [one is not None for one in found] == needs


def case(
    batch: int, count: int, length: int, channels: int, outputs: int, K: int, groups: int, scored: bool
) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    values, indices = rows(batch, length, channels), neighbors(batch, count, K, length)
    scores = rows(batch, count, K, seed=2) if scored else None
    return values, indices, scores, rows(outputs, channels // groups, K, seed=3)


def check_convolve(
    values: Tensor, indices: Tensor, scores: Tensor | None, weight: Tensor, groups: int, with_bias: bool
) -> None:
    bias = rows(len(weight), 2, seed=4, dtype=values.dtype)[:, 0] if with_bias else None
    tolerance = TOLERANCES[values.dtype]
    out = triton.convolve(values, indices, scores, weight, bias, groups)
    assert out.is_contiguous()
    torch.testing.assert_close(out, reference.convolve(values, indices, scores, weight, bias, groups), **tolerance)
    needs = [True, scores is not None, True]
    arguments = (rows(*out.shape, seed=5, dtype=out.dtype), values, indices, scores, weight, groups, needs)
    found = triton.convolve_backward(*arguments)
    for one, expected in zip(found, reference.convolve_backward(*arguments), strict=True):
        assert (one is None) == (expected is None)
        if one is not None:
            torch.testing.assert_close(one, expected, **tolerance)
    for one, again in zip(found, triton.convolve_backward(*arguments), strict=True):
        assert one is again is None or torch.equal(one, again)


@pytest.mark.parametrize("groups", [1, 3], ids=["dense", "depthwise"])
def test_index_minus_one_is_no_neighbour(groups: int) -> None:
    values, indices, scores, weight = case(2, 9, 10, 3, 6, 4, groups, True)
    absent = torch.where(torch.arange(4, device=DEVICE) == indices % 4, -1, indices)
    padded, named = torch.cat([values, values.new_zeros(2, 1, 3)], 1), absent % 11  # a row of zeros after the others
    out = triton.convolve(values, absent, scores, weight, None, groups)
    torch.testing.assert_close(out, reference.convolve(padded, named, scores, weight, None, groups))
    grad, needs = rows(*out.shape, seed=5), [True, True, True]
    found = triton.convolve_backward(grad, values, absent, scores, weight, groups, needs)
    of_padded, *others = reference.convolve_backward(grad, padded, named, scores, weight, groups, needs)
    torch.testing.assert_close(found, (of_padded[:, :10], *others), **TOLERANCES[torch.float32])


@pytest.mark.skipif(not triton.INTERPRETS, reason="indices are checked only in the interpreter")
@pytest.mark.parametrize("wrong", [-2, 10])
def test_indices_outside_are_found_in_the_interpreter(wrong: int) -> None:
    values, indices, scores, weight = case(1, 2, 10, 3, 3, 2, 1, False)
    indices[0, 1, 1] = wrong
    with pytest.raises(InputError, match="must be those of 10 rows, or -1 for none"):
        triton.convolve(values, indices, scores, weight, None, 1)


def test_a_window_is_a_convolution() -> None:
    x, weight = rows(1, 3, 5, 6), rows(4, 3, 3, 3, seed=1)
    places = torch.full((7, 8), -1, device=DEVICE)
    places[1:-1, 1:-1] = torch.arange(30, device=DEVICE).view(5, 6)
    indices = places.unfold(0, 3, 1).unfold(1, 3, 1).reshape(1, 30, 9)
    out = triton.convolve(x.flatten(2).mT, indices, None, weight.flatten(2), None, 1)
    torch.testing.assert_close(out.mT.view(1, 4, 5, 6), F.conv2d(x, weight, padding=1), rtol=1e-4, atol=1e-4)
