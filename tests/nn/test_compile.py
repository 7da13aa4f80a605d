"""Tests that `torch.compile(fullgraph=True)` gives the results of eager mode."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

from convnn import nn as cnn
from layer_cases import MAP_CASES, LayerCase
from pairwise import only

USUAL = ("convnn2d-shuffle", "branching2d", "vig", "adaptive", "lie-conv")
"""Some of the rooms: the others are in the long run."""


@pytest.mark.parametrize("case", only(lambda case: case.name in USUAL, MAP_CASES), ids=lambda case: case.name)
def test_every_layer_compiles_as_one_graph(case: LayerCase) -> None:
    _check_compiled(case.layer(), case.input())


@pytest.mark.parametrize("layer_type", [cnn.ConvNN2d, cnn.ConvNNAttn2d])
def test_random_draws_compile_in_training(layer_type: type[torch.nn.Module]) -> None:
    layer = layer_type(3, 4, K=5, sampling_type="random", num_samples=10)
    _check_compiled(layer.train(), torch.randn(2, 3, 6, 4))


def _check_compiled(layer: torch.nn.Module, image: torch.Tensor) -> None:
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    x, y = image.clone().requires_grad_(), image.clone().requires_grad_()
    torch.manual_seed(3)
    expected = layer(x)
    torch.manual_seed(3)
    out = compiled(y)
    torch.testing.assert_close(out, expected)
    expected.square().sum().backward()
    out.square().sum().backward()
    torch.testing.assert_close(y.grad, x.grad)


@pytest.mark.slow
@pytest.mark.parametrize(
    "layer",
    [
        cnn.ConvNN2d(3, 4, similarity_type="Loc_Col", aggregation_type="Loc_Col", padding=0),
        cnn.ConvNNAttn2d(3, 4, K=5, sampling_type="random", num_samples=10),
        cnn.Branching2d.with_convnn(3, 4, K=4, sampling_type="spatial", num_samples=3),
    ],
    ids=["convnn", "attention", "branching"],
)
def test_traced_backward(layer: torch.nn.Module) -> None:
    layer = layer.eval()
    x = torch.randn(2, 3, 6, 5, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(y), layer(x))
    layer(x).square().sum().backward()
    compiled(y).square().sum().backward()
    torch.testing.assert_close(y.grad, x.grad)


@pytest.mark.slow
def test_a_compiled_layer_takes_another_resolution_and_autocast() -> None:
    layer = cnn.ConvNN2d(3, 4, K=5).eval()
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    for size in ((6, 5), (7, 9), (4, 4)):
        x = torch.randn(2, 3, *size)
        torch.testing.assert_close(compiled(x), layer(x))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(compiled(x), layer(x))


QUICK = ("convnn1d",)
OF_ONE_SIZE = ("longconv1d", "fdconv")
"""Layers whose matrices follow the factors of the size, or keep other frequencies for each size: a graph for each."""
OF_ANY_SIZE = [case for case in MAP_CASES if case.name not in OF_ONE_SIZE]


@pytest.mark.slow
@pytest.mark.parametrize("case", only(lambda case: case.name in QUICK, OF_ANY_SIZE), ids=lambda case: case.name)
def test_a_second_graph_takes_every_resolution(case: LayerCase) -> None:
    """The first graph is for one size; the second has a dynamic size."""
    layer, counter = case.layer(), CompileCounter()
    compiled = torch.compile(layer, fullgraph=True, backend=counter)
    for larger in (0, 2, 4, 6):
        x = case.resized(tuple(n + larger * (1 + i) for i, n in enumerate(case.size))).input()
        torch.testing.assert_close(compiled(x), layer(x))
    assert counter.frame_count <= 2


def test_errors_speak_through_the_compiler() -> None:
    compiled = torch.compile(cnn.ConvNN2d(3, 4, K=30, padding=0), backend="eager")
    with pytest.raises(ValueError, match="K=30 is more than the 16 positions of a 4x4 map"):
        compiled(torch.randn(1, 3, 4, 4))
