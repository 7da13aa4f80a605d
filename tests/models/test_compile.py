"""Tests that a whole network is one graph, forward and backward, without graph breaks."""

import pytest
import torch
from torch import nn

from convnn.models import create_model
from convnn.nn import list_layers
from kernel_layers import KERNELS
from pairwise import only


def _check_one_graph(network: nn.Module, images: torch.Tensor, backend: str = "aot_eager", **tolerances: float) -> None:
    network(images).square().sum().backward()
    expected = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    compiled = torch.compile(network, fullgraph=True, backend=backend)
    compiled(images).square().sum().backward()
    for parameter, gradient in zip(network.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, **tolerances)


USUAL = ("ConvNN", "ConvNNAttention")
"""Each single layer is compiled in tests/nn."""


@pytest.mark.slow
@pytest.mark.parametrize("layer", only(USUAL.__contains__, list_layers("maps")))
def test_a_training_step_compiles_as_one_graph(layer: str) -> None:
    settings = {"width": 0.05, "K": 4, "attention_dropout": 0.0} | KERNELS.get(layer, {})
    network = create_model("vgg11", layer, num_classes=4, **settings).eval()
    _check_one_graph(network, torch.randn(2, 3, 32, 32))


@pytest.mark.slow
@pytest.mark.parametrize("layer", only(USUAL.__contains__, list_layers("tokens")))
def test_a_training_step_of_vit_compiles_as_one_graph(layer: str) -> None:
    sizes = {"d_hidden": 12, "d_mlp": 16, "num_layers": 2, "patch_size": 8}
    network = create_model("vit", layer, num_classes=4, K=4, sparse_mode="local", **sizes).eval()
    _check_one_graph(network, torch.randn(2, 3, 32, 32))


NETWORKS = {
    "vrwkv": ("VRWKV", 16, {"d_hidden": 16, "num_heads": 2, "num_layers": 2, "patch_size": 4}),
    "gcvit_xxtiny": ("Attention", 64, {"width": 1 / 8}),
}


@pytest.mark.long  # two minutes
@pytest.mark.parametrize("name", NETWORKS)
def test_inductor_compiles_a_training_step_as_one_graph(name: str) -> None:
    layer, side, settings = NETWORKS[name]
    network = create_model(name, layer, num_classes=3, **settings).eval()
    torch.compiler.reset()  # another size before would make this one dynamic
    _check_one_graph(network, torch.randn(2, 3, side, side), backend="inductor", rtol=1e-3, atol=1e-4)


def test_features_stay_channels_last() -> None:
    """In the layout of positions, no layer after the first has to copy."""
    network = create_model("vgg11", "Branching", num_classes=4, width=0.25, K=4)
    layouts = []
    for module in network.features:
        module.register_forward_hook(
            lambda _, __, out: layouts.append(out.is_contiguous(memory_format=torch.channels_last))
        )
    network(torch.randn(2, 3, 32, 32))
    assert all(layouts)
    assert len(layouts) == len(network.features)
