"""The search in Triton against the definition, bit for bit."""

from itertools import product

import pytest
import torch
from torch import Tensor

from convnn.backends import reference, triton
from ill_conditioned import cases
from pairwise import one_in, only, sweep
from triton_kernels import DEVICE, DTYPES, METRICS, needs_kernels, poisoned, rows  # noqa: F401  fixtures

# The interpreter computes with NumPy, which warns of every NaN and overflow.
pytestmark = [needs_kernels, pytest.mark.filterwarnings("ignore::RuntimeWarning")]


def assert_same_choice(queries: Tensor, keys: Tensor, K: int, metric: str, *restrictions: Tensor | None) -> None:
    restrictions = restrictions or (None, None)
    chosen = triton.nearest(queries, keys, K, metric, *restrictions)
    expected = reference.nearest(queries, keys, K, metric, *restrictions)
    torch.testing.assert_close(chosen, expected, rtol=0, atol=0)


SIZES = [
    (63, 1, 9), (64, 3, 9), (65, 65, 9), (1, 3, 1), (65, 3, 1),
    (40, 8, 31), (66, 9, 32), (40, 3, 33), (64, 3, 64),
]  # fmt: skip


@pytest.mark.parametrize(("size", "metric"), one_in(7, product(SIZES, METRICS)), ids=str)
def test_nearest(size: tuple[int, int, int], metric: str) -> None:
    length, channels, K = size
    assert_same_choice(rows(2, 3, channels), rows(2, length, channels, seed=1), K, metric)


@sweep(size=[(31, 5), (33, 2), (32, 1)], sampled=[False, True], metric=METRICS)
def test_nearest_knows_itself(size: tuple[int, int], sampled: bool, metric: str) -> None:
    count, K = size
    keys, positions = rows(1, 70, 4), torch.arange(70, device=DEVICE)[5 : 5 + count]
    candidates = torch.arange(0, 70, 7, device=DEVICE) if sampled else None
    assert_same_choice(keys[:, positions], keys, K, metric, positions, candidates)


def test_nearest_among_fewer_others_repeats_itself() -> None:
    keys, positions = rows(2, 9, 3), torch.arange(9, device=DEVICE)
    assert_same_choice(keys, keys, 4, "cosine", positions, torch.tensor([1, 4, 6], device=DEVICE))


TONES = {
    "constant": [[0.3, 0.3, 0.3]],
    "black": [[0.0, 0.0, 0.0]],
    "two-grays": [[0.1, 0.1, 0.1], [0.7, 0.7, 0.7]],
    "two-colours": [[0.1, 0.5, 0.9], [0.7, 0.2, 0.3]],
}


@pytest.mark.parametrize(("tones", "metric"), one_in(5, product(TONES, METRICS)))
def test_nearest_takes_equal_scores_by_lowest_index(tones: str, metric: str) -> None:
    which = torch.randint(len(TONES[tones]), (1, 67), generator=torch.Generator().manual_seed(0))
    keys, positions = torch.tensor(TONES[tones])[which].to(DEVICE), torch.arange(67, device=DEVICE)
    assert_same_choice(keys, keys, 9, metric, positions, None)
    assert_same_choice(keys[:, :4], keys, 9, metric)


@pytest.mark.parametrize("metric", one_in(2, METRICS))
def test_nearest_of_few_levels(metric: str) -> None:
    keys = torch.randint(3, (1, 66, 12), generator=torch.Generator().manual_seed(0)).to(DEVICE) / 7
    assert_same_choice(keys[:, :20], keys, 9, metric)


@pytest.mark.parametrize(
    ("odd", "channels", "metric"), one_in(7, product([float("nan"), float("inf"), 0.0, 1e30, 1e-30], [3, 20], METRICS))
)
def test_nearest_of_odd_rows(odd: float, channels: int, metric: str) -> None:
    keys = rows(1, 20, channels)
    keys[:, [2, 5, 11]] = odd
    positions = torch.arange(20, device=DEVICE)
    assert_same_choice(keys, keys, 19, metric, positions, None)


@pytest.mark.parametrize(("metric", "dtype"), one_in(4, product(METRICS, DTYPES)), ids=str)
def test_nearest_of_other_types_and_strides(metric: str, dtype: torch.dtype) -> None:
    keys = rows(2, 18, 10, dtype=dtype).transpose(1, 2)
    assert_same_choice(keys[:, ::2], keys, 4, metric)
    assert_same_choice(keys[:1, :1].expand(2, 3, 18), keys, 4, metric)


@pytest.mark.parametrize(("count", "longest"), only(lambda one: one[0] < 1000, [(27, 35), (1000, 70)]))
def test_nearest_of_rows_that_are_hard_to_tell_apart(count: int, longest: int) -> None:
    for case in cases(count, longest=longest, widest=40):
        (*arguments,) = (one.to(DEVICE) if isinstance(one, Tensor) else one for one in case[1:])
        assert_same_choice(*arguments)


@pytest.mark.parametrize("known", only(bool, [True, False]), ids=["positions", "queries"])
def test_nearest_in_several_passes(known: bool, few_slots: None) -> None:
    keys = rows(1, 20, 3)
    keys[:, 10:18] = keys[:, :1]  # a tie across two passes
    assert_same_choice(keys, keys, 10, "euclidean", torch.arange(20, device=DEVICE) if known else None, None)
