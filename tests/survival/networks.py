"""The networks of torchvision and timm for our layers, at 64 pixels if they accept that size."""

from typing import Any

import torchvision
from torch import nn

OTHER_SIDES = {"inception_v3": 96, "maxvit_t": 224, "efficientformer_l1": 224, "vit_h_14": 70}
"""Inception's windows are too large for 64 pixels, patches are 14 wide, the others divide by 32 into 7 x 7 maps."""

SMALLEST = (
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "efficientnet_v2_s",
    "googlenet",
    "inception_v3",
    "maxvit_t",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "regnet_y_400mf",
    "resnet18",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "swin_v2_t",
    "vgg11",
    "vgg11_bn",
    "vit_b_32",
    "wide_resnet50_2",
)
"""The smallest of each classification family of torchvision."""

TIMM = (
    "coatnet_pico_rw_224",
    "convmixer_768_32",
    "convnext_atto",
    "convnextv2_atto",
    "cspdarknet53",
    "cs3darknet_focus_s",
    "densenet121",
    "dla34",
    "dpn48b",
    "edgenext_xx_small",
    "efficientformer_l1",
    "efficientvit_b0",
    "fasternet_t0",
    "fbnetc_100",
    "ghostnet_050",
    "hardcorenas_a",
    "hgnetv2_b0",
    "hrnet_w18_small",
    "inception_next_atto",
    "lcnet_035",
    "legacy_seresnet18",
    "levit_128s",
    "mambaout_femto",
    "mixnet_s",
    "mobilenetv4_conv_small_035",
    "mobileone_s0",
    "mobilevit_xxs",
    "nf_regnet_b0",
    "poolformer_s12",
    "pvt_v2_b0",
    "regnetz_005",
    "repvgg_a0",
    "resnetv2_18",
    "rexnet_100",
    "selecsls42",
    "starnet_s050",
    "tf_efficientnet_lite0",
    "tinynet_e",
    "tiny_vit_5m_224",
    "vit_tiny_patch16_224",
    "xception41",
)
"""A small network of each of these families of timm."""

REFUSED = {"timm:nf_regnet_b0": "ScaledStdConv2d computes more than a convolution"}
"""Networks that cannot take our layers, with the message."""

SIZED = ("coatnet_pico_rw_224", "levit_128s", "vit_tiny_patch16_224")
"""Networks of timm that need the size of the images."""


def quick() -> list[str]:
    """Return the networks that continuous integration runs."""
    return [f"torchvision:{name}" for name in SMALLEST] + [f"timm:{name}" for name in TIMM]


def all_networks() -> list[str]:
    """Return every classification network of torchvision and those of timm."""
    names = torchvision.models.list_models(module=torchvision.models)
    return [f"torchvision:{name}" for name in names] + [f"timm:{name}" for name in TIMM]


def side_of(network: str) -> int:
    """Return the side of a network's images in pixels."""
    return OTHER_SIDES.get(network.partition(":")[2], 64)


def build(network: str) -> nn.Module:
    """Build a network with random weights, no matrix or head zero, for ten classes of images of `side_of`."""
    model = _build(network)
    for p in model.parameters():
        if p.dim() > 1 and not p.any():
            nn.init.normal_(p, std=0.02)
    return model


def _build(network: str) -> nn.Module:
    library, _, name = network.partition(":")
    settings: dict[str, Any] = {"num_classes": 10}
    if library == "torchvision":
        if name.startswith("vit_"):
            settings["image_size"] = side_of(network)
        if name in ("googlenet", "inception_v3"):
            settings |= {"aux_logits": False, "init_weights": False}
        return torchvision.models.get_model(name, weights=None, **settings)
    import timm

    if name in SIZED:
        settings["img_size"] = side_of(network)
    return timm.create_model(name, pretrained=False, **settings)
