"""Views of graphs: what is kept, how often, in both directions, and bad input."""

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.graphs.views import complementary_views, drop_edges, drop_features
from small_graphs import directed, undirected

EDGES = undirected(8, 14)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs(edge_index: Tensor) -> list[tuple[int, int]]:
    return sorted(map(tuple, edge_index.T.tolist()))


@pytest.mark.parametrize("is_undirected", [False, True])
def test_complementary_views_share_nothing_and_are_all_together(is_undirected: bool) -> None:
    first, second = complementary_views(EDGES, undirected=is_undirected, generator=generator())
    assert first.numel()
    assert second.numel()
    counts = torch.bincount(torch.cat([first[0] * 8 + first[1], second[0] * 8 + second[1]]), minlength=64)
    assert torch.equal(counts, torch.bincount(EDGES[0] * 8 + EDGES[1], minlength=64))  # each edge is in one view, once
    assert not set(pairs(first)) & set(pairs(second))
    assert (pairs(first) == pairs(first.flip(0))) == is_undirected


def test_repeated_edges_are_drawn_apart_unless_undirected() -> None:
    edges = torch.tensor([[0] * 200 + [1] * 200, [1] * 200 + [0] * 200])
    first, second = complementary_views(edges, 0.25, generator=generator())
    assert 60 < first.shape[1] < 140
    first, second = complementary_views(edges, 0.25, undirected=True, generator=generator())
    assert sorted([first.shape[1], second.shape[1]]) == [0, 400]


def test_edges_are_dropped_as_often_as_given() -> None:
    p = torch.linspace(0, 1, 24)
    edges = directed(7, 24).repeat(1, 2000)
    left, kept = drop_edges(edges, p.repeat(2000), generator=generator())
    assert torch.equal(left, edges[:, kept])
    shares = kept.view(2000, 24).double().mean(0)
    assert shares[0] == 1
    assert shares[-1] == 0
    torch.testing.assert_close(shares, 1 - p.double(), rtol=0, atol=0.05)  # more than four deviations


def test_both_directions_stay_or_go_and_draws_are_those_of_the_generator() -> None:
    left, kept = drop_edges(EDGES, 0.5, undirected=True, generator=generator(3))
    assert 0 < left.shape[1] < EDGES.shape[1]
    assert pairs(left) == pairs(left.flip(0))
    p = torch.where((EDGES == 0).any(0), 1.0, 0.0)
    assert pairs(drop_edges(EDGES, p, undirected=True)[0]) == [pair for pair in pairs(EDGES) if 0 not in pair]
    assert torch.equal(drop_edges(EDGES, 0.5, undirected=True, generator=generator(3))[1], kept)


def test_a_graph_without_edges_has_views_without_edges() -> None:
    nothing = torch.empty(2, 0, dtype=torch.long)
    assert [view.shape for view in complementary_views(nothing, undirected=True)] == [(2, 0), (2, 0)]
    assert drop_edges(nothing, 0.5)[1].shape == (0,)


def test_features_are_dropped_in_all_nodes_as_often_as_given() -> None:
    x, p = torch.rand(5, 12_000) + 1, torch.tensor([0, 0.2, 0.4, 0.6, 0.8, 1])
    view = drop_features(x, p.repeat(2000), generator=generator())
    assert torch.equal(view, torch.where(view[:1] != 0, x, 0))
    shares = (view[0] != 0).view(2000, 6).float().mean(0)
    torch.testing.assert_close(shares, 1 - p, rtol=0, atol=0.05)
    assert (drop_features(x, 1.0) == 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: complementary_views(EDGES, 0), r"^p=0 must be above 0 and below 1"),
        (lambda: complementary_views(EDGES, 1.0), r"^p=1.0 must be above 0 and below 1"),
        (lambda: complementary_views(EDGES.double()), r"^edge_index of shape .*float64 must be \(2, E\) int64"),
        (lambda: complementary_views(EDGES - 1), r"^edge_index has sources from -1"),
        (lambda: complementary_views(EDGES[:, :3], undirected=True), r"^undirected=True needs an edge back for each"),
        (lambda: drop_edges(EDGES, 1.5), r"^p=1.5 must lie between 0 and 1"),
        (lambda: drop_edges(EDGES, torch.zeros(3)), r"^p of shape \(3,\) .* one for each edge"),
        (lambda: drop_edges(EDGES, torch.full((28,), 2.0)), r"^p must lie between 0 and 1 for each edge, and has 2.0"),
        (lambda: drop_edges(EDGES, torch.arange(28) / 28, undirected=True), r"^p must be the same for both directions"),
        (lambda: drop_features(torch.ones(3), 0.5), r"^x of shape \(3,\) must be \(N, C\)"),
        (lambda: drop_features(torch.ones(3, 2), torch.tensor([0.1, float("nan")])), r"^p must lie .* feature"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
