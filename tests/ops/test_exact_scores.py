"""The search against exact arithmetic: intermediate rounding must not change the result."""

from decimal import Decimal, localcontext
from fractions import Fraction
from math import inf

import pytest
import torch

from convnn.nn import ConvNN2d
from convnn.ops import METRICS
from convnn.ops.select import nearest, one_of_each
from ill_conditioned import cases

BACKENDS = ("reference", "auto")


def _exact_score(q: list[float], k: list[float], metric: str) -> float:
    """Return the exact score, rounded once to float32."""
    if metric == "euclidean":
        return _float32(-sum((Fraction(a) - Fraction(b)) ** 2 for a, b in zip(q, k, strict=True)))
    product = sum(Fraction(a) * Fraction(b) for a, b in zip(q, k, strict=True))
    if metric == "matmul":
        return _float32(product)
    squares = sum(Fraction(a) ** 2 for a in q) * sum(Fraction(b) ** 2 for b in k)
    if squares == 0:
        return 0.0
    with localcontext(prec=60):
        length = (Decimal(squares.numerator) / Decimal(squares.denominator)).sqrt()
        return _float32(Decimal(product.numerator) / Decimal(product.denominator) / length)


def _float32(number: Fraction | Decimal) -> float:
    return torch.tensor(float(number), dtype=torch.float64).float().item()


def _chosen(q: list[float], keys: list[list[float]], K: int, metric: str) -> list[int]:
    return sorted(range(len(keys)), key=lambda j: (-_exact_score(q, keys[j], metric), j))[:K]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("metric", METRICS)
def test_the_choice_is_that_of_exact_arithmetic(metric: str, backend: str) -> None:
    for case in cases(81, seed=5, longest=20, widest=20):
        if case.metric == metric and case.keys.isfinite().all() and "units" not in case.name:
            found = nearest(case.queries, case.keys, case.K, metric=metric, backend=backend).indices
            for image, (queries, keys) in enumerate(zip(case.queries.tolist(), case.keys.tolist(), strict=True)):
                for i, q in enumerate(queries[:3]):
                    assert found[image, i].tolist() == _chosen(q, keys, case.K, metric), case.name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [3, 40])
def test_a_distance_that_is_small_beside_the_coordinates(channels: int, backend: str) -> None:
    point = torch.zeros(channels)
    point[:3] = torch.tensor([3.9e6, 3e5, 5e6])
    points = point.repeat(4, 1)
    points[1, 0] += 6
    points[2, 1] += 5
    points[3, 0] += 2
    found = nearest(points[None], points[None], 4, metric="euclidean", positions=torch.arange(4), backend=backend)
    assert found.indices[0, 0].tolist() == [0, 3, 2, 1]


@pytest.mark.parametrize("backend", BACKENDS)
def test_orthogonal_rows_tie(backend: str) -> None:
    """Check that pixels at right angles about the centre have cosine 0 by place, whatever the rounding."""
    layer = ConvNN2d(1, 1, K=2, padding=0, similarity_type="Loc", backend=backend)
    found = layer.neighbors(torch.randn(1, 1, 2, 2)).indices
    assert found[0].tolist() == [[0, 1], [0, 1], [0, 2], [1, 3]]


@pytest.mark.parametrize("metric", ["cosine", "matmul"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_zero_rows_and_rows_that_are_not_numbers(metric: str, backend: str) -> None:
    """Check that the cosine of a zero row is 0 with everything, NaN included; a product with NaN ranks last."""
    keys = torch.zeros(1, 6, 16)
    keys[0, [1, 3]] = 1
    queries = torch.stack([torch.full((16,), torch.nan), torch.zeros(16), torch.full((16,), inf)])[None]
    found = nearest(queries, keys, 6, metric=metric, backend=backend).indices[0]
    last = [0, 2, 4, 5, 1, 3] if metric == "cosine" else [0, 1, 2, 3, 4, 5]
    assert found[0].tolist() == last
    assert found[1].tolist() == [0, 1, 2, 3, 4, 5]
    assert found[2].tolist() == last


@pytest.mark.parametrize("backend", BACKENDS)
def test_one_of_each_has_the_same_ties(backend: str) -> None:
    keys = torch.tensor([[[0.1, 0.2, 0.3], [0.3, 0.0, -0.1], [0.2, -0.1, 0.0], [-0.3, 0.0, 0.1]]])
    choices = torch.tensor([[[3, 1, 2], [2, 1, 3], [1, 2, 3]]])
    for metric in ("cosine", "matmul"):
        for unlike in (False, True):
            found = one_of_each(keys[:, :1], keys, choices, metric=metric, unlike=unlike, backend=backend)
            assert found.indices.tolist() == [[[3, 2, 1]]]


def test_the_cases_are_as_hard_as_they_say() -> None:
    """Check cases in which a search by float32 products fails."""
    wrong = 0
    for case in cases(81, seed=1, longest=60):
        if case.metric == "euclidean" and case.keys.isfinite().all() and case.candidates is None:
            scores = -(case.queries.square().sum(-1)[..., None] + case.keys.square().sum(-1)[:, None])
            by_products = (scores + 2 * case.queries @ case.keys.mT).sort(dim=-1, descending=True, stable=True).indices
            found = nearest(case.queries, case.keys, case.K, metric="euclidean").indices
            wrong += not torch.equal(found, by_products[..., : case.K])
    assert wrong >= 3
