"""BEVANet: sizes, heads, forms of the fifth stage."""

import pytest
import torch

from convnn.errors import InputError
from convnn.models import segmentation
from convnn.models.segmentation import BEVANet, bevanet
from convnn.models.segmentation._bevanet_parts import EVABlock
from convnn.nn import layer_factory
from pairwise import one_in

SMALL = {"depths": (1, 1, 1, 2), "planes": 2, "context_planes": 2, "head_planes": 2, "num_classes": 3, "mlp_ratio": 1}


def _count(name: str, **settings: object) -> int:
    with torch.device("meta"):
        return sum(one.numel() for one in getattr(segmentation, name)(**settings).parameters())


@pytest.mark.parametrize(
    ("name", "num_classes", "training", "inference"),
    one_in(
        3,
        [
            ("bevanet", 19, 58_823_892, 58_599_296),
            ("bevanet", 150, 58_857_690, 58_616_195),
            ("bevanet_s", 19, 15_186_004, 15_090_784),
            ("bevanet_s", 11, 15_183_940, 15_089_752),
            ("bevanet_l", 19, 60_203_732, 59_828_992),
            ("bevanet_sw", 19, 57_643_220, 57_418_624),
        ],
    ),
)
def test_the_number_of_parameters_is_the_published(name: str, num_classes: int, training: int, inference: int) -> None:
    assert _count(name, num_classes=num_classes) == training
    assert _count(name, num_classes=num_classes, auxiliary=False) == inference
    if num_classes == 19:
        text = getattr(segmentation, name).__doc__
        assert f"{training:,} parameters" in text
        assert f"{inference:,} without" in text


def test_its_heads_are_main_classes_and_boundary() -> None:
    network = BEVANet(**SMALL).eval()
    main, classes, boundary = network.maps(torch.randn(1, 3, 64, 64))
    assert main.shape == classes.shape == (1, 3, 8, 8)
    assert boundary.shape == (1, 1, 8, 8)
    assert len(BEVANet(**SMALL, auxiliary=False).eval().maps(torch.randn(1, 3, 64, 64))) == 1


def test_the_fifth_stage_may_have_no_large_kernel() -> None:
    network = BEVANet(**SMALL, semantic_kernels=(35, 0))
    assert len(network.semantic5) == 2
    assert network.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 3, 64, 64)


@pytest.mark.parametrize(
    ("layer", "sides"),
    [
        ("SDLSKA", [35, 35, 23, 35, 35]),
        ("RepLK", [35, 35, 23, 35, 35]),
        (layer_factory("RepLK", kernel_size=9), [9] * 5),
    ],
)
def test_the_network_decides_the_kernels_of_a_layer_given_by_name(layer: object, sides: list[int]) -> None:
    with torch.device("meta"):
        network = bevanet(layer=layer)
    assert [part.layer.kernel_size for part in network.modules() if isinstance(part, EVABlock)] == sides


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"detail_kernel": 9}, "kernel_size=9 has no strips; choose from 7, 11, 23, 35"),
        ({"planes": 0}, "planes=0 must be an integer of at least 1"),
        ({"depths": (1, 1, 1)}, r"depths=\(1, 1, 1\) must be 4 positive integers"),
        ({"mlp_ratio": 0.1}, "mlp_ratio=0.1 leaves no channel of 4;"),
    ],
)
def test_bad_arguments_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        BEVANet(**(SMALL | settings))


@pytest.mark.parametrize("layer", ["SDLSKA", "ConvNN"])
def test_a_single_image_cannot_be_trained_on(layer: str) -> None:
    with pytest.raises(
        InputError,
        match="the mean of a batch of one image has one value for each channel",
    ):
        BEVANet(**SMALL, layer=layer)(torch.randn(1, 3, 64, 64))
