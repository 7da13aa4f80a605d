"""Tests of all layers on images that compute the middles of windows, alone and in networks."""

import ast
import re
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck

import brute_force_images as brute
from against_definition import sloping_maps
from convnn import nn as cnn
from convnn.errors import InputError, UnsupportedError
from convnn.models import create_model
from convnn.nn import vision_graphs, windows
from convnn.systems import FACTS
from kernel_layers import KERNELS
from pairwise import one_in, only

SOURCES = sorted(
    path for room in (vision_graphs, windows) for path in Path(room.__path__[0]).glob("*.py") if path.name != FACTS
)
LAYERS = ["ViG", "EdgeConv", "SVGA", "MGC", "DAGC", "NeighborhoodAttention2d", "NonLocal", "AdaptiveNeighborhoods"]

ALL = [*LAYERS, *KERNELS]


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_twice(name: str) -> None:
    torch.manual_seed(0)
    layer = cnn.layer_factory(name, K=3, latent_channels=4)(2, 2).double()
    x = sloping_maps(2, 3, 4)[:1].requires_grad_()
    assert gradcheck(layer, x, fast_mode=True)
    if name != "NonLocal":  # PyTorch's attention has no second derivative
        assert gradgradcheck(layer, x, atol=1e-4, fast_mode=True)


@pytest.mark.parametrize("name", LAYERS)
def test_an_encoding_in_front_is_that_layer_on_the_encoded_map(name: str) -> None:
    torch.manual_seed(0)
    build = cnn.layer_factory(name, K=4, kernel_size=3)
    encoded, plain = build(3, 4, positional_size=3).double(), build(3, 4, positional_size=0).double()
    plain.load_state_dict({key: one for key, one in encoded.state_dict().items() if "positional" not in key})
    x = sloping_maps(3, 5, 4).requires_grad_()
    kernel, bias = encoded.positional.weight, encoded.positional.bias
    by_hand = torch.stack([brute.positional(one, kernel, bias) for one in x])
    outputs = encoded(x), plain(by_hand)
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-12)
    weights = torch.randn_like(outputs[0])
    gradients = [torch.autograd.grad((out * weights).sum(), (x, kernel, bias)) for out in outputs]
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)
    assert torch.equal(encoded.neighbors(x).indices, plain.neighbors(by_hand).indices)
    assert "positional_size=3" in encoded.extra_repr()
    assert "positional" not in plain.extra_repr()


@pytest.mark.parametrize(
    ("model", "name"),
    [
        *only(lambda one: one[1] in ALL[::4], product(["vgg11"], ALL)),
        *only(lambda one: one[1] in ALL[2::4], product(["resnet18"], ALL)),
    ],
)
def test_trains_in_a_network(model: str, name: str) -> None:
    torch.manual_seed(0)
    network = create_model(model, name, width=1 / 16, dropout=0.0, **KERNELS.get(name, {}))
    _train_once(network)


@pytest.mark.parametrize("name", one_in(3, ALL))
def test_takes_the_place_of_convolutions(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 7, stride=2, padding=3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.Conv2d(8, 12, 4, stride=4),
        nn.Conv2d(12, 12, 1),
        nn.Conv2d(12, 12, 3, padding=2),
        nn.Flatten(),
        nn.LazyLinear(10),
    )
    x = torch.randn(2, 3, 32, 32)
    shape = model[:6](x).shape
    report = cnn.replace_layers(model, name, **KERNELS.get(name, {}))
    assert [fate.reason for fate in report.fates] == [
        "",
        "",
        "",
        "its window is a single position",
        "the middle of its first window lies in the padding",
    ]
    assert model[:6](x).shape == shape
    _train_once(model)


def _train_once(model: nn.Module) -> None:
    x = torch.randn(4, 3, 32, 32)
    model(x)  # a lazy layer infers its width
    optimizer = torch.optim.AdamW(model.parameters())
    loss = nn.functional.cross_entropy(model(x), torch.arange(4))
    loss.backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without
    optimizer.step()
    assert torch.isfinite(model(x)).all()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (partial(cnn.ViG2d, K=0), "K=0"),
        (partial(cnn.ViG2d, graph_dilation=0), "graph_dilation=0"),
        (partial(cnn.ViG2d, reduction=0), "reduction=0"),
        (partial(cnn.ViG2d, groups=3), "groups=3"),
        (partial(cnn.ViG2d, graph_conv="edge"), "graph_conv='edge'"),
        (partial(cnn.ViG2d, edge_activation="tanh"), "edge_activation='tanh'"),
        (partial(cnn.ViG2d, relative_side=-1), "relative_side=-1"),
        (partial(cnn.EdgeConv2d, reduction=0), "reduction=0"),
        (partial(cnn.ViG2d, backend="gpu"), "backend='gpu'"),
        (partial(cnn.EdgeConv2d, mlp_layers=0), "mlp_layers=0"),
        (partial(cnn.MGC2d, step=0), "step=0"),
        (partial(cnn.MGC2d, positional_size=4), "positional_size=4 must be odd"),
        (partial(cnn.MGC2d, positional_size=-1), "positional_size=-1"),
        (partial(cnn.NeighborhoodAttention2d, kernel_size=4), "kernel_size=4 must be odd"),
        (partial(cnn.NeighborhoodAttention2d, head_channels=0), "head_channels=0"),
        (partial(cnn.NeighborhoodAttention2d, attention_dilation=0), "attention_dilation=0"),
        (partial(cnn.NeighborhoodAttention2d, qk_scale=0.0), "qk_scale=0.0"),
        (partial(cnn.AdaptiveNeighborhoods2d, edge_type="angle"), "edge_type='angle'"),
        (partial(cnn.AdaptiveNeighborhoods2d, edge_type="weight"), "edge_type='weight'"),
        (partial(cnn.AdaptiveNeighborhoods2d, degree_type="sum"), "degree_type='sum'"),
        (partial(cnn.AdaptiveNeighborhoods2d, keeping="hard"), "keeping='hard'"),
        (partial(cnn.AdaptiveNeighborhoods2d, pooling="min"), "pooling='min'"),
        (partial(cnn.AdaptiveNeighborhoods2d, latent_channels=0), "latent_channels=0"),
        (partial(cnn.NonLocal2d, stride=0), "stride=0"),
    ],
)
def test_refuses_what_it_cannot_be(build: partial, words: str) -> None:
    with pytest.raises(InputError, match=re.escape(words)):
        build(4, 4)


@pytest.mark.parametrize("name", [*LAYERS, *KERNELS])
def test_refuses_other_maps(name: str) -> None:
    layer = cnn.layer_factory(name, **KERNELS.get(name, {}))(4, 4)
    with pytest.raises(InputError, match=r"\(2, 3, 5, 5\)"):
        layer(torch.zeros(2, 3, 5, 5))
    with pytest.raises(InputError, match="padding=2 is wider"):
        cnn.LAYERS[name].build(4, 4, window_size=3, padding=2, **KERNELS.get(name, {}))(torch.zeros(2, 4, 5, 5))


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_layer_is_small_because_its_parts_are_shared(source: Path) -> None:
    """A layer has fewer than 120 lines without docstrings, blank lines and comments."""
    lines = {node.lineno for node in ast.walk(ast.parse(source.read_text())) if hasattr(node, "lineno")}
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, node.end_lineno + 1))
    assert len(lines) < 120


def test_weights_of_a_convolution_have_no_place() -> None:
    with pytest.raises(UnsupportedError, match="ViG2d"):
        cnn.replace_layers(nn.Sequential(nn.Conv2d(3, 4, 3)), "ViG", keep_weights=True)
