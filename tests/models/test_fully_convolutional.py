"""Classifiers that give every pixel a class."""

import pytest
import torch
from torch import nn

from convnn.errors import InputError
from convnn.models import FullyConvolutional, create_model, data_of, list_models, own_loss_of, reads_of, task_of

SMALL = [
    ("vgg11", "Conv2d", 0.0625),
    ("resnet18", "ConvNN", 0.0625),
    ("van_b0", None, 0.25),
    ("mobilevigv2_ti", None, 0.25),
]


@pytest.mark.parametrize(("model", "layer", "width"), SMALL)
def test_each_kind_of_network_makes_a_step(model: str, layer: str | None, width: float) -> None:
    network = create_model(model, layer, width=width, num_classes=3, dense=True, K=3)
    images = torch.randn(2, 3, 32, 64)
    logits = network(images)
    assert logits.shape == (2, 3, 32, 64)
    logits.square().mean().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_it_is_a_map_of_features_times_a_matrix_enlarged() -> None:
    network = create_model("vgg11", "Conv2d", width=0.0625, num_classes=3, dense=True).double().eval()
    images = torch.randn(2, 3, 64, 96, dtype=torch.double)
    features = network.network.features(images)
    logits = torch.einsum("bfhw,cf->bchw", features, network.head.weight[:, :, 0, 0]) + network.head.bias.view(-1, 1, 1)
    expected = nn.functional.interpolate(logits, (64, 96), mode="bilinear", align_corners=False)
    torch.testing.assert_close(network(images), expected)


def test_tokens_are_a_grid_in_raster_order_without_the_class_token() -> None:
    network = create_model("vit", num_layers=1, d_hidden=12, patch_size=8, num_classes=2, dense=True).eval()
    images = torch.randn(1, 3, 16, 32)
    tokens = network.network.forward_features(images)
    assert torch.equal(network.forward_features(images)[0, :, 1, 2], tokens[0, 1 + 1 * 4 + 2])
    assert network(images).shape == (1, 2, 16, 32)


@pytest.mark.parametrize("name", ["torchvision:resnet18", "torchvision:squeezenet1_1"])
def test_networks_of_torchvision_are_read_before_their_head(name: str) -> None:
    network = create_model(name, "Conv2d", num_classes=2, dense=True)
    assert network(torch.randn(2, 3, 64, 32)).shape == (2, 2, 64, 32)


@pytest.mark.parametrize("name", ["timm:resnet10t", "timm:swin_tiny_patch4_window7_224", "timm:vit_tiny_patch16_224"])
def test_networks_of_timm_are_read_before_their_head(name: str) -> None:
    pytest.importorskip("timm")
    network = create_model(name, "Conv2d", num_classes=2, dense=True).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, 224, 224)).shape == (1, 2, 224, 224)


def test_what_has_no_map_is_named() -> None:
    with pytest.raises(InputError, match="torchvision:shufflenet_v2_x0_5 has no part that returns its features"):
        create_model("torchvision:shufflenet_v2_x0_5", "Conv2d", dense=True)
    with pytest.raises(InputError, match="distillation_token=True answers for the whole image"):
        create_model("vit", num_layers=1, distillation_token=True, dense=True)


def test_it_can_be_built_without_memory_and_a_network_for_segmentation_stays_itself() -> None:
    with torch.device("meta"):
        network = create_model("vgg11", "ConvNN", dense=True)
    assert isinstance(network, FullyConvolutional)
    assert network.head.weight.shape == (10, 512, 1, 1)
    assert task_of("unet") == "segmentation"
    assert task_of("vgg11") == "classification"
    assert not isinstance(create_model("unet", width=0.0625, dense=True), FullyConvolutional)


@pytest.mark.long
@pytest.mark.parametrize(
    "name", [name for name in list_models() if data_of(name) == "images" and own_loss_of(name) is None]
)
def test_every_network_on_images_gives_maps(name: str) -> None:
    width = 0.125 if reads_of(name) == "maps" else 1.0
    network = create_model(name, num_classes=3, width=width, dense=True).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, 64, 64)).shape == (1, 3, 64, 64)
