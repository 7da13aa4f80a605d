"""MK-UNet: sizes, images of one channel, and that it learns."""

import pytest
import torch
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models import segmentation
from convnn.models.segmentation import MKUNet, mkunet_t


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("mkunet_t", 27_384),
        ("mkunet_s", 93_050),
        ("mkunet", 315_566),
        ("mkunet_m", 1_150_166),
        ("mkunet_l", 3_758_118),
    ],
)
def test_the_number_of_parameters_is_the_published(name: str, published: int) -> None:
    with torch.device("meta"):
        network = getattr(segmentation, name)()
    assert sum(one.numel() for one in network.parameters()) == published
    assert f"{published:,} parameters" in getattr(segmentation, name).__doc__


def test_a_single_channel_is_repeated() -> None:
    network, gray = mkunet_t().eval(), torch.randn(1, 1, 64, 64)
    assert torch.equal(network(gray), network(gray.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize("layer", ["MultiKernelDW", "ConvNN"])
def test_a_single_position_cannot_be_trained_on(layer: str) -> None:
    with pytest.raises(InputError, match="has one value for each channel, which batch normalisation cannot train on"):
        mkunet_t(layer=layer)(torch.randn(1, 3, 32, 32))
    assert mkunet_t(layer=layer)(torch.randn(1, 3, 32, 64)).shape == (1, 1, 32, 64)


def test_side_heads_read_ever_finer_maps() -> None:
    network = mkunet_t(num_classes=2).eval()
    coarse = [one.shape[-1] for one in network._decoded(torch.randn(1, 3, 64, 64))]
    assert coarse == [4, 8, 16, 32, 64]
    assert len(network.maps(torch.randn(1, 3, 64, 64))) == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (2, 4, 6)}, r"widths=\(2, 4, 6\) must be 5 positive integers"),
        ({"widths": (2, 4, 5, 6, 8)}, r"widths=\(2, 4, 5, 6, 8\) must be even"),
        ({"widths": (2, 4, 4, 6, 8), "depths": (1, 1, 0, 1, 1)}, r"depths=\(1, 1, 0, 1, 1\) must be 5 positive"),
    ],
)
def test_bad_levels_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MKUNet(**settings)


def _discs(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy images (B, 3, 32, 32) of a disc each, and its mask (B, 1, 32, 32)."""
    grid = torch.stack(torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij"))
    centres = torch.randint(8, 24, (count, 2, 1, 1))
    masks = ((grid - centres).square().sum(1, keepdim=True) <= 49).float()
    return masks + 0.5 * torch.randn(count, 3, 32, 32), masks


@pytest.mark.long
def test_it_learns_to_segment_discs() -> None:
    torch.manual_seed(0)
    network = mkunet_t()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-2)
    for _ in range(50):
        images, masks = _discs(8)
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(network(images), masks).backward()
        optimizer.step()
    images, masks = _discs(32)
    with torch.no_grad():
        found = network.eval()(images) > 0
    shared = (found & (masks > 0)).sum() / (found | (masks > 0)).sum()
    assert shared > 0.7
