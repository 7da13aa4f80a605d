"""Columns by local push: the residue they leave, the inverse, a second implementation in loops, and networkx."""

import networkx
import numpy as np
import pytest
import torch

from convnn.errors import InputError
from convnn.ops.local_push import LocalPush
from convnn.ops.ragged import Lists

N, LONELY = 12, 11


def weighted(seed: int = 0) -> np.ndarray:
    """Return symmetric weights (N, N) without loops, of which a third are not 0; the last node has no neighbour."""
    draws = np.random.default_rng(seed)
    upper = np.triu(draws.uniform(0.5, 2, (N, N)) * (draws.random((N, N)) < 0.35), 1)
    upper[:, LONELY] = 0
    return upper + upper.T


def push(W: np.ndarray, **settings) -> LocalPush:
    rows, columns = W.nonzero()
    starts = torch.from_numpy(np.append(0, (W != 0).sum(1).cumsum()))
    return LocalPush(Lists(starts, torch.from_numpy(columns), len(W)), torch.from_numpy(W[rows, columns]), **settings)


def dense(found: tuple[torch.Tensor, torch.Tensor], count: int = N) -> np.ndarray:
    column = np.zeros(count)
    column[found[0].numpy()] = found[1].numpy()
    return column


def systems(W: np.ndarray, alpha: float) -> dict[str, np.ndarray]:
    """Return the matrix whose inverse has the columns, of each system."""
    d = W.sum(1)
    walk = W.T / np.where(d > 0, d, 1)
    return {
        "pagerank": (np.eye(len(W)) - (1 - alpha) * walk) / alpha,
        "laplacian": alpha * np.eye(len(W)) + np.diag(d) - W,
    }


@pytest.mark.parametrize("alpha", [0.1, 0.6])
@pytest.mark.parametrize("system", ["pagerank", "laplacian"])
def test_columns_are_below_the_inverse_by_that_of_a_small_residue(system: str, alpha: float) -> None:
    W, eps = weighted(), 0.02
    A = systems(W, alpha)[system]
    scale = alpha if system == "laplacian" else 1
    for node in (0, 5, LONELY):
        found = dense(push(W, alpha=alpha, eps=eps, system=system)(node))
        residue = (np.eye(N)[node] - A @ found) / scale  # as the push counts it
        assert (residue > -1e-12).all()
        assert (residue <= eps * W.sum(1) + 1e-12).all()
        assert (found <= np.linalg.inv(A)[:, node] + 1e-12).all()
        near = dense(push(W, alpha=alpha, eps=1e-13, system=system)(node))
        np.testing.assert_allclose(near, np.linalg.inv(A)[:, node], rtol=0, atol=1e-10)


def in_loops(W: np.ndarray, node: int, alpha: float, eps: float) -> list[float]:
    """Return personalised PageRank by pushes in loops, as the definition has it."""
    p, r, queue = [0.0] * len(W), [0.0] * len(W), [node]
    r[node] = 1.0
    while queue:
        u = queue.pop(0)
        if r[u] > eps * sum(W[u]):
            rest, r[u] = r[u], 0.0
            p[u] += alpha * rest
            for v in range(len(W)):
                if W[u][v]:
                    r[v] += (1 - alpha) * rest / sum(W[u]) * W[u][v]
                    queue += [v] if v not in queue else []
    return p


def test_first_come_are_first_served() -> None:
    W = weighted(1)
    for node in range(N):
        found = dense(push(W, alpha=0.2, eps=0.05)(node))
        np.testing.assert_allclose(found, in_loops(W, node, 0.2, 0.05), rtol=1e-12)


