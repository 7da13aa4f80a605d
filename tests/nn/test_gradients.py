"""Tests of the gradients of every layer against finite differences, in float64 on maps without ties."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call

from convnn import nn as cnn
from pairwise import sweep

SAMPLINGS = {
    "all": {},
    "random": {"sampling_type": "random", "num_samples": 3},
    "spatial": {"sampling_type": "spatial", "num_samples": 2},
}
SHUFFLES = ["NA", "A", "B", "BA"]
METRICS = ["cosine", "euclidean"]


def _function(layer: nn.Module, size: tuple[int, ...]) -> tuple[Callable[..., Tensor], list[Tensor]]:
    """Return the layer as a function of its input and weights, and the point at which to differentiate."""
    generator = torch.Generator().manual_seed(4)
    layer = layer.double().eval()
    names = [name for name, _ in layer.named_parameters()]
    shapes = [(1, layer.in_channels, *size), *[p.shape for p in layer.parameters()]]
    point = [torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True) for shape in shapes]

    def function(x: Tensor, *parameters: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    return function, point


def _check(layer: nn.Module, size: tuple[int, ...], twice: bool = False) -> None:
    function, point = _function(layer, size)
    assert gradcheck(function, point, fast_mode=sum(p.numel() for p in point) > 200)
    if twice:
        assert gradgradcheck(function, point, fast_mode=True)


def _shuffle(pattern: str) -> dict:
    return {"shuffle_pattern": pattern, "shuffle_scale": 0 if pattern == "NA" else 2}


@sweep(metric=METRICS, similarity=["Col", "Loc", "Loc_Col"], sampling=list(SAMPLINGS), shuffle=["NA", "BA"])
def test_convnn(metric: str, similarity: str, sampling: str, shuffle: str) -> None:
    size = (3, 3) if shuffle == "NA" else (4, 4)
    aggregation = "Col" if similarity == "Loc" else "Loc_Col"
    types = {"metric": metric, "similarity_type": similarity, "aggregation_type": aggregation}
    _check(cnn.ConvNN2d(2, 2, K=3, padding=0, **types, **SAMPLINGS[sampling], **_shuffle(shuffle)), size)


@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("layer_type", [cnn.ConvNN1d, cnn.ConvNNAttn1d])
def test_every_shuffle_in_1d(layer_type: type[nn.Module], shuffle: str) -> None:
    _check(layer_type(2, 2, K=3, padding=1, **_shuffle(shuffle)), (4,))


@pytest.mark.parametrize("metric", METRICS)
def test_convnn_3d(metric: str) -> None:
    _check(cnn.ConvNN3d(2, 2, K=3, padding=0, metric=metric, aggregation_type="Loc_Col"), (2, 1, 3))


@sweep(metric=METRICS, sampling=list(SAMPLINGS), aggregation=["Col", "Loc_Col"])
def test_attention(metric: str, sampling: str, aggregation: str) -> None:
    types = {"metric": metric, "aggregation_type": aggregation}
    _check(cnn.ConvNNAttn2d(2, 2, K=3, padding=0, **types, **SAMPLINGS[sampling]), (3, 3))


@pytest.mark.parametrize("build", ["with_convnn", "with_attention"])
@pytest.mark.parametrize("ratio", [0, 0.5, 1])
def test_branching(ratio: float, build: str) -> None:
    _check(getattr(cnn.Branching2d, build)(2, 2, K=3, padding=0, branch_ratio=ratio), (3, 2))


@pytest.mark.parametrize(
    ("aggregation", "shuffle"), [("Col", "NA"), ("Col", "BA"), ("Loc_Col", "NA"), ("Loc_Col", "BA")]
)
def test_conv_new(aggregation: str, shuffle: str) -> None:
    _check(cnn.Conv2dNew(2, 2, kernel_size=3, aggregation_type=aggregation, **_shuffle(shuffle)), (2, 4))


@pytest.mark.parametrize(
    "layer",
    [
        cnn.ConvNN2d(2, 2, K=3, padding=0),
        cnn.ConvNN2d(2, 2, K=3, padding=0, metric="euclidean", similarity_type="Loc_Col"),
        cnn.ConvNNAttn2d(2, 2, K=3, padding=0),
        cnn.ConvNNAttn2d(2, 2, K=3, padding=0, metric="euclidean"),
        cnn.Branching2d.with_attention(2, 2, K=3, padding=0),
        cnn.Conv2dNew(2, 2, kernel_size=3, aggregation_type="Loc_Col"),
    ],
    ids=["cosine", "euclidean", "attention-cosine", "attention-euclidean", "branching", "conv-new"],
)
def test_second_derivatives(layer: nn.Module) -> None:
    _check(layer, (3, 2), twice=True)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("padding", [0, 1])
def test_zero_vectors_leave_attention_gradients_moderate(metric: str, padding: int) -> None:
    torch.manual_seed(0)
    layer = cnn.ConvNNAttn2d(3, 4, K=9, padding=padding, metric=metric).eval()
    x = torch.randn(2, 3, 4, 5)
    x[0, :, 1, 2] = 0
    x[1] = 0
    x.requires_grad_()
    layer(x).square().sum().backward()
    for gradient in (x.grad, *[p.grad for p in layer.parameters()]):
        assert gradient.isfinite().all()
        assert gradient.abs().max() < 1e3


def test_attention_teaches_its_projections_whom_to_look_at() -> None:
    layer = cnn.ConvNNAttn2d(3, 4, K=3)
    layer(torch.randn(2, 3, 4, 5)).square().sum().backward()
    for projection in (layer.query, layer.key, layer.value):
        assert projection.weight.grad.abs().max() > 0


def test_the_choice_of_convnn_passes_no_gradient() -> None:
    """A small change of a position that is not chosen changes nothing, however close it is to being chosen."""
    layer = cnn.ConvNN1d(1, 1, K=2, padding=0, metric="euclidean", dtype=torch.float64)
    x = torch.tensor([[[0.0, 1.0, 5.0, 6.0]]], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x)[0, 0, 0], x)
    assert gradient[0, 0, :2].tolist() == pytest.approx(layer.weight[0, 0].tolist())
    assert gradient[0, 0, 2:].tolist() == [0, 0]
