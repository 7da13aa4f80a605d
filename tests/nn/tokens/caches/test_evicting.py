"""Caches that drop tokens: what stays, and the identities of their definitions."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.nn.tokens.caches import (
    GraphKVCache,
    KeyValueCache,
    RandomCache,
    SinkCache,
    SnapKVCache,
    decay_neighbors,
    window_importance,
)

GRAPH = partial(GraphKVCache, num_sources=2, num_neighbors=3)
MAKERS = {
    "SnapKV": partial(SnapKVCache, window=4),
    "GraphKV": partial(GRAPH, window=4),
    "sinks": partial(SinkCache, sinks=3),
    "random": partial(RandomCache, window=4),
}


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def prompt(total: int = 20) -> tuple[Tensor, Tensor, Tensor]:
    """Keys, values and queries of two images, with two heads of keys and four of queries."""
    return draw(2, 2, total, 6), draw(2, 2, total, 5, seed=1), draw(2, 4, total, 6, seed=2)


def after(number: int) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Queries, keys and values of tokens after the prompt."""
    return [
        (draw(2, 4, 1, 6, seed=10 + t), draw(2, 2, 1, 6, seed=30 + t), draw(2, 2, 1, 5, seed=50 + t))
        for t in range(number)
    ]


def filled(cache: KeyValueCache, keys: Tensor, values: Tensor, queries: Tensor, **more) -> KeyValueCache:
    cache.prefill(keys, values, queries, **more)
    return cache


