"""Edges, neighbours and lists say the same of a graph, and propagation is a product with its matrix."""

import gc
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convnn.errors import InputError
from convnn.ops import Neighbors, edges
from convnn.ops.ragged import Lists

GRAPHS = st.integers(1, 6).flatmap(
    lambda nodes: st.tuples(
        st.just(nodes), st.lists(st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1)), max_size=20)
    )
)
"""Any graph, with repeated edges, self-loops, and nodes without edges."""


def by_target(edge_index: Tensor) -> Tensor:
    return edge_index[1].argsort(stable=True)


def tensor_of(pairs: list[tuple[int, int]]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.long).reshape(-1, 2).T.contiguous()


def matrix(edge_index: Tensor, weight: Tensor, targets: int, sources: int) -> Tensor:
    empty = torch.zeros(targets, sources, dtype=weight.dtype)
    return empty.index_put((edge_index[1], edge_index[0]), weight, accumulate=True)


@settings(deadline=None, max_examples=50)
@given(GRAPHS)
def test_edges_survive_the_way_over_neighbours_and_over_lists(graph: tuple[int, list[tuple[int, int]]]) -> None:
    nodes, pairs = graph
    edge_index = tensor_of(pairs)
    weight, order = torch.arange(len(pairs), dtype=torch.double), by_target(edge_index)
    neighbors = edges.to_neighbors(edge_index, nodes, edge_weight=weight)
    there = edges.from_neighbors(neighbors)
    assert torch.equal(there.edge_index, edge_index[:, order])
    assert there.edge_weight is not None
    assert torch.equal(there.edge_weight, weight[order])
    assert there.batch.tolist() == [0] * nodes
    lists, places = Lists.of_edges(edge_index, nodes)
    assert torch.equal(edges.edge_index_of(lists), edge_index[:, order])
    assert torch.equal(places, order)
    again, scores = edges.lists_of_neighbors(neighbors)
    assert torch.equal(again.starts, lists.starts)
    assert torch.equal(again.indices, lists.indices)
    assert scores is not None
    assert torch.equal(scores, weight[order])


@settings(deadline=None, max_examples=50)
@given(st.lists(GRAPHS, min_size=1, max_size=4))
def test_batches_survive_the_way_over_neighbours(graphs: list[tuple[int, list[tuple[int, int]]]]) -> None:
    sizes = torch.tensor([nodes for nodes, _ in graphs])
    ptr = torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)])
    batch = torch.arange(len(graphs)).repeat_interleave(sizes)
    edge_index = torch.cat([tensor_of(pairs) + start for (_, pairs), start in zip(graphs, ptr, strict=False)], dim=1)
    weight, order = torch.randn(edge_index.shape[1]), by_target(edge_index)
    for given_as in ({"batch": batch}, {"ptr": ptr}):
        neighbors = edges.to_neighbors(edge_index, edge_weight=weight, **given_as)
        assert neighbors.indices.shape[:2] == (len(graphs), sizes.max())
        there = edges.from_neighbors(neighbors, ptr=ptr)
        assert torch.equal(there.edge_index, edge_index[:, order])
        assert there.edge_weight is not None
        assert torch.equal(there.edge_weight, weight[order])
        assert torch.equal(there.batch, batch)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6), st.booleans(), st.data())
def test_neighbours_survive_the_way_over_edges(
    graphs: int, queries: int, K: int, positions: int, has_absent: bool, data: st.DataObject
) -> None:
    seed = data.draw(st.integers(0, 99))
    generator = torch.Generator().manual_seed(seed)
    indices = torch.randint(positions, (graphs, queries, K), generator=generator)
    scores = torch.randn(graphs, queries, K, generator=generator)
    absent = None
    if has_absent:
        lengths = torch.randint(K + 1, (graphs, queries, 1), generator=generator)
        lengths[0, 0] = K  # so that the longest list has all slots
        absent = torch.arange(K) >= lengths
    there = edges.from_neighbors(Neighbors(indices, scores, absent), positions)
    sizes = graphs * positions, graphs * queries
    again = edges.to_neighbors(there.edge_index, sizes, edge_weight=there.edge_weight)
    assert (again.absent is None) == (absent is None or not bool(absent.any()))
    present = torch.ones_like(indices, dtype=torch.bool) if absent is None else ~absent
    shift = positions * torch.arange(graphs)[:, None, None]
    shown = present.flatten(0, 1)
    assert torch.equal(again.indices[0][shown], (indices + shift)[present])
    assert again.scores is not None
    assert torch.equal(again.scores[0][shown], scores[present])
    if again.absent is not None:
        assert torch.equal(again.absent[0], ~shown)
    assert torch.equal(there.batch, torch.arange(graphs).repeat_interleave(positions))


