"""Who stays, what those that leave pass on, and to whom: against loops and matrices."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.nn import Averaging, Dropping, Propagation, propagate, token_graph
from convnn.nn.tokens.reduce.graph import among, rows_of, tokens_at
from convnn.nn.tokens.reduce.importance import OVER_HEADS, TOKEN_SCORES, importance, without_small
from convnn.ops import Neighbors


def _tokens(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _matrix(graph: Neighbors) -> Tensor:
    length = graph.indices.shape[1]
    weights = graph.scores.masked_fill(graph.absent, 0)
    return weights.new_zeros(*graph.indices.shape[:2], length).scatter_add(2, graph.indices, weights)


def _edges(x: Tensor, size: tuple[int, int], graph: str, K: int) -> list[set[int]]:
    """Return the neighbours of each patch of one image, by the definition."""
    found = []
    for i in range(len(x)):
        others = [j for j in range(len(x)) if j != i]
        row, column = divmod(i, size[1])
        around = {j for j in others if abs(j // size[1] - row) <= 1 and abs(j % size[1] - column) <= 1}
        alike = set(sorted(others, key=lambda j: -F.cosine_similarity(x[i], x[j], dim=0).item())[:K])
        found.append({"spatial": around, "semantic": alike, "mixed": around | alike}[graph])
    return found


@pytest.mark.parametrize("graph", ["spatial", "semantic", "mixed"])
@pytest.mark.parametrize("size", [(3, 4), (1, 5)])
def test_the_graph_is_that_of_the_definition(graph: str, size: tuple[int, int]) -> None:
    x = _tokens(2, math.prod(size), 6)
    found = _matrix(token_graph(x, size, graph, K=3))
    for one, weights in zip(x, found, strict=True):
        edges = _edges(one, size, graph, 3)
        expected = torch.zeros_like(weights)
        for i, row in enumerate(edges):
            for j in row:
                expected[i, j] = (len(row) * len(edges[j])) ** -0.5
        torch.testing.assert_close(weights, expected)


def test_what_is_passed_on_is_a_product_with_the_graph() -> None:
    x = _tokens(2, 12, 5).requires_grad_()
    graph = token_graph(x, (3, 4), "mixed", K=2)
    order = torch.stack([torch.randperm(12, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1)])
    kept, leaving = order[:, :7], order[:, 7:]
    weights = _matrix(graph)
    image = torch.arange(2)[:, None, None]
    to_kept = weights[image, kept[:, :, None], leaving[:, None]]
    expected = tokens_at(x, kept) + 0.3 * to_kept @ tokens_at(x, leaving)
    found = propagate(x, graph, kept, 0.3)
    torch.testing.assert_close(found, expected)
    grad = _tokens(2, 7, 5, seed=2)
    torch.testing.assert_close(*(torch.autograd.grad(one, x, grad) for one in (found, expected)))
    carried = among(rows_of(graph, kept), kept, 12)
    torch.testing.assert_close(_matrix(carried), weights[image, kept[:, :, None], kept[:, None]])


def _score(attention: list[list[list[float]]], t: int, first: int, score: str, over: Callable) -> float:
    """Return the score of token t of one image by its attention (H, T, T), by the definition."""
    tokens = range(len(attention[0]))
    diagonal = over([head[t][t] for head in attention])
    received = over([sum(head[i][t] for i in tokens) for head in attention])
    if score == "cosine":
        rows = [torch.tensor([over([head[i][j] for head in attention]) for j in tokens]) for i in tokens[first:]]
        return -sum(F.cosine_similarity(rows[t - first], row, dim=0).item() for row in rows)
    of_class = over([head[0][t] for head in attention])
    return {
        "class": of_class,
        "image": received,
        "diagonal": diagonal,
        "mixed": diagonal * received,
        "sum": diagonal + received,
    }[score]


@pytest.mark.parametrize("over_heads", OVER_HEADS)
@pytest.mark.parametrize("score", [score for score in TOKEN_SCORES if score != "random"])
def test_scores_are_those_of_the_definition(score: str, over_heads: str) -> None:
    attention = (3 * _tokens(2, 3, 7, 7)).softmax(-1)
    over = {"max": max, "mean": lambda numbers: sum(numbers) / len(numbers)}[over_heads]
    expected = [[_score(one.tolist(), t, 2, score, over) for t in range(2, 7)] for one in attention]
    found = importance(attention, 2, score, over_heads)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=found.dtype), rtol=1e-6, atol=1e-6)


def test_random_scores_are_drawn_anew() -> None:
    attention = _tokens(1, 1, 9, 9).softmax(-1)
    assert not torch.equal(importance(attention, 1, "random"), importance(attention, 1, "random"))


@pytest.mark.parametrize("kept", [1.0, 0.99, 0.6, 0.1])
def test_small_attention_is_set_to_zero(kept: float) -> None:
    attention = _tokens(2, 2, 5, 5).softmax(-1)
    found = without_small(attention, kept)
    for head, ours in zip(attention.flatten(0, 1), found.flatten(0, 1), strict=True):
        in_order = sorted(head.flatten().tolist())
        smallest = in_order[max(0, int(25 * (1 - kept)) - 1)]
        assert ours.tolist() == [[value if value >= smallest else 0.0 for value in row] for row in head.tolist()]


def test_the_best_stay_in_descending_order_and_the_rest_leaves() -> None:
    attention = torch.eye(5, dtype=torch.float64)[None, None] * torch.tensor([9.0, 1, 4, 2, 3])
    kept, leaving = Dropping(score="diagonal").select(attention, 1, 2)
    assert (kept.tolist(), leaving.tolist()) == ([[1, 3]], [[2, 0]])


def test_without_passing_on_tokens_are_dropped() -> None:
    x, attention = _tokens(2, 10, 4), _tokens(2, 2, 10, 10).softmax(-1)
    results = []
    for reducer in (Dropping(), Propagation(K=3, alpha=0.0)):
        tokens = reducer.start(x, 1, (3, 3))
        results.append(reducer.reduce(tokens, *reducer.select(attention, 1, 4)))
    torch.testing.assert_close(results[0].x, results[1].x, rtol=0, atol=0)
    assert torch.equal(results[0].places, results[1].places)
    assert results[1].scales.unique().tolist() == [1]


def test_the_mean_of_those_that_leave_comes_last() -> None:
    x, attention = _tokens(1, 10, 4), _tokens(1, 2, 10, 10).softmax(-1)
    reducer = Averaging()
    kept, leaving = reducer.select(attention, 1, 4)
    tokens = reducer.reduce(reducer.start(x, 1, (3, 3)), kept, leaving)
    expected = [x[0, :1], x[0, 1 + kept[0]], x[0, 1 + leaving[0]].mean(0, keepdim=True)]
    torch.testing.assert_close(tokens.x[0], torch.cat(expected))
    assert tokens.places.tolist() == [[*kept[0].tolist(), -1]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: token_graph(_tokens(1, 6, 2), (2, 2)),
            r"^size=\(2, 2\) must be the rows and columns of the 6 patches$",
        ),
        (lambda: token_graph(_tokens(1, 6, 2), (2, 3), K=6), r"^K=6 must lie between 1 and 5, .* other patches$"),
        (lambda: token_graph(_tokens(1, 6, 2), (2, 3), "nearest"), r"^graph='nearest' is not one of spatial, "),
        (lambda: importance(_tokens(1, 1, 4, 4), 0, "class"), r"^score='class' needs a class token .* score='image'$"),
        (lambda: Dropping(score="cls"), r"^score='cls' is not one of "),
        (lambda: Dropping(over_heads="min"), r"^over_heads='min' is not one of max, mean"),
        (lambda: Dropping(sparsity=0.0), r"^sparsity=0\.0 must be above 0 and at most 1, "),
        (lambda: Dropping(sparsity=1.5), r"^sparsity=1\.5 must be above 0 and at most 1, "),
        (lambda: Propagation(alpha=-0.1), r"^alpha=-0\.1 must not be negative$"),
        (lambda: Propagation(K=0), r"^K=0 must be an integer of at least 1$"),
        (lambda: Propagation(graph="full"), r"^graph='full' is not one of "),
    ],
)
def test_what_is_refused(make: Callable, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()
