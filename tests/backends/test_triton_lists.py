"""The search in lists, in Triton, against the definition, bit for bit."""

from itertools import product

import pytest
import torch
from torch import Tensor

from convnn.backends import reference, triton
from convnn.ops import select
from ill_conditioned import cases
from pairwise import one_in
from triton_kernels import DEVICE, DTYPES, METRICS, needs_kernels, poisoned, rows  # noqa: F401  fixtures

# The interpreter computes with NumPy, which warns of every NaN and overflow.
pytestmark = [needs_kernels, pytest.mark.filterwarnings("ignore::RuntimeWarning")]


# Queries, keys, channels, K, lists, and lists that a query opens.
IN_LISTS = [
    (33, 70, 3, 5, 6, 2), (5, 40, 20, 7, 40, 3), (40, 33, 9, 33, 1, 1), (1, 90, 2, 4, 3, 5),
    (3, 10, 5, 12, 3, 0), (64, 64, 1, 1, 7, 7), (0, 9, 3, 2, 2, 1),
]  # fmt: skip


@pytest.mark.parametrize(("size", "metric"), one_in(5, product(IN_LISTS, METRICS)), ids=str)
def test_nearest_in_lists(size: tuple[int, ...], metric: str) -> None:
    count, length, channels, K, num_lists, probes = size
    keys = rows(2, length, channels, seed=1)
    assert_same_choice_in_lists(rows(2, count, channels), keys, K, metric, None, num_lists, probes)


@pytest.mark.parametrize("metric", METRICS)
def test_nearest_in_lists_of_odd_rows(metric: str) -> None:
    keys, positions = rows(1, 40, 4), torch.arange(40, device=DEVICE).flip(0)[:34]
    keys[:, 5:30:5] = 0
    keys[:, 3:9] = keys[:, 20:26]  # ties
    keys[:, [7, 11, 12]] = torch.tensor([float("nan"), float("inf"), 1e30], device=DEVICE)[:, None]
    assert_same_choice_in_lists(keys[:, positions], keys, 9, metric, positions, 4, 3)


@pytest.mark.parametrize("dtype", triton.DTYPES, ids=str)
def test_nearest_in_lists_of_other_types_and_strides(dtype: torch.dtype, few_slots: None) -> None:
    keys = rows(2, 18, 40, dtype=dtype).mT
    assert_same_choice_in_lists(keys[:, ::2], keys, 9, "cosine", torch.arange(0, 40, 2, device=DEVICE), 3, 2)


@pytest.mark.parametrize("count", [2, pytest.param(300, marks=pytest.mark.long)])
def test_nearest_in_lists_of_rows_that_are_hard_to_tell_apart(count: int) -> None:
    for number, case in enumerate(cases(count, longest=50, widest=20)):
        keys, positions = case.keys.to(DEVICE), case.positions
        positions = None if positions is None else positions.to(DEVICE)
        sizes = 1 + number % 9, 1 + number % 4
        assert_same_choice_in_lists(case.queries.to(DEVICE), keys, case.K, case.metric, positions, *sizes)


@pytest.mark.parametrize("restricted", [False, pytest.param(True, marks=pytest.mark.long)], ids=["all", "candidates"])
def test_nearest_in_clusters(restricted: bool) -> None:
    keys, positions = rows(1, 32, 3), torch.arange(32, device=DEVICE)
    settings = {
        "positions": positions,
        "candidates": positions[::2] if restricted else None,
        "method": "clustered",
        "lists": 5,
        "probes": 2,
    }
    chosen = select.nearest(keys, keys, 6, backend="triton", **settings).indices
    assert torch.equal(chosen, select.nearest(keys, keys, 6, backend="reference", **settings).indices)


def assert_same_choice_in_lists(
    queries: Tensor, keys: Tensor, K: int, metric: str, positions: Tensor | None, num_lists: int, probes: int
) -> None:
    """Compare with the definition; some keys are in no list, and lists are opened twice or not named."""
    generator = torch.Generator().manual_seed(3)
    lists = torch.randint(-1, num_lists, keys.shape[:2], generator=generator).to(DEVICE)
    opened = torch.randint(-1, num_lists, (*queries.shape[:2], probes), generator=generator).to(DEVICE)
    arguments = (queries, keys, K, metric, positions, lists, opened, num_lists)
    chosen = triton.nearest_in_lists(*arguments)
    torch.testing.assert_close(chosen, reference.nearest_in_lists(*arguments), rtol=0, atol=0)