def test_lists_are_cut_or_filled_up_in_the_order_of_the_edges() -> None:
    edge_index = torch.tensor([[4, 0, 0, 2, 1], [1, 1, 3, 1, 1]])
    neighbors = edges.to_neighbors(edge_index, 5, K=3, edge_weight=torch.arange(1.0, 6.0))
    assert neighbors.indices.tolist() == [[[0, 0, 0], [4, 0, 2], [2, 2, 2], [0, 0, 0], [4, 4, 4]]]
    assert neighbors.scores is not None
    assert neighbors.scores.tolist() == [[[0, 0, 0], [1, 2, 4], [0, 0, 0], [3, 0, 0], [0, 0, 0]]]
    assert neighbors.absent is not None
    assert neighbors.absent.sum(-1).tolist() == [[3, 0, 3, 2, 3]]


def test_propagation_is_a_product_with_the_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 5, generator=generator, dtype=torch.double, requires_grad=True)
    edge_index = torch.randint(7, (2, 30), generator=generator)
    edge_index[1].clamp_(max=5)
    weight = torch.randn(30, generator=generator, dtype=torch.double, requires_grad=True)
    for targets in (None, 6, 9):
        expected = matrix(edge_index, weight, targets or 7, 7) @ x
        out = edges.propagate(x, edge_index, weight, targets)
        torch.testing.assert_close(out, expected)
        grads = (torch.autograd.grad(y.square().sum(), (x, weight), retain_graph=True) for y in (out, expected))
        torch.testing.assert_close(*grads)
    torch.testing.assert_close(edges.propagate(x, edge_index), matrix(edge_index, torch.ones(30).double(), 7, 7) @ x)
    many = torch.randn(2, 3, 7, 5, generator=generator, dtype=torch.double)
    torch.testing.assert_close(
        edges.propagate(many, edge_index, weight), matrix(edge_index, weight, 7, 7) @ many, check_stride=False
    )
    assert torch.autograd.gradgradcheck(lambda x, w: edges.propagate(x, edge_index, w), (x, weight), fast_mode=True)


def test_lists_are_found_once_and_again_after_a_change() -> None:
    edge_index = torch.tensor([[0, 1], [1, 0]])
    first = edges.lists_of_edges(edge_index, 2)
    assert edges.lists_of_edges(edge_index, 2) is first
    assert edges.lists_of_edges(edge_index.clone(), 2) is not first
    assert edges.lists_of_edges(edge_index, 3)[0].queries == 3
    edge_index[0, 0] = 1
    assert edges.lists_of_edges(edge_index, 2)[0].indices.tolist() == [1, 1]
    gc.collect()
    known = len(edges._FOUND)
    del edge_index
    gc.collect()
    assert len(edges._FOUND) == known - 1
    with torch.inference_mode():
        created = torch.tensor([[0, 1], [1, 0]])
        assert edges.propagate(torch.eye(2), created).tolist() == [[0, 1], [1, 0]]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
def test_propagation_compiles_as_one_graph(backend: str) -> None:
    x, weight = torch.randn(4, 3, requires_grad=True), torch.rand(6, requires_grad=True)
    edge_index = torch.tensor([[0, 1, 2, 3, 0, 0], [1, 1, 0, 2, 3, 3]])
    compiled = torch.compile(edges.propagate, fullgraph=True, backend=backend)
    results = [
        (out, *torch.autograd.grad(out.square().sum(), (x, weight)))
        for out in (compiled(x, edge_index, weight), edges.propagate(x, edge_index, weight))
    ]
    torch.testing.assert_close(*results)


