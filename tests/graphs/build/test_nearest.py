"""Graphs of points against a full sort, Faiss, scikit-learn, SciPy and networkx."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import convnn
from convnn.errors import InputError
from convnn.graphs import grid_graph, knn_graph, radius_graph


def points(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def by_sorting(x: Tensor, k: int, batch: Tensor, *, loop: bool, metric: str = "euclidean") -> Tensor:
    """All scores of each graph, sorted; of equal ones the first is taken, and a node comes first among its own."""
    edges = []
    for graph in batch.unique():
        nodes = (batch == graph).nonzero().flatten()
        part = x[nodes]
        scores = {
            "euclidean": lambda part: -(part[:, None] - part).square().sum(2),
            "cosine": lambda part: torch.cosine_similarity(part[:, None], part, dim=2),
            "matmul": lambda part: part @ part.T,
        }[metric](part)
        order = scores.fill_diagonal_(torch.inf).argsort(dim=1, descending=True, stable=True)
        for target, ranked in zip(nodes, order, strict=True):
            chosen = ranked[:k] if loop else ranked[1 : k + 1]
            edges += [(int(nodes[source]), int(target)) for source in chosen]
    return torch.tensor(edges, dtype=torch.long).reshape(-1, 2).T


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(1, 7), min_size=1, max_size=5),
    st.integers(1, 9),
    st.booleans(),
    st.sampled_from(["euclidean", "cosine", "matmul"]),
    st.integers(0, 99),
)
def test_edges_are_those_of_a_full_sort_with_ties_by_index(
    sizes: list[int], k: int, loop: bool, metric: str, seed: int
) -> None:
    batch = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    x = torch.randint(1, 4, (len(batch), 2), generator=torch.Generator().manual_seed(seed)).double()  # many are equal
    if metric == "cosine":
        x = torch.tensor([[3.0, 4.0], [4.0, 3.0], [1.0, 0.0]]).double()[x[:, 0].long() - 1]  # whose cosines are exact
    expected = by_sorting(x, k, batch, loop=loop, metric=metric)
    assert torch.equal(knn_graph(x, k, batch, loop, metric=metric), expected)
    assert torch.equal(knn_graph(x, k, batch, loop, "target_to_source", metric=metric), expected.flip(0))


def test_large_graphs_against_faiss_and_scikit_learn() -> None:
    faiss = pytest.importorskip("faiss")
    neighbors = pytest.importorskip("sklearn.neighbors")
    x = points(1501, 7).float()
    ours = knn_graph(x, 5)
    index = faiss.IndexFlatL2(7)
    index.add(x.numpy())
    theirs = torch.from_numpy(index.search(x.numpy(), 6)[1])[:, 1:]
    assert torch.equal(ours[0].view(-1, 5), theirs)
    matrix = neighbors.kneighbors_graph(x.numpy(), 5)
    assert torch.equal(
        ours[0].view(-1, 5).sort().values, torch.from_numpy(matrix.indices).view(-1, 5).sort().values.long()
    )


def test_torch_geometric_finds_the_same() -> None:
    typing = pytest.importorskip("torch_geometric.typing")
    if not typing.WITH_KNN:
        pytest.skip("its search needs pyg-lib")
    from torch_geometric.nn import knn_graph as theirs

    x, batch = points(50, 3).float(), torch.arange(3).repeat_interleave(torch.tensor([20, 9, 21]))
    for loop in (False, True):
        assert torch.equal(knn_graph(x, 4, batch, loop), theirs(x, 4, batch, loop))


def test_the_clustered_search_finds_most() -> None:
    x = points(3000, 3, seed=2).float()
    exact, clustered = (knn_graph(x, 6, method=method) for method in ("exact", "clustered"))
    assert clustered.shape == exact.shape
    found = torch.isin(clustered[0] * 3000 + clustered[1], exact[0] * 3000 + exact[1])
    assert found.double().mean() > 0.9


@pytest.mark.parametrize("loop", [False, True])
def test_balls_are_those_of_scipy(loop: bool) -> None:
    spatial = pytest.importorskip("scipy.spatial")
    x, batch = points(60, 2), torch.arange(2).repeat_interleave(torch.tensor([25, 35]))
    edges = radius_graph(x, 0.6, batch, loop, max_num_neighbors=60)
    expected = set()
    for graph in (0, 1):
        nodes = (batch == graph).nonzero().flatten().tolist()
        inside = spatial.cKDTree(x[nodes].numpy()).query_ball_point(x[nodes].numpy(), 0.6)
        expected |= {(nodes[j], nodes[i]) for i, near in enumerate(inside) for j in near if loop or i != j}
    assert set(map(tuple, edges.T.tolist())) == expected
    assert len(expected) == edges.shape[1]
    few = radius_graph(x, 0.6, batch, loop, max_num_neighbors=3)
    nearest = knn_graph(x, 3, batch, loop)
    distances = (x[nearest[0]] - x[nearest[1]]).norm(dim=1)
    assert torch.equal(few, nearest[:, distances <= 0.6])
    on_the_border = radius_graph(torch.tensor([[0.0], [1.0], [2.0]]), 1.0)
    assert on_the_border.tolist() == [[1, 0, 2, 1], [0, 1, 1, 2]]


def test_mutual_edges_and_both_directions() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0], [3.5]])
    assert knn_graph(x, 1).tolist() == [[1, 0, 3, 2], [0, 1, 2, 3]]
    x = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
    assert knn_graph(x, 1).tolist() == [[1, 2, 1, 2], [0, 1, 2, 3]]
    assert knn_graph(x, 1, keep="mutual").tolist() == [[2, 1], [1, 2]]
    assert knn_graph(x, 1, keep="either").tolist() == [[1, 0, 2, 1, 3, 2], [0, 1, 1, 2, 2, 3]]


@pytest.mark.parametrize("size", [(5,), (3, 4), (2, 3, 4), (1, 2), (1, 1)])
@pytest.mark.parametrize("wrap", [False, True])
def test_grids_are_those_of_networkx(size: tuple[int, ...], wrap: bool) -> None:
    networkx = pytest.importorskip("networkx")
    graph = networkx.convert_node_labels_to_integers(networkx.grid_graph(size[::-1], periodic=wrap), ordering="sorted")
    expected = sorted(
        (target, source) for pair in graph.edges for source, target in (pair, pair[::-1]) if pair[0] != pair[1]
    )
    expected = sorted(set(expected))
    assert [(target, source) for source, target in grid_graph(size, wrap=wrap).T.tolist()] == expected


def test_grids_with_corners_are_those_of_torch_geometric() -> None:
    utils = pytest.importorskip("torch_geometric.utils")
    theirs = utils.grid(4, 5)[0]
    order = (theirs[1] * 20 + theirs[0]).argsort()
    assert torch.equal(grid_graph((4, 5), diagonal=True, loop=True), theirs[:, order])


def test_graphs_without_nodes() -> None:
    assert knn_graph(points(0, 3), 2).shape == (2, 0)
    assert knn_graph(points(1, 3), 2).shape == (2, 0)
    assert knn_graph(points(1, 3), 2, loop=True).tolist() == [[0], [0]]
    batch = torch.tensor([0, 2, 2])
    assert knn_graph(points(3, 2), 4, batch).tolist() == [[2, 1], [1, 2]]
    assert convnn.graphs.knn_graph is knn_graph


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "k": (lambda: knn_graph(points(4, 2), 0), "^k=0 must be an integer of at least 1$"),
    "x": (lambda: knn_graph(points(4), 1), r"^x of shape \(4,\) and torch.float64 must be floating and \(N, C\)"),
    "whole numbers": (lambda: knn_graph(points(4, 2).long(), 1), "and torch.int64 must be floating"),
    "batch": (
        lambda: knn_graph(points(4, 2), 1, torch.tensor([0, 0])),
        r"^batch of shape \(2,\) must have an entry for",
    ),
    "order": (
        lambda: knn_graph(points(2, 2), 1, torch.tensor([1, 0])),
        "^batch must be one list of int64 that ascends",
    ),
    "flow": (lambda: knn_graph(points(4, 2), 1, flow="up"), "^flow='up' is not one of source_to_target, target_to"),
    "keep": (lambda: knn_graph(points(4, 2), 1, keep="some"), "^keep='some' is not one of all, mutual, either"),
    "metric": (
        lambda: knn_graph(points(4, 2), 1, metric="city"),
        "^metric='city' is not one of cosine, euclidean, matmul",
    ),
    "r": (lambda: radius_graph(points(4, 2), -1.0), "^r=-1.0 must be a distance of at least 0$"),
    "many": (
        lambda: radius_graph(points(4, 2), 1.0, max_num_neighbors=0),
        "^max_num_neighbors=0 must be an integer of at",
    ),
    "size": (lambda: grid_graph((3, 0)), r"^size=\(3, 0\) must be at least one number, each of at least 1$"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name: str) -> None:
    call, message = BAD[name]
    with pytest.raises(InputError, match=message):
        call()
