"""Tests of Vision-RWKV: parameters, sizes of images, other layers, training."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models import create_model

SMALL = {"patch_size": 8, "num_layers": 2, "d_hidden": 12, "image_size": 32, "num_classes": 5}


@pytest.mark.parametrize(
    ("name", "count"), [("vrwkv", 6_155_176), ("vrwkv_tiny", 6_155_176), ("vrwkv_small", 23_810_920),
                        ("vrwkv_base", 93_627_112)]
)  # fmt: skip
def test_parameters(name: str, count: int) -> None:
    with torch.device("meta"):
        network = create_model(name, num_classes=1000)
    assert sum(p.numel() for p in network.parameters()) == count


def test_each_block_has_its_place() -> None:
    network = create_model("vrwkv", **SMALL | {"num_layers": 3, "drop_path": 0.2, "init_values": 0.1})
    assert [block.layer.place for block in network.blocks] == [block.mix.place for block in network.blocks]
    assert [block.layer.place for block in network.blocks] == [(0, 3), (1, 3), (2, 3)]
    assert [isinstance(block.first_norm, nn.LayerNorm) for block in network.blocks] == [True, False, False]
    assert [getattr(block.drop_path, "p", 0.0) for block in network.blocks] == pytest.approx([0.0, 0.1, 0.2])
    assert network.blocks[2].mix_scale.eq(0.1).all()


def test_images_of_any_size_are_maps() -> None:
    network = create_model("vrwkv", **SMALL).eval()
    assert network(torch.randn(2, 3, 16, 40)).shape == (2, 5)
    x = torch.randn(1, 3, 32, 32)
    patches = network.embed(x) + network.positions
    tokens = patches.flatten(2).transpose(1, 2)
    for block in network.blocks:
        tokens = block(tokens, (4, 4))
    torch.testing.assert_close(network(x), network.head(network.norm(tokens).mean(1)))
    with pytest.raises(InputError, match="images of 12x32 pixels must have sides that are multiples of patch_size=8"):
        network(torch.randn(1, 3, 12, 32))


@pytest.mark.parametrize(
    "settings", [{}, {"post_norm": True, "key_norm": True, "init_values": 0.5}, {"layer": "Attention"}]
)
def test_it_trains(settings: dict) -> None:
    torch.manual_seed(0)
    network = create_model("vrwkv", **SMALL, **settings)
    images, labels = torch.randn(16, 3, 32, 32), torch.arange(16) % 5
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3)
    losses = []
    for _ in range(12):
        losses.append(F.cross_entropy(network(images), labels))
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.grad is not None for p in network.parameters())
