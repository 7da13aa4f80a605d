"""Layers of kernels in windows: InceptionNeXt (arXiv 2303.16900), MK-UNet (arXiv 2509.18493)."""

from torch import nn

from convnn import nn as cnn
from golden.case import Case
from golden.entry import Entry

IMAGES = cnn.ConvMaker(2)
ACTIVATIONS = {"leakyrelu": "leaky_relu", "hswish": "hardswish"}
"""Those that have another name here."""


def _bands(case: Case) -> nn.Module:
    settings = case.pick("square_kernel_size", "band_kernel_size", "branch_ratio")
    return cnn.BandConv2d(case.config["in_channels"], **settings)


def _form(case: Case) -> dict[str, object]:
    activation = case.config["activation"]
    return case.pick("dw_parallel", "add") | {"activation": ACTIVATIONS.get(activation, activation)}


def _multi_kernel(case: Case) -> nn.Module:
    sizes = case.config["in_channels"], case.config["kernel_sizes"]
    conv = cnn.MultiKernelConv(IMAGES, *sizes, stride=case.config["stride"], **_form(case))
    return nn.Sequential(conv, nn.ChannelShuffle(case.config["shuffle_groups"]))


def _inverted_residual(case: Case) -> nn.Module:
    channels = case.config["in_c"], case.config["out_c"]
    return cnn.MultiKernelDW2d(*channels, **case.pick("kernel_sizes", "expansion_factor", "stride"), **_form(case))


def _of_branches(case: Case) -> dict[str, str]:
    """Return our names of convolution and normalisation of each kernel, and of those around them."""
    names = {"multi_scale_dwconv": "operator", "conv1x1": "project"}
    for theirs, ours in (("pconv1", "expand"), ("pconv2", "reduce")):
        names |= {f"{theirs}.0": f"{ours}.conv", f"{theirs}.1": f"{ours}.norm"}
    prefix = "0." if case.layer == "MKDC" else ""
    for number in range(len(case.config["kernel_sizes"])):
        names[f"dwconvs.{number}.0"] = f"{prefix}branches.{number}.0.conv"
        names[f"dwconvs.{number}.1"] = f"{prefix}branches.{number}.0.norm"
        names[f"dwconvs.{number}.2"] = f"{prefix}branches.{number}.1"
    return names


ENTRIES = {
    "InceptionDWConv2d": Entry(_bands, names={"dwconv_hw": "square", "dwconv_w": "wide", "dwconv_h": "tall"}),
    "MKDC": Entry(_multi_kernel, names=_of_branches),
    "MKIR": Entry(_inverted_residual, names=_of_branches),
}