@pytest.mark.parametrize("name", MAKERS)
def test_a_step_is_attention_to_what_stayed_and_what_came(name: str) -> None:
    keys, values, queries = prompt()
    cache = filled(MAKERS[name](9), keys, values, queries)
    kept = cache.positions.clone()
    assert kept.shape == (2, 2, 9)
    assert (kept.diff(dim=2) > 0).all()
    for q, k, v in after(3):
        found = cache.step(q, k, v)
        keys, values = torch.cat([keys, k], 2), torch.cat([values, v], 2)
        for b in range(2):
            for h in range(4):
                rows = [*kept[b, h // 2].tolist(), *range(20, keys.shape[2])]
                weights = (keys[b, h // 2, rows] @ q[b, h, 0] / 6**0.5).softmax(0)
                torch.testing.assert_close(found[b, h, 0], weights @ values[b, h // 2, rows], rtol=0, atol=1e-14)
                assert cache.read[b, h // 2].nonzero().flatten().tolist() == rows


def test_what_stays_is_what_the_rule_says() -> None:
    keys, values, queries = prompt()
    assert filled(SinkCache(7, sinks=3), keys, values, queries).positions[0, 0].tolist() == [0, 1, 2, 16, 17, 18, 19]
    drawn = [filled(RandomCache(9, window=4, seed=seed), keys, values, queries).positions for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    base = window_importance(queries, keys, window=4, kernel=3)
    for cache, scores in (
        (SnapKVCache(9, window=4, kernel=3), base),
        (GRAPH(9, window=4, kernel=3), decay_neighbors(base, keys[:, :, :16], num_sources=2, num_neighbors=3).scores),
    ):
        best = filled(cache, keys, values, queries).positions
        for kept, row in zip(best.flatten(0, 1).tolist(), scores.flatten(0, 1).tolist(), strict=True):
            order = sorted(range(16), key=row.__getitem__, reverse=True)
            assert kept == [*sorted(order[:5]), 16, 17, 18, 19]


@pytest.mark.parametrize("name", MAKERS)
def test_a_budget_of_all_tokens_is_full_attention(name: str) -> None:
    keys, values, queries = prompt()
    cache = filled(MAKERS[name](20), keys, values, queries)
    for q, k, v in after(2):
        found = cache.step(q, k, v)
        keys, values = torch.cat([keys, k], 2), torch.cat([values, v], 2)
        expected = F.scaled_dot_product_attention(q, keys, values, enable_gqa=True)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("settings", [{"num_neighbors": 0}, {"rounds": 0}])
def test_without_decay_graph_kv_is_snap_kv(settings: dict) -> None:
    plain, ours = (filled(make(9, window=4), *prompt()) for make in (SnapKVCache, partial(GRAPH, **settings)))
    assert torch.equal(plain.positions, ours.positions)


def test_with_orthogonal_keys_graph_kv_is_snap_kv() -> None:
    keys = torch.eye(20, dtype=torch.float64).expand(1, 1, 20, 20)
    values, queries = draw(1, 1, 20, 5), 4 * draw(1, 1, 20, 20, seed=2)
    plain, ours = (filled(make(9, window=4), keys, values, queries) for make in (SnapKVCache, GRAPH))
    assert torch.equal(plain.positions, ours.positions)


def test_copies_of_an_important_token_leave_first() -> None:
    keys, values, queries = (one[:1, :1] for one in prompt())
    copies = [3, 7, 8, 12]
    keys[:, :, copies] = 2 * queries[:, :, -4:].mean(2, keepdim=True)  # what all of the window looks for
    plain, ours = (
        filled(make(13, window=4, kernel=1), keys, values, queries).positions.flatten().tolist()
        for make in (SnapKVCache, partial(GraphKVCache, num_sources=1, num_neighbors=3))
    )
    assert set(copies) <= set(plain)
    assert set(copies) & set(ours) == {3}  # of equal scores, the first is the source


@pytest.mark.parametrize("name", MAKERS)
def test_padding_changes_nothing(name: str) -> None:
    keys, values, queries = (one[:1] for one in prompt())
    steps = [[one[:1] for one in step] for step in after(3)]
    pad = lambda one: F.pad(one, (0, 0, 5, 0), value=3.0)  # noqa: E731
    present = torch.arange(25)[None] >= 5
    settings = {} if name == "sinks" else {"kernel": 1} if "KV" in name else {}
    alone = filled(MAKERS[name](9, **settings), keys, values, queries)
    padded = filled(MAKERS[name](9, **settings), *map(pad, (keys, values, queries)), present=present)
    if name == "random":  # draws of other places
        assert (padded.positions >= 5).all()
        return
    if name == "sinks":  # the budget decides where the window begins
        assert padded.positions[0, 0].tolist() == [5, 6, 7, *range(19, 25)]
    assert torch.equal(padded.positions, alone.positions + 5)
    for step in steps:
        torch.testing.assert_close(padded.step(*step), alone.step(*step), rtol=0, atol=1e-14)


def test_a_prompt_shorter_than_the_budget_reads_no_padding() -> None:
    keys, values, queries = prompt()
    present = torch.ones(2, 20, dtype=torch.bool)
    present[0, :15] = False
    cache = filled(SnapKVCache(9, window=4), keys, values, queries, present=present)
    assert cache.read.sum(2).tolist() == [[5, 5], [9, 9]]
    alone = filled(KeyValueCache(), *(one[:1, :, 15:] for one in (keys, values, queries)))
    (step,) = after(1)
    torch.testing.assert_close(cache.step(*step)[:1], alone.step(*(one[:1] for one in step)), rtol=0, atol=1e-14)


def test_rows_are_reordered() -> None:
    step, order = after(1)[0], torch.tensor([1, 1, 0])
    one, other = (filled(SnapKVCache(9, window=4), *prompt()) for _ in range(2))
    other.reorder(order)
    torch.testing.assert_close(other.step(*(part[order] for part in step)), one.step(*step)[order])
    assert torch.equal(other.read, one.read[order])


def test_outputs_have_gradients() -> None:
    keys, values, queries = (one.requires_grad_() for one in prompt(7))
    step = [one.requires_grad_() for one in after(1)[0]]

    def run(keys: Tensor, values: Tensor, *step: Tensor) -> Tensor:
        return filled(GRAPH(5, window=3, num_sources=1, num_neighbors=1), keys, values, queries).step(*step)

    assert torch.autograd.gradcheck(run, (keys, values, *step), fast_mode=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SnapKVCache(8, window=9), "budget=8 must be an integer of at least 9"),
        (lambda: SnapKVCache(8, window=0), "window=0 must be an integer of at least 1"),
        (lambda: SnapKVCache(8, window=4, kernel=2), "kernel=2 must be odd"),
        (lambda: SnapKVCache(8, window=4, pool="sum"), "pool='sum' is not one of mean, max"),
        (lambda: GraphKVCache(8, window=4, rounds=-1), "rounds=-1 must be an integer of at least 0"),
        (lambda: GraphKVCache(8, window=4, num_sources=0), "num_sources=0 must be an integer of at least 1"),
        (lambda: SinkCache(4, sinks=4), "budget=4 must be an integer of at least 5"),
        (lambda: SinkCache(4, sinks=-1), "sinks=-1 must be an integer of at least 0"),
    ],
)
def test_settings_are_checked(make, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cache": SnapKVCache(21, window=4)}, "budget=21 must be at most, and window=4 below, the 20 tokens"),
        ({"cache": SnapKVCache(20, window=20)}, "window=20 below, the 20 tokens"),
        ({"cache": GraphKVCache(9, window=4)}, "need 48 tokens to choose from, not 16"),
        ({"queries": None}, "queries=None must be those of the prompt, by which SnapKVCache scores"),
        ({"queries": torch.ones(2, 3, 20, 6)}, r"queries \(2, 3, 20, 6\) must be"),
        ({"keys": torch.ones(2, 2, 19, 6)}, r"keys \(2, 2, 19, 6\) and values \(2, 2, 20, 5\) must be"),
        ({"keys": torch.full((2, 2, 20, 6), torch.nan)}, "keys must be finite"),
        ({"present": torch.ones(2, 19, dtype=torch.bool)}, r"present of shape \(2, 19\)"),
        ({"present": torch.arange(20).expand(2, 20) < 9}, "present must have its padding on the left"),
    ],
)
def test_prompts_are_checked(change: dict, message: str) -> None:
    arguments = dict(zip(("keys", "values", "queries"), prompt(), strict=True)) | {"cache": SnapKVCache(9, window=4)}
    arguments |= change
    with pytest.raises(InputError, match=message):
        arguments.pop("cache").prefill(**arguments)


def test_the_order_of_calls_is_checked() -> None:
    cache, (step,) = SnapKVCache(9, window=4), after(1)
    with pytest.raises(InputError, match="the cache has no prompt yet; call prefill first"):
        cache.step(*step)
    with pytest.raises(InputError, match="the cache has no prompt yet; call prefill first"):
        cache.attend(step[0])
    filled(cache, *prompt())
    with pytest.raises(InputError, match="a cache takes one prompt, and has 20 tokens; make a new one"):
        filled(cache, *prompt())
    with pytest.raises(InputError, match=r"keys \(2, 2, 1, 4\) must be those of the cache"):
        cache.append(step[1][..., :4], step[2])
