"""The weights of the neighbours, against plain sums."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops import METRICS, Neighbors, weigh


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _indices(batch: int, queries: int, K: int, length: int) -> Tensor:
    return torch.randint(length, (batch, queries, K), generator=torch.Generator().manual_seed(5))


def _score(a: list[float], b: list[float], metric: str) -> float:
    if metric == "euclidean":
        return -sum((p - q) ** 2 for p, q in zip(a, b, strict=True))
    product = sum(p * q for p, q in zip(a, b, strict=True))
    if metric == "matmul":
        return product
    lengths = math.hypot(*a) * math.hypot(*b)
    return product / lengths if lengths else 0.0


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("queries", "length", "K"), [(1, 1, 1), (4, 7, 3), (7, 4, 6)])
def test_similarity_scores_every_chosen_pair(queries: int, length: int, K: int, metric: str) -> None:
    q, k = _random(2, queries, 3), _random(2, length, 3, seed=1)
    k[0, 0] = 0
    indices = _indices(2, queries, K, length)
    weighed = weigh.similarity(Neighbors(indices), q, k, metric=metric)
    assert weighed.indices is indices
    for b, i, slot in itertools.product(range(2), range(queries), range(K)):
        expected = _score(q[b, i].tolist(), k[b, indices[b, i, slot]].tolist(), metric)
        assert weighed.scores[b, i, slot].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_scores_keep_their_bounds(metric: str) -> None:
    rows = 100 * _random(1, 50, 3).float()
    scores = weigh.similarity(Neighbors(torch.arange(50).view(1, 50, 1)), rows, rows, metric=metric).scores
    assert scores.max() <= (1 if metric == "cosine" else 0)
    torch.testing.assert_close(scores, torch.full_like(scores, 1 if metric == "cosine" else 0), atol=1e-2, rtol=0)


@pytest.mark.parametrize("metric", METRICS)
def test_similarity_gradients(metric: str) -> None:
    q, k, indices = _random(2, 3, 2).requires_grad_(), _random(2, 5, 2, seed=1).requires_grad_(), _indices(2, 3, 3, 5)

    def scores(q: Tensor, k: Tensor) -> Tensor:
        return weigh.similarity(Neighbors(indices), q, k, metric=metric).scores

    assert torch.autograd.gradcheck(scores, (q, k), fast_mode=True)
    assert torch.autograd.gradgradcheck(scores, (q, k), fast_mode=True)


def test_a_zero_vector_passes_no_gradient() -> None:
    rows = torch.tensor([[[0.0, 0.0], [1.0, 2.0]]], requires_grad=True)
    indices = torch.tensor([[[0, 1], [0, 1]]])
    weigh.similarity(Neighbors(indices), rows, rows, metric="cosine").scores.sum().backward()
    assert rows.grad.isfinite().all()
    assert rows.grad[0, 0].eq(0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("autocast", [False, True], ids=["plain", "autocast"])
@pytest.mark.parametrize("metric", METRICS)
def test_scores_are_float32_at_least(metric: str, autocast: bool, dtype: torch.dtype) -> None:
    q, k, neighbors = _random(1, 4, 3).to(dtype), _random(1, 6, 3).to(dtype), Neighbors(_indices(1, 4, 2, 6))
    exact = weigh.similarity(neighbors, q.float(), k.float(), metric=metric).scores
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        scores = weigh.similarity(neighbors, q, k, metric=metric).scores
    assert scores.dtype == torch.float32
    assert torch.equal(scores, exact)


def test_first_slot_is_constant_and_carries_no_gradient() -> None:
    scores = _random(2, 3, 4).requires_grad_()
    indices = _indices(2, 3, 4, 9)
    weighed = weigh.first_slot(Neighbors(indices, scores), 1.1)
    assert weighed.scores[..., 0].eq(1.1).all()
    assert torch.equal(weighed.scores[..., 1:], scores[..., 1:])
    assert torch.equal(weighed.indices, indices)
    weighed.scores.sum().backward()
    assert scores.grad[..., 0].eq(0).all()
    assert scores.grad[..., 1:].eq(1).all()


def test_softmax_over_the_neighbours() -> None:
    scores = 3 * _random(2, 3, 4)
    weights = weigh.softmax(Neighbors(_indices(2, 3, 4, 9), scores)).scores
    for b, i in itertools.product(range(2), range(3)):
        exponentials = [math.exp(s) for s in scores[b, i].tolist()]
        assert weights[b, i].tolist() == pytest.approx([e / sum(exponentials) for e in exponentials])


def test_softmax_of_large_scores_stays_finite() -> None:
    scores = torch.tensor([[[-1e30, 0.0, 1e4]]])
    weights = weigh.softmax(Neighbors(torch.zeros(1, 1, 3, dtype=torch.long), scores)).scores
    assert weights.tolist() == [[[0.0, 0.0, 1.0]]]


def test_dropout_silences_or_rescales_in_training_only() -> None:
    neighbors = Neighbors(_indices(1, 50, 9, 60), torch.rand(1, 50, 9) + 0.1)
    assert torch.equal(weigh.dropout(neighbors, 0.25, training=False).scores, neighbors.scores)
    dropped = weigh.dropout(neighbors, 0.25, training=True).scores
    silent = dropped == 0
    assert 0.1 < silent.float().mean() < 0.4
    torch.testing.assert_close(dropped[~silent], neighbors.scores[~silent] / 0.75)


@pytest.mark.parametrize(
    "step",
    [weigh.softmax, lambda n: weigh.first_slot(n, 1.0), lambda n: weigh.dropout(n, 0.5, training=True)],
    ids=["softmax", "first_slot", "dropout"],
)
def test_steps_on_scores_need_scores(step) -> None:
    with pytest.raises(InputError, match=r"neighbors\.scores=None must be set first, for example by weigh\.similarity"):
        step(Neighbors(torch.zeros(1, 1, 1, dtype=torch.long)))


@pytest.mark.parametrize(
    ("q", "k", "metric", "message"),
    [
        ((2, 3, 4), (2, 3, 4), "euclid", r"metric='euclid' is not one of .*; did you mean 'euclidean'\?"),
        ((2, 3, 4), (2, 3, 5), "cosine", r"queries \(2, 3, 4\) and keys \(2, 3, 5\) must agree in batch and channels"),
        ((2, 3, 4), (1, 3, 4), "cosine", r"queries \(2, 3, 4\) and keys \(1, 3, 4\) must agree in batch and channels"),
        ((3, 4), (2, 3, 4), "cosine", r"queries of shape \(3, 4\) and torch.float32 must be floating and \(B, T, C\)"),
    ],
    ids=["metric", "channels", "batch", "axes"],
)
def test_similarity_errors(q: tuple[int, ...], k: tuple[int, ...], metric: str, message: str) -> None:
    neighbors = Neighbors(torch.zeros(2, 3, 1, dtype=torch.long))
    with pytest.raises(ValueError, match=message) as error:
        weigh.similarity(neighbors, torch.zeros(q), torch.zeros(k), metric=metric)
    assert isinstance(error.value, InputError)


def _scored(scores: Tensor) -> Neighbors:
    return Neighbors(torch.zeros(scores.shape, dtype=torch.long), scores)


def test_root_is_minus_the_distance() -> None:
    squares = torch.tensor([[[0.0, -0.25, -9.0, -1e-20, -1e30]]], dtype=torch.float64)
    neighbors = weigh.root(_scored(squares))
    assert neighbors.scores[0, 0].tolist() == pytest.approx([0, -0.5, -3, -1e-10, -1e15], rel=1e-12)
    assert torch.equal(neighbors.indices, torch.zeros(1, 1, 5, dtype=torch.long))


def test_root_of_what_similarity_gives_is_minus_the_distance() -> None:
    queries, keys = _random(2, 4, 3), _random(2, 5, 3, seed=1)
    neighbors = Neighbors(torch.arange(5).expand(2, 4, 5))
    scores = weigh.root(weigh.similarity(neighbors, queries, keys, metric="euclidean")).scores
    torch.testing.assert_close(scores, -torch.cdist(queries, keys), rtol=0, atol=1e-12)


def test_inverse_is_one_over_the_distance() -> None:
    neighbors = _scored(torch.tensor([[[0.0, -0.5, -4.0]]], dtype=torch.float64))
    assert weigh.inverse(neighbors).scores[0, 0].tolist() == pytest.approx([1e8, 1 / (0.5 + 1e-8), 1 / (4 + 1e-8)])
    assert weigh.inverse(neighbors, eps=0.5).scores[0, 0].tolist() == pytest.approx([2, 1, 1 / 4.5])


def test_a_distance_of_zero_passes_no_gradient() -> None:
    squares = torch.tensor([[[0.0, -4.0, 0.0]]], dtype=torch.float64, requires_grad=True)
    for step in (weigh.root, lambda neighbors: weigh.inverse(weigh.root(neighbors))):
        (gradient,) = torch.autograd.grad(step(_scored(squares)).scores.sum(), squares)
        assert gradient.isfinite().all()
        assert gradient[0, 0, [0, 2]].eq(0).all()
        assert gradient[0, 0, 1] != 0


def test_equal_tokens_pass_no_gradient_through_their_distance() -> None:
    rows = torch.tensor([[[1.0, 2.0], [1.0, 2.0], [3.0, -1.0]]], dtype=torch.float64, requires_grad=True)
    neighbors = Neighbors(torch.tensor([[[0, 1], [0, 1], [0, 1]]]))
    distances = weigh.root(weigh.similarity(neighbors, rows, rows, metric="euclidean")).scores
    assert distances[0, :2].eq(0).all()
    (gradient,) = torch.autograd.grad(distances[0, :2].sum(), rows, retain_graph=True)
    assert gradient.eq(0).all()
    (gradient,) = torch.autograd.grad(distances.sum(), rows)
    assert gradient.isfinite().all()
    assert gradient[0, 2].abs().sum() > 0


def test_root_propagates_nan() -> None:
    scores = torch.tensor([[[float("nan"), -4.0]]], requires_grad=True)
    roots = weigh.root(_scored(scores)).scores
    assert roots[0, 0, 0].isnan()
    assert roots[0, 0, 1] == -2