PAIR = torch.tensor([[0, 1], [1, 0]])
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "rows": (
        lambda: edges.propagate(torch.ones(3), PAIR),
        r"^x of shape \(3,\) must be \(N, C\), a row for",
    ),
    "node": (lambda: edges.propagate(torch.ones(1, 2), PAIR), "^edge_index has sources from 0 to 1; they must lie"),
    "weights": (
        lambda: edges.propagate(torch.ones(2, 2), PAIR, torch.ones(3)),
        r"^edge_weight of shape \(3,\) and torch.float32 must be floating and \(2,\), one for each edge$",
    ),
    "whole weights": (lambda: edges.propagate(torch.ones(2, 2), PAIR, torch.ones(2).long()), "must be floating and"),
    "K": (lambda: edges.to_neighbors(PAIR, 2, K=0), "^K=0 must be an integer of at least 1$"),
    "nodes": (lambda: edges.to_neighbors(PAIR), "^nodes=None must be the number of nodes where neither batch nor ptr"),
    "batch": (
        lambda: edges.to_neighbors(PAIR, batch=torch.tensor([1, 0])),
        "^batch must be one list of int64 that",
    ),
    "number": (lambda: edges.to_neighbors(PAIR, 3, batch=torch.tensor([0, 0])), "^nodes=3 must be 2, as many as batch"),
    "across": (lambda: edges.to_neighbors(PAIR, batch=torch.tensor([0, 1])), "^edge_index must not have an edge from"),
    "ptr": (
        lambda: edges.to_neighbors(PAIR, ptr=torch.tensor([1, 2])),
        r"^ptr=\[1, 2\] must be 2 integers that",
    ),
    "indices": (
        lambda: edges.from_neighbors(Neighbors(torch.tensor([[[0], [2]]]))),
        "^neighbors.indices from 0 to 2 must lie between 0 and 1 for 2 positions$",
    ),
    "shape": (lambda: edges.from_neighbors(Neighbors(torch.tensor([[0]]))), r"must be \(B, N, K\) int64$"),
    "beyond the graph": (
        lambda: edges.from_neighbors(Neighbors(torch.tensor([[[1], [0]]])), ptr=torch.tensor([0, 1])),
        r"^neighbors must lie within their graphs, of \[1\] nodes by ptr$",
    ),
    "positions": (
        lambda: edges.from_neighbors(Neighbors(torch.tensor([[[0]]])), 4, ptr=torch.tensor([0, 1])),
        "^positions=4 must be None with ptr",
    ),
    "scores": (lambda: edges.neighbors_of_lists(Lists.of_edges(PAIR, 2)[0], torch.ones(3)), r"must be \(2,\), one for"),
    "no positions": (
        lambda: edges.to_neighbors(torch.zeros(2, 0, dtype=torch.long), (0, 2)),
        "^2 lists of no positions cannot be filled up to K=1 neighbours$",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name: str) -> None:
    call, message = BAD[name]
    with pytest.raises(InputError, match=message):
        call()


def test_edges_of_matrices_are_their_entries() -> None:
    adjacency = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(0)).relu()
    listed = [(4 * b + s, 4 * b + t, adjacency[b, s, t].item()) for b in range(3) for s in range(4) for t in range(4)]
    for dense, expected in ((adjacency, listed), (adjacency[0], listed[:16])):
        found, weight = edges.from_dense(dense)
        assert list(zip(*found.tolist(), weight.tolist(), strict=True)) == [edge for edge in expected if edge[2]]
    found, weight = edges.from_dense(adjacency[0], adjacency[0] > 0.5)
    assert list(zip(*found.tolist(), weight.tolist(), strict=True)) == [edge for edge in listed[:16] if edge[2] > 0.5]
    with pytest.raises(InputError, match=r"^adjacency of shape \(2, 3\) must be \(N, N\) or"):
        edges.from_dense(torch.ones(2, 3))
