"""Inverse convolution of embeddings: PyTorch Geometric on the same edges, loops, and points that are their own bank."""

import re

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError
from small_graphs import features

SimpleConv = pytest.importorskip("torch_geometric.nn").SimpleConv
from convnn.nn import graphs  # noqa: E402

X, BANK = features(7, 5), features(12, 5, seed=5)
UNIT = F.normalize(X, dim=1)


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("K", [1, 3, 12])
def test_it_is_a_convolution_with_a_minus_sign(K: int) -> None:
    similarity = X @ BANK.T
    nearest = similarity.topk(K).indices
    edge_index = torch.stack([nearest.flatten(), torch.arange(7).repeat_interleave(K)])
    weights = similarity.gather(1, nearest).flatten()
    collected = SimpleConv(aggr="sum")((BANK, X), edge_index, weights)
    expected = X - 0.8 / K * collected
    close(graphs.inverse_convolution(X, BANK, 0.8, K=K, normalize=False), expected)
    close(graphs.inverse_convolution(X, BANK, 0.8, K=K), F.normalize(expected, dim=1))


@pytest.mark.parametrize("K", [None, 12, 4])
@pytest.mark.parametrize("center", [None, False, True])
def test_loops(K: int | None, center: bool | None) -> None:
    similarity = X @ BANK.T
    is_centered = K is None if center is None else center
    mean = similarity.mean() if is_centered else 0
    expected = X.clone()
    for i in range(7):
        for j in sorted(range(12), key=lambda j: -similarity[i, j])[:K]:
            expected[i] -= 1.5 / (K or 12) * (similarity[i, j] - mean) * BANK[j]
    close(graphs.inverse_convolution(X, BANK, 1.5, K=K, center=center, normalize=False), expected)


def test_points_that_are_their_own_bank() -> None:
    close(graphs.inverse_convolution(UNIT, UNIT, 0.3, K=1, normalize=False), 0.7 * UNIT)  # each is nearest to itself
    close(graphs.inverse_convolution(X, X, 0.3, K=7, normalize=False), X - 0.3 / 7 * (X @ X.T) @ X)
    close(graphs.inverse_convolution(X, BANK, 0.0), UNIT)
    assert not graphs.inverse_convolution(UNIT, UNIT, 1.0, K=1).abs().gt(1e-3).all(1).any()  # moved to 0: stays there


def test_all_as_neighbours_and_all_differ_by_the_mean() -> None:
    near, whole = (graphs.inverse_convolution(X, BANK, 0.8, K=K, normalize=False) for K in (12, None))
    expected = -0.8 * (X @ BANK.T).mean() * BANK.mean(0)
    close(near - whole, expected.expand(7, -1))


@pytest.mark.parametrize("K", [None, 3])
@pytest.mark.parametrize("center", [False, True])
def test_gradients(K: int | None, center: bool) -> None:
    points = (X.clone().requires_grad_(), BANK.clone().requires_grad_())
    assert torch.autograd.gradcheck(
        lambda *p: graphs.inverse_convolution(*p, 0.8, K=K, center=center), points, fast_mode=True
    )


def test_estimators() -> None:
    mover = graphs.InvGC(0.5, rate=0.25)
    moved = clone(mover).fit(BANK.numpy()).transform(X.numpy())
    assert isinstance(moved, np.ndarray)
    close(torch.from_numpy(moved), graphs.inverse_convolution(X, BANK, 0.5, K=3))
    in_float32 = mover.fit(BANK.float()).transform(X.float())
    close(in_float32, graphs.inverse_convolution(X.float(), BANK.float(), 0.5, K=3))
    queries = features(9, 5, seed=2)
    both = graphs.InvGCRetrieval(0.5, 0.2, rate=0.4).fit(BANK, queries).transform(X)
    parts = graphs.inverse_convolution(X, BANK, 0.5, K=4) + graphs.inverse_convolution(X, queries, 0.2, K=3)
    close(both, F.normalize(parts, dim=1))
    assert isinstance(clone(graphs.InvGCRetrieval(0.5, 0.2)).fit(BANK, queries).transform(X.numpy()), np.ndarray)


def test_it_spreads_points() -> None:
    cone = F.normalize(features(60, 8) + 2, dim=1)
    spread = graphs.InvGC(0.8, K=5).fit(cone).transform(cone)
    for points, least, most in ((cone, 0.9, 1.0), (spread, -1.0, 0.9)):
        others = (points @ points.T).fill_diagonal_(-1).amax(1).mean()
        assert least < others < most


@pytest.mark.parametrize(
    ("x", "bank", "settings", "message"),
    [
        (X[0], BANK, {}, "x of shape (5,) and torch.float64 must be floating and (N, C)"),
        (X, BANK.long(), {}, "bank of shape (12, 5) and torch.int64 must be floating"),
        (X, BANK[:, :4], {}, "bank of shape (12, 4) and torch.float64 must be (M, 5) and torch.float64, as x is"),
        (X, BANK.float(), {}, "bank of shape (12, 5) and torch.float32 must be (M, 5) and torch.float64, as x is"),
        (X, BANK[:0], {}, "bank of shape (0, 5) must have at least one point"),
        (X / 0, BANK, {}, "x must be finite"),
        (X, BANK * float("nan"), {}, "bank must be finite"),
        (X, BANK, {"r": float("inf")}, "r=inf must be a finite number"),
        (X, BANK, {"K": 0}, "K=0 must be an integer of at least 1"),
        (X, BANK, {"K": 13}, "K=13 must be at most 12, the number of points of the bank"),
    ],
)
def test_bad_input(x: Tensor, bank: Tensor, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        graphs.inverse_convolution(x, bank, **{"r": 1.0} | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rate": 0.05}, "rate=0.05 of 12 points of the bank is no neighbour; give K=1 or a higher rate"),
        ({"rate": 1.5}, "rate=1.5 must be above 0 and at most 1"),
        ({"rate": 0.5, "K": 3}, "K=3 and rate=0.5 both say how many neighbours there are; give one of them"),
    ],
)
def test_bad_rates(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        graphs.InvGC(1.0, **settings).fit(BANK).transform(X)
    assert graphs.share_of(features(100, 1), 0.29) == 29
