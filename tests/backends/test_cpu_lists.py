"""The search in lists of the compiled core against the definition, for every instruction set of this machine."""

from typing import Any

import pytest
import torch
from torch import Tensor

from convnn.backends import cpu, reference
from ill_conditioned import Case, cases

pytestmark = pytest.mark.skipif(bool(cpu.unavailable_reasons()), reason="the core is not compiled")


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _same_choice(*arguments: Any) -> bool:
    return torch.equal(cpu.nearest_in_lists(*arguments), reference.nearest_in_lists(*arguments))


def _in_lists(case: Case, seed: int) -> tuple[Any, ...]:
    """Return the arguments of a search in random lists: keys without a list, lists without a key, lists named twice."""
    draw = torch.Generator().manual_seed(seed)
    count = int(torch.randint(1, 9, (), generator=draw))
    lists = torch.randint(-1, count, case.keys.shape[:2], generator=draw)
    opened = torch.randint(-1, count, (*case.queries.shape[:2], seed % 5), generator=draw)
    return *case[1:6], lists, opened, count


@pytest.mark.slow
@pytest.mark.parametrize("longest", [120, pytest.param(2500, marks=pytest.mark.long)])
@pytest.mark.parametrize("count", [54, pytest.param(1000, marks=pytest.mark.long)])
def test_keys_in_lists(core: str, count: int, longest: int) -> None:
    for seed, case in enumerate(cases(count, 2, longest=longest)):
        arguments = _in_lists(case, seed)
        assert _same_choice(*arguments), case.name


@pytest.mark.parametrize("length", [15, 16, 17, 31, 32, 33, 128, 160])
@pytest.mark.parametrize("channels", [3, 24])
def test_lengths_around_those_of_lists(core: str, channels: int, length: int) -> None:
    """Lists of whole and broken panels and chunks, more neighbours than a list has, and ties."""
    walk = _random(2, length, channels, seed=length).cumsum(1)
    lists = (torch.arange(length) % 5 // 2).expand(2, -1)  # the last has half as many keys
    opened = torch.tensor([0, 2, 0]).expand(2, length, -1)
    for rows in (walk, (walk / 4).round()):
        for K in (1, 9, 33):
            for positions in (None, torch.arange(length)):
                arguments = (rows, rows, K, "cosine", positions, lists, opened, 3)
                assert _same_choice(*arguments)


def test_lists_longer_than_a_chunk(core: str) -> None:
    rows = _random(1, 1200, 17)
    lists = (torch.arange(1200) < 1100).long().unsqueeze(0)
    opened = lists[..., -20:, None] + torch.tensor([0, -1])  # one list, or both
    arguments = (rows[:, -20:], rows, 9, "euclidean", None, lists, opened, 2)
    assert _same_choice(*arguments)
