import math

import pytest
import torch

from convnn.errors import InputError, UnsupportedError
from convnn.learners.hashing import EuclideanHash, Hashed, hashed_product
from convnn.learners.kernels import Gaussian, Laplace, Linear
from small_graphs import features

X, Y, V = features(40, 4), features(30, 4, seed=2), features(30, 2, seed=3)
NONE = torch.empty(0, dtype=torch.float64)


def _uniforms(count: int, seed: int) -> torch.Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _hash(tables: int, hashes: int, width: float = 2.0) -> EuclideanHash:
    directions = features(tables * hashes, 4, seed=5).view(tables, hashes, 4)
    return EuclideanHash(directions, width * _uniforms(tables * hashes, 6).view(tables, hashes), width)


def test_candidates_share_all_codes_of_a_table() -> None:
    ours = _hash(3, 2)
    expected = []
    for i, query in enumerate(X):
        for j, key in enumerate(Y):
            for table in range(3):
                codes = [
                    [
                        math.floor((float(a @ v) + float(b)) / 2.0)
                        for a, b in zip(ours.directions[table], ours.offsets[table], strict=True)
                    ]
                    for v in (query, key)
                ]
                if codes[0] == codes[1]:
                    expected.append([i, j])
                    break
    assert ours.candidates(X, Y).tolist() == expected
    assert 100 < len(expected) < 1100


def test_everything_collides_in_a_table_without_hashes() -> None:
    kernel, pairs = Gaussian(0.8), _hash(1, 0).candidates(X, Y)
    assert pairs.shape[0] == 40 * 30
    assert torch.allclose(hashed_product(kernel, X, Y, V, pairs, 0.0, NONE).total, kernel.block(X, Y) @ V)


@pytest.mark.parametrize("kernel", [Gaussian(0.8), Laplace(0.8)], ids=str)
def test_sample_is_unbiased_with_the_error_of_the_formula(kernel) -> None:
    K, pairs = kernel.block(X, Y), _hash(3, 2).candidates(X, Y)
    parts = [hashed_product(kernel, X, Y, V, pairs, 0.2, _uniforms(8, seed)) for seed in range(1000)]
    heavy, rest = parts[0].heavy, K.clone()
    rest[heavy[:, 0], heavy[:, 1]] = 0
    assert torch.allclose(parts[0].heavy_part + rest @ V, K @ V)
    assert 0 < len(heavy) < len(pairs)
    errors = torch.stack([part.total for part in parts]) - K @ V
    expected = (V.square().sum() * rest.square().sum() - (rest @ V).square().sum()) / 8
    assert errors.square().sum((1, 2)).mean().item() == pytest.approx(expected.item(), rel=0.1)
    assert errors.mean(0).square().sum() < 4 * expected / 1000


def test_small_blocks_change_nothing() -> None:
    pairs, uniforms = _hash(3, 2).candidates(X, Y), _uniforms(10, 0)
    whole = hashed_product(Gaussian(), X, Y, V, pairs, 0.1, uniforms)
    parts = hashed_product(Gaussian(), X, Y, V, pairs, 0.1, uniforms, megabytes=0.001)
    assert torch.equal(whole.heavy, parts.heavy)
    assert torch.allclose(whole.total, parts.total)


def test_zero_vector_draws_nothing() -> None:
    parts = hashed_product(Gaussian(), X, Y, 0 * V, _hash(3, 2).candidates(X, Y), 0.1, _uniforms(10, 0))
    assert not parts.total.any()
    assert not len(parts.samples)


def test_keeps_its_promise_on_clusters() -> None:
    centres = 1.5 * features(64, 8, seed=7)
    keys, queries = (centres.repeat(8, 1) + 0.3 * features(512, 8, seed=seed) for seed in (8, 9))
    kernel, v = Gaussian(0.6), features(512, 1, seed=10)
    found = Hashed(width=2.5, tables=12)(kernel, queries, keys, v)
    assert (found - kernel.block(queries, keys) @ v).norm() < 0.5 * v.norm()
    assert torch.equal(found[:, 0], Hashed(width=2.5, tables=12)(kernel, queries, keys, v[:, 0]))
    few = Hashed(width=2.5, tables=12, samples=128, tau=1.0)(kernel, queries, keys, v)  # a sample alone
    assert (few - kernel.block(queries, keys) @ v).norm() > (found - kernel.block(queries, keys) @ v).norm()


def test_few_points_are_multiplied_exactly() -> None:
    assert torch.allclose(Hashed()(Gaussian(), X, Y, V), Gaussian().block(X, Y) @ V)


@pytest.mark.parametrize(
    "settings",
    [{"tau": 0.0}, {"tau": 1.5}, {"samples": -1}, {"tables": 0}, {"hashes": 0}, {"width": 0.0}, {"epsilon": 0}],
)
def test_bad_settings(settings) -> None:
    with pytest.raises(InputError, match=f"{next(iter(settings))}="):
        Hashed(**settings)


def test_bad_input() -> None:
    with pytest.raises(InputError, match="must be"):
        Hashed()(Gaussian(), X[:, :2], Y, V)
    with pytest.raises(InputError, match="must be"):
        Hashed()(Gaussian(), X, Y, V[:-1])
    with pytest.raises(InputError, match="not finite"):
        Hashed()(Gaussian(), X, Y, V * torch.nan)
    with pytest.raises(UnsupportedError, match="not a function of the distance"):
        Hashed()(Linear(), X, Y, V)
