"""The neighbours that layers on tokens return: their counts and weights, and the output that follows from them."""

import pytest
import torch

from convnn import nn as cnn
from token_layers import LAYERS, SAMPLED, exact, joined, random

METRICS = ["matmul", "cosine", "euclidean"]


@pytest.mark.parametrize("sampling", SAMPLED)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("K", [1, 4, 7])
def test_convnn_neighbors(K: int, metric: str, sampling: str) -> None:
    layer = exact(cnn.ConvNNAttention(12, 3, K=K, metric=metric, **SAMPLED[sampling]))
    neighbors = layer.neighbors(random(2, 11, 12))
    assert neighbors.indices.shape == neighbors.scores.shape == (6, 11, K)
    assert neighbors.absent is None
    assert neighbors.scores.min() >= 0
    torch.testing.assert_close(neighbors.scores.sum(-1), torch.ones(6, 11, dtype=torch.float64))
    if sampling == "all":
        assert (neighbors.scores.diff(dim=-1) <= 0).all()  # best first
    else:
        assert torch.equal(neighbors.indices[..., 0], torch.arange(11).expand(6, -1))
        assert len(neighbors.indices[..., 1:].unique()) <= 6


@pytest.mark.parametrize(
    ("name", "K", "seen"),
    [
        ("dense", 11, 11),
        ("kvt", 4, 4),
        ("window", 4, 4),
        ("local", 7, [4, 5, 6, 7, 7, 7, 7, 7, 6, 5, 4]),
        ("sparse-local", 5, [3, 4, 5, 5, 5, 5, 5, 5, 5, 4, 3]),
        ("sparse-strided", 3, [3, 3, 3, 2, 3, 3, 3, 2, 3, 3, 3]),
    ],
)
def test_neighbors_are_weighed_and_absent_ones_weigh_nothing(name: str, K: int, seen: int | list[int]) -> None:
    neighbors = exact(LAYERS[name]()).neighbors(random(2, 11, 12))
    assert neighbors.indices.shape == neighbors.scores.shape == (6, 11, K)
    torch.testing.assert_close(neighbors.scores.sum(-1), torch.ones(6, 11, dtype=torch.float64))
    expected = torch.tensor(seen).expand(6, 11)
    assert torch.equal((neighbors.scores > 0).sum(-1), expected)
    assert neighbors.absent is None, "a weight of zero says it"


@pytest.mark.parametrize("name", LAYERS)
def test_neighbors_are_those_of_the_layer(name: str) -> None:
    """The output of the layer follows from its kernel and the neighbours that it returns."""
    layer, x = exact(LAYERS[name]()), random(2, 11, 12)
    neighbors = layer.neighbors(x)
    values = layer.project(x)[2].flatten(0, 1)
    rows = values[torch.arange(6)[:, None, None], neighbors.indices] * neighbors.scores.unsqueeze(-1)
    if isinstance(layer, cnn.ConvNNAttention):
        if layer.convolution_type == "standard":
            out = torch.einsum("btkc,ock->bto", rows, layer.weight)
        else:
            out = torch.einsum("btkc,ck->btc", rows, layer.weight[:, 0])
        out = out if layer.pointwise is None else layer.pointwise(out)
    else:
        out = rows.sum(2)
    torch.testing.assert_close(layer(x), joined(layer, out.unflatten(0, (2, 3))))


def test_random_draw_is_the_same_for_all_heads_and_sequences() -> None:
    layer = cnn.ConvNNAttention(12, 3, K=7, sampling_type="random", num_samples=6).train()
    chosen = layer.neighbors(torch.randn(4, 30, 12)).indices
    assert torch.equal(chosen[..., 0], torch.arange(30).expand(12, -1))
    assert len(chosen[..., 1:].unique()) == 6