def test_pagerank_is_that_of_networkx_and_symmetric_but_for_degrees() -> None:
    W = weighted(2)
    columns = np.stack([dense(push(W, alpha=0.15, eps=1e-12)(node)) for node in range(N)])
    graph = networkx.from_numpy_array(W)
    theirs = networkx.pagerank(graph, alpha=0.85, personalization={3: 1}, tol=1e-14, max_iter=1000)
    np.testing.assert_allclose(columns[3], [theirs[v] for v in range(N)], rtol=0, atol=1e-10)
    scaled = (columns / np.where(W.sum(1) > 0, W.sum(1), 1))[:LONELY, :LONELY]
    np.testing.assert_allclose(scaled, scaled.T, rtol=0, atol=1e-10)


def test_loops_lose_nothing_where_the_published_queue_overflows() -> None:
    found = dense(push(np.ones((6, 6)), alpha=0.2, eps=1e-9)(0), 6)
    assert found.sum() == pytest.approx(1, abs=1e-6)


def test_weights_of_one_are_the_default_and_what_is_not_reached_is_not_there() -> None:
    path = np.eye(N, k=1) + np.eye(N, k=-1)
    lists = Lists(
        *(torch.from_numpy(each) for each in (np.append(0, path.sum(1).cumsum()).astype(int), path.nonzero()[1])), N
    )
    nodes, values = LocalPush(lists, alpha=0.5, eps=1e-3)(0)
    assert nodes.tolist() == list(range(len(nodes)))
    assert len(nodes) < N
    assert torch.equal(values, push(path, alpha=0.5, eps=1e-3)(0)[1])


def test_of_a_node_of_large_degree_nothing_may_be_found() -> None:
    star = np.zeros((N, N))
    star[0, 1:] = star[1:, 0] = 1
    nodes, values = push(star, alpha=0.5, eps=0.1)(0)  # its residue of 1 stays, for it is below 11 times eps
    assert (nodes.shape, nodes.dtype, values.shape) == ((0,), torch.int64, (0,))


def test_nearest_are_the_largest_of_each_column() -> None:
    ours = push(weighted(3), alpha=0.2, eps=1e-9)
    lists, values = ours.nearest(3)
    assert lists.lengths.tolist() == [3] * LONELY + [0]  # one component, and a node without neighbours
    for node in range(LONELY):
        column = dense(ours(node))
        column[node] = 0
        place = slice(int(lists.starts[node]), int(lists.starts[node + 1]))
        assert lists.indices[place].tolist() == np.argsort(-column, kind="stable")[:3].tolist()
        assert np.array_equal(values[place], np.sort(column)[::-1][:3])
    ring = np.roll(np.eye(N), 1, 0) + np.roll(np.eye(N), -1, 0)
    lists, _ = push(ring, alpha=0.5, eps=0.1).nearest(1)
    assert lists.indices.tolist() == [1, 0, *range(1, N - 2), 0]  # of two neighbours alike, that of the lower number


def test_bad_input() -> None:
    lists, weights = Lists(torch.tensor([0, 1, 2]), torch.tensor([1, 0]), 2), torch.ones(2)
    good = {"alpha": 0.5, "eps": 0.1}
    for bad, message in (
        ({"alpha": 0}, "alpha=0 must be a positive number"),
        ({"alpha": 1.5}, r"alpha=1\.5 must be at most 1"),
        ({"eps": 0}, "eps=0 must be a positive number"),
        ({"system": "heat"}, "system='heat' is not one of pagerank, laplacian"),
        ({"weights": -weights}, "weights must be finite and at least 0"),
        ({"weights": torch.ones(3)}, r"weights of shape \(3,\) must be \(2,\)"),
    ):
        with pytest.raises(InputError, match=message):
            LocalPush(lists, **good | bad)
    with pytest.raises(InputError, match="lists of 2 nodes among 3"):
        LocalPush(Lists(lists.starts, lists.indices, 3), **good)
    with pytest.raises(InputError, match="K=0 must be an integer of at least 1"):
        LocalPush(lists, **good).nearest(0)
    with pytest.raises(InputError, match="node=2 must lie between 0 and 1"):
        LocalPush(lists, **good)(2)
