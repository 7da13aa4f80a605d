"""What holds for every segmentation network."""

from functools import partial

import pytest
import torch
from torch import nn

from convnn import merge, replace_layers
from convnn.errors import InputError
from convnn.models import create_model, list_models, segmentation, task_of
from convnn.models.segmentation import SegmentationNetwork

SMALL = {
    "mkunet": partial(segmentation.MKUNet, (2, 4, 4, 6, 8), num_classes=3),
    "bevanet": partial(
        segmentation.BEVANet, (1, 2, 2, 2), 2, context_planes=3, head_planes=4, num_classes=3, mlp_ratio=2
    ),
}
"""Small networks, and the function that builds each."""
STEPS = {"mkunet": 1, "bevanet": 8}
"""How many pixels of the image, along each axis, a position of the maps stands for."""


@pytest.fixture(params=SMALL)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def _random(network: nn.Module) -> nn.Module:
    """Give a network statistics and gains that differ from channel to channel, in float64 and evaluation mode."""
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            for value in (part.running_var, part.weight.data):
                value.uniform_(0.5, 1.5)
            for value in (part.running_mean, part.bias.data):
                value.normal_(std=0.3)
    return network.double().eval()


@pytest.mark.parametrize(("height", "width"), [(64, 96), (67, 81), (None, None)])
def test_images_of_any_size_give_maps(name: str, height: int | None, width: int | None) -> None:
    network = SMALL[name]().eval()
    height, width = height or network.min_size, width or network.min_size
    sides = [-(-side // STEPS[name]) for side in (height, width)]
    images = torch.randn(1, 3, height, width)
    assert network(images).shape == (1, 3, height, width)
    assert network.maps(images, auxiliary=False)[0].shape == (1, 3, *sides)


def test_training_mode_returns_the_maps_of_all_heads_if_asked(name: str) -> None:
    images = torch.randn(2, 3, 64, 64)
    network = SMALL[name](auxiliary=True)
    main, *others = network(images)
    assert others
    assert {one.shape[2:] for one in others} == {main.shape[2:]}
    main, *others = network.eval().maps(images)
    enlarged = nn.functional.interpolate(main, size=(64, 64), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(images), enlarged)
    assert isinstance(SMALL[name](auxiliary=False)(images), torch.Tensor)


def test_gradients_reach_every_parameter(name: str) -> None:
    network = SMALL[name](auxiliary=True)
    sum(one.square().mean() for one in network(torch.randn(2, 3, 64, 96))).backward()
    assert [key for key, one in network.named_parameters() if one.grad is None] == []
    assert all(one.grad.isfinite().all() for one in network.parameters())


def test_the_merged_network_computes_the_same(name: str) -> None:
    network, images = _random(SMALL[name]()), torch.randn(2, 3, 64, 96, dtype=torch.double)
    report = merge(network)
    assert report.merged
    out = network(images)
    assert out.dtype == torch.double
    torch.testing.assert_close(report.model(images), out, rtol=0, atol=1e-9)


@pytest.mark.parametrize("layer", ["ConvNN", lambda i, o: nn.Conv2d(i, o, 3, padding=1)])
def test_any_layer_on_maps_can_stand_in_the_blocks(name: str, layer: object) -> None:
    network, usual = SMALL[name](layer=layer), SMALL[name]()
    assert network.eval()(torch.randn(1, 3, 64, 64)).shape == usual.eval()(torch.randn(1, 3, 64, 64)).shape
    assert {type(part).__name__ for part in network.modules()} != {type(part).__name__ for part in usual.modules()}


def test_its_convolutions_can_be_replaced(name: str) -> None:
    network = SMALL[name]().eval()
    before = network(torch.randn(1, 3, 64, 64)).shape
    assert replace_layers(network, "ConvNN", K=2).replaced
    assert network(torch.randn(1, 3, 64, 64)).shape == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layer": "ConvN"}, "layer='ConvN' is not one of .*did you mean 'ConvNN'"),
        ({"layer": "Attention"}, "layer='Attention' reads tokens; choose one that reads maps: Conv2d, "),
        ({"layer": 3}, "layer=3 must be the name of a layer, or a function"),
        ({"num_classes": 0}, "num_classes=0 must be an integer of at least 1"),
        ({"in_channels": 0}, "in_channels=0 must be an integer of at least 1"),
    ],
)
def test_bad_arguments_are_named(name: str, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SMALL[name](**settings)


def test_bad_images_are_named(name: str) -> None:
    network = SMALL[name]().eval()
    least = network.min_size
    with pytest.raises(InputError, match=rf"images of {least - 1}x64 pixels must have at least {least} along each"):
        network(torch.zeros(1, 3, least - 1, 64))
    with pytest.raises(InputError, match=r"images of shape \(1, 2, 64, 64\) must be \(B, 3, H, W\)"):
        network(torch.zeros(1, 2, 64, 64))
    with pytest.raises(InputError, match=r"images of shape \(3, 64, 64\) must be \(B, 3, H, W\)"):
        network(torch.zeros(3, 64, 64))
    with pytest.raises(InputError, match=r"images of torch.uint8 must be floating; pass images.float\(\)"):
        network(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_they_are_registered_with_any_layer_and_width(name: str) -> None:
    assert isinstance(SMALL[name](), SegmentationNetwork)
    smallest = {"mkunet": "mkunet_t", "bevanet": "bevanet_s"}[name]
    assert smallest in list_models(f"{name}*")
    assert task_of(smallest) == "segmentation"
    full, half = (create_model(smallest, num_classes=3, width=width) for width in (1.0, 0.5))
    assert full.is_published
    assert not full.auxiliary
    assert sum(p.numel() for p in half.parameters()) < sum(p.numel() for p in full.parameters())
    assert create_model(smallest, "ConvNN", width=0.5, num_classes=3)(torch.randn(2, 3, 64, 64)).shape == (2, 3, 64, 64)


@pytest.mark.long
def test_a_training_step_compiles_as_one_graph(name: str) -> None:
    network, images = _random(SMALL[name]()), torch.randn(2, 3, 64, 64, dtype=torch.double)
    network(images).square().sum().backward()
    expected = [one.grad.clone() for one in network.parameters() if one.grad is not None]
    network.zero_grad()
    torch.compile(network, fullgraph=True, backend="aot_eager")(images).square().sum().backward()
    found = [one.grad for one in network.parameters() if one.grad is not None]
    torch.testing.assert_close(found, expected)


@pytest.mark.long
def test_it_can_be_exported(name: str, tmp_path) -> None:
    pytest.importorskip("onnxscript")
    from convnn.export import export_onnx

    network = _random(SMALL[name]()).float()
    error = export_onnx(network, tmp_path / "network.onnx", torch.randn(2, 3, 64, 64))
    assert error is None or error < 1e-4
