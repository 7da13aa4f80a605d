"""Tests of the networks with which shared kernels were published."""

import pytest
import torch

from convnn.errors import InputError
from convnn.models import create_model

PUBLISHED = {
    "convmixer_256_16": (1_409_034, 107_274),
    "se_resnet_d_2": (2_771_290, 1_223_002),
    "se_resnet_d_3": (4_332_122, 1_235_546),
    "se_resnet_d_4": (5_892_954, 1_248_090),
    "se_resnet_d_6": (9_014_618, 1_273_178),
    "se_resnet_d_8": (12_136_282, 1_298_266),
    "se_resnet_d_10": (15_257_946, 1_323_354),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_has_the_published_counts(name: str) -> None:
    for share, published in zip(("none", "stage"), PUBLISHED[name], strict=True):
        with torch.device("meta"):
            counts = [
                sum(p.numel() for p in create_model(name, num_classes=n, share_kernels=share).parameters())
                for n in (10, 100)
            ]
        assert counts == [published, published + 23_130]


def test_convmixer_is_timms_with_the_same_weights() -> None:
    with torch.device("meta"):
        whole = create_model("convmixer_768_32", num_classes=1000)
    assert sum(p.numel() for p in whole.parameters()) == 21_110_248
    from timm.models.convmixer import ConvMixer

    torch.manual_seed(0)
    theirs = ConvMixer(dim=24, depth=32, kernel_size=7, patch_size=7, num_classes=5, act_layer=torch.nn.ReLU)
    ours = create_model("convmixer_768_32", num_classes=5, width=24 / 768)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    x = torch.randn(2, 3, 14, 21)
    torch.testing.assert_close(ours.double().eval()(x.double()), theirs.double().eval()(x.double()))


def test_an_image_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(InputError, match=r"^images of 5x9 pixels are smaller than a patch of 7x7; .* resize=7$"):
        create_model("convmixer_768_32", width=1 / 64)(torch.randn(1, 3, 5, 9))


def test_a_narrow_residual_network_trains_on_larger_images() -> None:
    """The stride of its shortcuts was one of a convolution, which crashed the process for so few channels."""
    network, x = create_model("se_resnet_d_2", width=1 / 8), torch.randn(2, 3, 64, 64)
    network(x).square().sum().backward()
    gradient = next(block for block in network.modules() if getattr(block, "stride", 1) == 2).downsample[0].weight.grad
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0
