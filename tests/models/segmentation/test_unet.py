"""U-Net: its definition in one loop, sizes, and that it learns."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from convnn.data.shapes import make_shapes
from convnn.errors import InputError
from convnn.models import create_model
from convnn.models.segmentation import UNet


def test_it_is_as_large_as_published() -> None:
    """31.0 million parameters, as the padded U-Net with batch normalisation and transposed convolutions has."""
    with torch.device("meta"):
        network = UNet(num_classes=2, in_channels=1)
    channels = [1, 64, 128, 256, 512, 1024]
    double = sum(9 * (i + o) * o + 2 * o + 4 * o for i, o in itertools.pairwise(channels))
    back = sum(9 * 3 * c * c + 6 * c + 8 * c * c + c for c in channels[1:-1])
    assert sum(p.numel() for p in network.parameters()) == double + back + 2 * 64 + 2


def test_two_levels_are_what_the_definition_says() -> None:
    network = UNet(num_classes=3, width=0.0625, num_layers=1).double().eval()
    x = torch.randn(2, 3, 10, 14, dtype=torch.double, requires_grad=True)
    fine = network.down[0](x)
    windows = fine.unfold(2, 2, 2).unfold(3, 2, 2)
    coarse = network.down[1](windows.flatten(4).amax(-1))
    up = network.enlarge[0]
    enlarged = torch.einsum("bihw,iojk->bohjwk", coarse, up.weight).reshape(2, 4, 10, 14) + up.bias.view(1, -1, 1, 1)
    joined = network.up[0](torch.cat([fine, enlarged], 1))
    expected = torch.einsum("bihw,oi->bohw", joined, network.head.weight[:, :, 0, 0]) + network.head.bias.view(-1, 1, 1)
    torch.testing.assert_close(network(x), expected)
    found, wanted = (torch.autograd.grad(y.square().sum(), x, retain_graph=True)[0] for y in (network(x), expected))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("size", [(16, 16), (17, 31), (50, 23)])
def test_odd_sides_keep_their_size(size: tuple[int, int]) -> None:
    network = create_model("unet", "ConvNN", K=3, num_classes=2, width=0.0625).eval()
    assert network(torch.randn(1, 3, *size)).shape == (1, 2, *size)


def test_it_learns_shapes_in_a_few_steps() -> None:
    torch.manual_seed(0)
    network = UNet(num_classes=2, width=0.125, num_layers=2)
    images, classes = make_shapes(8, torch.Generator().manual_seed(0), side=24)
    images, labels = images.float() / 255, (classes > 0).long()
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = F.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 0}, "num_layers=0 must be an integer of at least 1"),
        ({"num_layers": 13}, "num_layers=13 must be at most 12"),
        ({"layer": "Attention"}, "layer='Attention' reads tokens"),
        ({"width": 0.0}, "width=0.0 must be positive"),
    ],
)
def test_bad_arguments_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        UNet(**settings)


def test_images_that_are_too_small_are_named() -> None:
    with pytest.raises(InputError, match=r"images of 15x64 pixels are too small for num_layers=4.*enlarge them to 16"):
        UNet(width=0.0625)(torch.zeros(1, 3, 15, 64))
