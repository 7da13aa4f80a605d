"""Clusters of keys that are fetched where the query turns: the definition in loops, and its identities."""

import math
from copy import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.nn.tokens.caches import ClusteredCache, KeyValueCache


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def text(total: int = 58, groups: int = 2, batch: int = 1, heads: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Keys, values and queries, which turn at some tokens and barely move between them."""
    queries, turns = draw(batch, heads * groups, total, 6, seed=2), draw(total, seed=3) > 0.7
    rows = queries.unbind(2)
    calm = [rows[0]]
    for t in range(1, total):
        calm.append(rows[t] if turns[t] else calm[-1] + 0.1 * rows[t])
    return draw(batch, heads, total, 6), draw(batch, heads, total, 5, seed=1), torch.stack(calm, 2)


class Loops:
    """The definition for one image and one head of keys, in lists."""

    def __init__(self, keys: Tensor, start: list[int], *, sinks: int, cluster_size: int, iterations: int) -> None:
        self.sinks, self.keys = sinks, list(keys)
        points = self.keys[sinks:]
        count = max(1, len(points) // cluster_size)
        centers = [points[i] for i in start[:count]]

        def assign() -> list[int]:
            distances = [[float((point - center).square().sum()) for center in centers] for point in points]
            return [row.index(min(row)) for row in distances]

        for _ in range(iterations):
            labels = assign()
            groups = [[p for p, label in zip(points, labels, strict=True) if label == c] for c in range(count)]
            centers = [torch.stack(g).mean(0) if g else c for g, c in zip(groups, centers, strict=True)]
        labels = assign()
        units = [[sinks + i for i, label in enumerate(labels) if label == c] for c in range(count)]
        self.units = [unit for unit in units if unit]
        self.before: Tensor | None = None
        self.turns = 0

    def read(self, queries: Tensor, key: Tensor, *, budget: int, threshold: float, window: int) -> list[int]:
        """What the queries (G, D) of the next token read."""
        self.keys.append(key)
        t = len(self.keys) - 1
        if self.before is None or float(F.cosine_similarity(queries, self.before).mean()) < threshold:
            self.turns += 1
            if self.before is not None and self.segment < t:
                self.units.append(list(range(self.segment, t)))
            self.segment = t
            means = torch.stack([torch.stack([self.keys[i] for i in unit]).mean(0) for unit in self.units])
            scores = (queries @ means.T / math.sqrt(len(key))).softmax(-1).mean(0).tolist()
            best = sorted(range(len(scores)), key=lambda u: (-scores[u], u))
            self.chosen = [i for u in best for i in self.units[u]][:budget]
        self.before = queries
        last = range(max(t + 1 - window, 0), t + 1)
        return sorted({*range(self.sinks), *self.chosen, *range(self.segment, t + 1), *last})


@pytest.mark.parametrize(
    ("budget", "threshold", "cluster_size", "sinks", "window", "iterations"),
    [
        (10, 0.7, 4, 2, 3, 5),
        (3, 0.7, 9, 0, 1, 0),
        (200, 0.7, 4, 4, 16, 10),
        (10, 1.1, 4, 2, 3, 2),
        (10, -1.0, 50, 3, 40, 1),
    ],
)
def test_it_reads_what_the_loops_read(
    budget: int, threshold: float, cluster_size: int, sinks: int, window: int, iterations: int
) -> None:
    keys, values, queries = text()
    start = torch.randperm(38 - sinks, generator=torch.Generator().manual_seed(4))
    start = start[: max(1, (38 - sinks) // cluster_size)]
    prompt = {"sinks": sinks, "cluster_size": cluster_size, "iterations": iterations}
    rule = {"budget": budget, "threshold": threshold, "window": window}
    cache, loops = ClusteredCache(**prompt, **rule, start=start), Loops(keys[0, 0, :38], start.tolist(), **prompt)
    cache.prefill(keys[:, :, :38], values[:, :, :38])
    for t in range(38, 58):
        q = queries[:, :, t : t + 1]
        found = cache.step(q, keys[:, :, t : t + 1], values[:, :, t : t + 1])
        rows, turns = loops.read(q[0, :, 0], keys[0, 0, t], **rule), loops.turns
        assert cache.read[0, 0].nonzero().flatten().tolist() == rows
        assert bool(cache.boundary) == (loops.turns == turns and loops.segment == t)
        weights = (q[0, :, 0] @ keys[0, 0, rows].T / 6**0.5).softmax(-1)
        torch.testing.assert_close(found[0, :, 0], weights @ values[0, 0, rows], rtol=0, atol=1e-14)


def steps(cache: KeyValueCache, parts: tuple[Tensor, Tensor, Tensor], prompt: int, **more) -> Tensor:
    """Run a cache along a text, and return the outputs after the prompt."""
    keys, values, queries = parts
    cache.prefill(keys[:, :, :prompt], values[:, :, :prompt], **more)
    every = range(prompt, keys.shape[2])
    return torch.cat([cache.step(*(one[:, :, t : t + 1] for one in (queries, keys, values))) for t in every], 2)


@pytest.mark.parametrize("threshold", [0.7, 1.1, -1.0])
def test_a_budget_of_all_tokens_is_full_attention(threshold: float) -> None:
    parts = text(batch=2, heads=3)
    found = steps(ClusteredCache(58, threshold=threshold, cluster_size=4), parts, 38)
    torch.testing.assert_close(found, steps(KeyValueCache(), parts, 38), rtol=0, atol=1e-14)


def test_heads_and_images_turn_alone() -> None:
    parts, settings = text(batch=2, heads=3), {"cluster_size": 4, "sinks": 2, "start": torch.arange(9)}
    both = steps(ClusteredCache(10, **settings), parts, 38)
    for b in range(2):
        for h in range(3):
            keys, values, queries = parts
            alone = keys[b : b + 1, h : h + 1], values[b : b + 1, h : h + 1], queries[b : b + 1, 2 * h : 2 * h + 2]
            one = steps(ClusteredCache(10, **settings), alone, 38)
            torch.testing.assert_close(both[b : b + 1, 2 * h : 2 * h + 2], one, rtol=0, atol=1e-14)


def test_above_one_every_token_is_a_boundary_and_a_segment() -> None:
    parts = text()
    cache = ClusteredCache(10, threshold=1.1, cluster_size=4, sinks=2)
    steps(cache, parts, 38)
    assert cache.units[0, 0, 38:-1].tolist() == list(range(9, 28))  # 36 tokens in 9 clusters, then one a token
    assert int(cache.units[0, 0, -1]) == -1


def test_one_token_a_cluster_is_attention_to_the_top() -> None:
    keys, values, queries = text(groups=1)
    cache = ClusteredCache(7, threshold=1.1, cluster_size=1, sinks=0, window=1)
    found = steps(cache, (keys, values, queries), 38)
    for t in range(38, 58):
        logits = keys[0, 0, : t + 1] @ queries[0, 0, t] / 6**0.5
        rows = [*logits[:t].topk(7).indices.tolist(), t]
        expected = logits[rows].softmax(0) @ values[0, 0, rows]
        torch.testing.assert_close(found[0, 0, t - 38], expected, rtol=0, atol=1e-14)


def test_a_slow_drift_is_no_boundary() -> None:
    keys, values, _ = text()
    angles = torch.arange(58, dtype=torch.float64) * 0.5  # by cos 0.88 from token to token, to the opposite and on
    queries = torch.stack([angles.cos(), angles.sin(), *torch.zeros(4, 58)], 1)[None, None]
    cache = ClusteredCache(4, sinks=0, window=1)
    cache.prefill(keys[:, :, :38], values[:, :, :38])
    turned = []
    for t in range(38, 58):
        cache.step(*(one[:, :, t : t + 1] for one in (queries, keys, values)))
        turned.append(bool(cache.boundary))
    assert turned == [True] + [False] * 19
    assert int(cache.read.sum()) == 4 + 20  # all tokens since


def test_padding_changes_nothing() -> None:
    keys, values, queries = text()
    pad = lambda one: F.pad(one, (0, 0, 5, 0), value=3.0)  # noqa: E731
    settings = {"cluster_size": 4, "sinks": 2, "window": 3, "start": torch.arange(9)}
    alone = steps(ClusteredCache(10, **settings), (keys, values, queries), 38)
    present = torch.arange(43)[None] >= 5
    padded = steps(ClusteredCache(10, **settings), tuple(map(pad, (keys, values, queries))), 43, present=present)
    torch.testing.assert_close(padded, alone, rtol=0, atol=1e-14)


def test_a_shorter_prompt_has_fewer_clusters() -> None:
    keys, values, queries = text(batch=2)
    present = torch.ones(2, 38, dtype=torch.bool)
    present[0, :20] = False
    cache = ClusteredCache(10, cluster_size=4, sinks=2)
    found = steps(cache, (keys, values, queries), 38, present=present)
    assert not cache.read[0, 0, :20].any()
    assert set(cache.units[0, 0, 22:38].tolist()) <= set(range(4))
    assert (cache.units[0, 0, :22] == -1).all()
    assert found.isfinite().all()
    everything = steps(ClusteredCache(58, cluster_size=4, sinks=2), (keys, values, queries), 38, present=present)
    expected = steps(KeyValueCache(), tuple(one[:1, :, 20:] for one in (keys, values, queries)), 18)
    torch.testing.assert_close(everything[:1], expected, rtol=0, atol=1e-14)


def test_rows_are_reordered() -> None:
    keys, values, queries = text(batch=2)
    order, parts = torch.tensor([1, 0, 1]), (queries, keys, values)
    one, other = (ClusteredCache(10, cluster_size=4, sinks=2) for _ in range(2))
    for cache in (one, other):
        cache.prefill(keys[:, :, :38], values[:, :, :38])
        for t in range(38, 45):
            cache.step(*(part[:, :, t : t + 1] for part in parts))
    other.reorder(order)
    for t in range(45, 58):
        step = [part[:, :, t : t + 1] for part in parts]
        torch.testing.assert_close(other.step(*(part[order] for part in step)), one.step(*step)[order])
        assert torch.equal(other.read, one.read[order])


def test_tokens_are_added_in_place_where_no_gradient_is_asked_for() -> None:
    keys, values, queries = parts = text(batch=2)
    settings = {"cluster_size": 4, "sinks": 2, "window": 3}
    original = keys.clone(), values.clone()
    expected = steps(ClusteredCache(10, **settings), parts, 30)
    with torch.no_grad():
        cache = ClusteredCache(10, **settings)
        cache.prefill(keys[:, :, :30], values[:, :, :30])
        out, places = [], set()
        for t in range(30, 58):
            out.append(cache.step(queries[:, :, t : t + 1], keys[:, :, t : t + 1], values[:, :, t : t + 1]))
            places.add(cache.keys.data_ptr())
            if t == 40:  # from here on, two caches go on from one
                other = copy(cache)
                other.append(-keys[:, :, :1], -values[:, :, :1])
    torch.testing.assert_close(torch.cat(out, 2), expected)
    assert len(places) < 14  # half as many copies as tokens, or fewer
    assert torch.equal(other.keys[:, :, -1], -keys[:, :, 0])
    assert torch.equal(cache.keys, keys)
    assert torch.equal(keys, original[0])  # the prompt of the caller is not written to
    assert torch.equal(values, original[1])


def test_equal_seeds_cluster_alike() -> None:
    keys, values, _ = text()
    found = []
    for seed in (0, 0, 1):
        cache = ClusteredCache(10, cluster_size=4, iterations=0, seed=seed)
        cache.prefill(keys, values)
        found.append(cache.means)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0}, "budget=0 must be an integer of at least 1"),
        ({"cluster_size": 0}, "cluster_size=0 must be an integer of at least 1"),
        ({"sinks": -1}, "sinks=-1 must be an integer of at least 0"),
        ({"window": 0}, "window=0 must be an integer of at least 1"),
        ({"iterations": -1}, "iterations=-1 must be an integer of at least 0"),
        ({"threshold": math.nan}, "threshold=nan must be a number"),
    ],
)
def test_settings_are_checked(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClusteredCache(**{"budget": 8} | settings)


def test_inputs_are_checked() -> None:
    keys, values, queries = text(20)
    for settings, message in (
        ({"sinks": 20}, r"sinks=20 must be below the tokens of each prompt, \[20\]"),
        ({"start": torch.tensor([3])}, r"start=\[3\] must be 4 tokens between 0 and 15"),
        ({"start": torch.tensor([0, 1, 2, 16])}, r"start=\[0, 1, 2, 16\] must be 4 tokens between 0 and 15"),
    ):
        with pytest.raises(InputError, match=message):
            ClusteredCache(8, **{"cluster_size": 4} | settings).prefill(keys, values)
    cache = ClusteredCache(8)
    with pytest.raises(InputError, match="the cache has no prompt yet; call prefill first"):
        cache.step(queries[:, :, :1], keys[:, :, :1], values[:, :, :1])
    with pytest.raises(InputError, match="keys must be finite"):
        cache.prefill(keys / 0, values)
    cache.prefill(keys, values)
    with pytest.raises(InputError, match=r"queries \(1, 2, 2, 6\) must be those of one token"):
        cache.attend(queries[:, :, :2])
    two, other = text(20, heads=2), ClusteredCache(8)
    other.prefill(*two[:2])
    with pytest.raises(InputError, match=r"queries \(1, 3, 1, 6\) must be"):
        other.step(queries[:, [0, 0, 0], :1], two[0][:, :, :1], two[1][:, :, :1])
