"""Importance by the last tokens, and its decay, against their definitions in loops."""

import math

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.nn.tokens.caches import decay_neighbors, window_importance


def importance_in_loops(queries: Tensor, keys: Tensor, window: int, kernel: int, pool: str) -> Tensor:
    """The definition, of one image and one head of keys: queries (G, T, D), keys (T, D)."""
    groups, total, width = queries.shape
    mean = [0.0] * (total - window)
    for group in range(groups):
        sums = [0.0] * total
        for i in range(total - window, total):
            weights = [math.exp(float(queries[group, i] @ keys[j]) / width**0.5) for j in range(i + 1)]
            for j, weight in enumerate(weights):
                sums[j] += weight / sum(weights)
        before = sums[: total - window]
        for j in range(len(before)):
            near = before[max(j - kernel // 2, 0) : j + kernel // 2 + 1]
            mean[j] += (sum(near) / kernel if pool == "mean" else max(near)) / groups
    return torch.tensor(mean, dtype=torch.float64)


def decayed_in_loops(
    scores: list[float], keys: Tensor, num_sources: int, num_neighbors: int, rounds: int
) -> tuple[list[float], list[int]]:
    """The definition, of one head."""
    scores, sources = list(scores), []
    for _ in range(rounds):
        others = [j for j in range(len(scores)) if j not in sources]
        new = sorted(others, key=lambda j: (-scores[j], j))[:num_sources]
        sources += new
        losses = [0.0] * len(scores)
        for i in new:
            cosines = {
                j: float(keys[i] @ keys[j] / keys[i].norm() / keys[j].norm())
                for j in range(len(scores))
                if j not in sources
            }
            for j in sorted(cosines, key=lambda j: (-cosines[j], j))[:num_neighbors]:
                losses[j] += cosines[j]
        scores = [score - score * loss for score, loss in zip(scores, losses, strict=True)]
    return scores, sources


def prompt(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("window", "kernel", "pool"), [(4, 5, "mean"), (3, 3, "max"), (16, 1, "mean"), (1, 7, "max")])
def test_importance_is_that_of_the_loops(window: int, kernel: int, pool: str) -> None:
    queries, keys = prompt(2, 6, 17, 5), prompt(2, 3, 17, 5, seed=1)
    found = window_importance(queries, keys, window=window, kernel=kernel, pool=pool)
    expected = [
        importance_in_loops(queries[b, 2 * h : 2 * h + 2], keys[b, h], window, kernel, pool)
        for b in range(2)
        for h in range(3)
    ]
    torch.testing.assert_close(found.flatten(0, 1), torch.stack(expected), rtol=0, atol=1e-14)


def test_padding_has_no_say_and_no_importance() -> None:
    queries, keys = prompt(1, 4, 20, 5), prompt(1, 2, 20, 5, seed=1)
    present = torch.arange(20) >= 7
    found = window_importance(queries, keys, window=6, kernel=1, present=present[None])
    assert (found[..., :7] == 0).all()
    alone = window_importance(queries[:, :, 7:], keys[:, :, 7:], window=6, kernel=1)
    torch.testing.assert_close(found[..., 7:], alone, rtol=0, atol=1e-14)


@pytest.mark.parametrize("numbers", [(3, 4, 1), (2, 5, 3), (1, 1, 1), (6, 10, 1), (4, 0, 2), (4, 3, 0)])
def test_decay_is_that_of_the_loops(numbers: tuple[int, int, int]) -> None:
    scores, keys = prompt(2, 3, 21).abs(), prompt(2, 3, 21, 4, seed=1)
    found = decay_neighbors(scores, keys, **dict(zip(("num_sources", "num_neighbors", "rounds"), numbers, strict=True)))
    for b in range(2):
        for h in range(3):
            expected, sources = decayed_in_loops(scores[b, h].tolist(), keys[b, h], *numbers)
            torch.testing.assert_close(found.scores[b, h].tolist(), expected, rtol=0, atol=1e-14)
            assert found.sources[b, h].tolist() == (sources if numbers[1] else [])


def test_copies_of_a_source_are_worth_nothing_and_orthogonal_keys_what_they_were() -> None:
    keys = torch.eye(12, dtype=torch.float64)
    scores = torch.linspace(1, 2, 12, dtype=torch.float64)
    assert torch.equal(decay_neighbors(scores, keys, num_sources=3, num_neighbors=5).scores, scores)
    keys[[2, 4]] = 3 * keys[11]  # the most important
    found = decay_neighbors(scores, keys, num_sources=1, num_neighbors=4).scores
    torch.testing.assert_close(found[[2, 4]], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-15)
    others = torch.tensor([j not in (2, 4) for j in range(12)])
    assert torch.equal(found[others], scores[others])


def test_padding_is_neither_source_nor_neighbour() -> None:
    scores, keys = prompt(1, 1, 15).abs(), prompt(1, 1, 15, 4, seed=1)
    present = (torch.arange(15) >= 8).expand(1, 1, 15)
    found = decay_neighbors(scores, keys, num_sources=2, num_neighbors=9, present=present)
    alone = decay_neighbors(scores[..., 8:], keys[..., 8:, :], num_sources=2, num_neighbors=5)
    assert torch.equal(found.scores[..., :8], scores[..., :8])
    torch.testing.assert_close(found.scores[..., 8:], alone.scores, rtol=0, atol=1e-15)
    assert torch.equal(found.sources, alone.sources + 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_sources": 0}, "num_sources=0 must be an integer of at least 1"),
        ({"num_neighbors": -1}, "num_neighbors=-1 must be an integer of at least 0"),
        ({"rounds": -1}, "rounds=-1 must be an integer of at least 0"),
        ({"num_sources": 3, "rounds": 2, "num_neighbors": 5}, "rounds=2 and num_neighbors=5 need 11 tokens .* not 10"),
        ({"scores": torch.ones(9)}, r"scores \(9,\) and keys \(10, 4\) must be"),
        ({"scores": -torch.ones(10)}, "scores must be at least 0"),
        ({"scores": torch.full((10,), torch.nan)}, "scores must be at least 0, not negative or NaN"),
    ],
)
def test_decay_refuses(change: dict, message: str) -> None:
    arguments = {"scores": torch.ones(10), "num_sources": 2, "num_neighbors": 3} | change
    with pytest.raises(InputError, match=message):
        decay_neighbors(arguments.pop("scores"), torch.ones(10, 4), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"window": 0}, "window=0 must be an integer of at least 1"),
        ({"window": 10}, "window=10 must be below 10"),
        ({"kernel": 4}, "kernel=4 must be odd"),
        ({"pool": "median"}, "pool='median' is not one of mean, max"),
        ({"queries": torch.ones(1, 3, 10, 4)}, r"queries \(1, 3, 10, 4\) must be .* a multiple of their heads"),
        ({"queries": torch.ones(1, 2, 10, 5)}, r"queries \(1, 2, 10, 5\) must be"),
    ],
)
def test_importance_refuses(change: dict, message: str) -> None:
    arguments = {"queries": torch.ones(1, 2, 10, 4), "window": 3} | change
    with pytest.raises(InputError, match=message):
        window_importance(arguments.pop("queries"), torch.ones(1, 2, 10, 4), **arguments)
