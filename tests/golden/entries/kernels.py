"""Kernels in windows: arXiv 2303.16900, 2509.18493, 2202.09741, 2303.09030, 2412.19628, 2508.07300 and others."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.models.vit import Block
from convnn.nn.kernels import taps
from golden.case import Case
from golden.entry import Entry, refuse

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


OF_GATE = {"proj_1": "before", "spatial_gating_unit": "operator", "proj_2": "after"}
OF_STACK = {"conv0": "local", "conv_spatial": "dilated", "conv1": "mix"}
OF_SELECTION = {
    "conv0": "local",
    "conv_spatial": "dilated",
    "conv1": "near",
    "conv2": "far",
    "conv_squeeze": "select.squeeze",
    "conv": "mix",
}
OF_STRIPS = {
    "DW_conv": "small",
    "DW_D_conv_h": "wide",
    "DW_D_conv_v": "tall",
    "FS_kernel.fc_reduce": "select.reduce",
    "FS_kernel.fc_expand_small": "select.expand.0",
    "FS_kernel.fc_expand_big_h": "select.expand.1",
    "FS_kernel.fc_expand_big_v": "select.expand.2",
    "FS_kernel.conv_squeeze": "select.select.squeeze",
    "pwconv.pwconv": "mix",
    "pwconv": "",
    "dwconv": "",
}


def _attention(layer: type, *settings: str) -> Callable[[Case], nn.Module]:
    """Return the function that builds what is published as an attention, without our layer around it."""
    return lambda case: layer(case.config["d_model"], case.config["d_model"], **case.pick(*settings)).gated


def _recursive(case: Case) -> nn.Module:
    settings = case.pick("kernel_size", "level", upsampling="mode", kernel_bias="bias")
    return cnn.RecursiveConv(IMAGES, case.config["in_channels"], **settings)


def _super(case: Case) -> nn.Module:
    return cnn.SuperKernelConv(IMAGES, case.config["C_in"], case.config["C_out"], case.config["k_conv"])


def _of_super(case: Case) -> dict[str, str]:
    numbers = range(len(case.config["k_conv"]))
    return {"ffn1": "first", "ffn2": "output", "pw": "mix.conv"} | {
        f"conv_list.{number}": f"convs.{number}.conv" for number in numbers
    }


def _offsets(case: Case) -> nn.Module:
    sides = tuple(case.config["kernel_size"])
    settings = {"kernels": case.config["kernels"], "kernel_bias": case.config["bias"]}
    return cnn.OffsetAttention(IMAGES, case.config["channels"], kernel_size=sides, **settings)


class PatchNetwork(nn.Module):
    """A network of patches with learned positions, whose features are their mean."""

    def __init__(self, patch: nn.Module, blocks: nn.Module, dim: int, patches: int, classes: int) -> None:
        super().__init__()
        self.patch_embed, self.blocks = patch, blocks
        self.pos_embed = nn.Parameter(torch.zeros(1, patches, dim))
        self.norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_embed(x).flatten(2).transpose(1, 2) + self.pos_embed
        return self.head(self.norm(self.blocks(tokens)).mean(1))


def _patch_network(case: Case) -> nn.Module:
    refuse(case, class_token="the grid has no place for a class token")
    dim, patch, (height, width) = case.config["dim"], case.config["patch"], case.config["img"]
    rows, columns = height // patch, width // patch

    def layer(dim: int, num_heads: int) -> nn.Module:
        return cnn.LKCAttention(
            dim,
            num_heads,
            kernel_size=(2 * rows - 1, 2 * columns - 1),
            size=(rows, columns),
            kernel_bias=case.config["bias"],
            **case.pick("value_projection", "output_projection"),
        )

    hidden, kernels = case.config["mlp_ratio"] * dim, case.config["kernels"]
    blocks = [Block(dim, kernels, hidden, 0.0, layer) for _ in range(case.config["depth"])]
    for block in blocks:
        block.attention_norm.eps = block.mlp_norm.eps = 1e-6
    embed = nn.Conv2d(3, dim, patch, patch)
    return PatchNetwork(embed, nn.Sequential(*blocks), dim, rows * columns, case.config["num_classes"])


OF_PATCHES = {
    "attn.v": "attention.value",
    "attn.proj": "attention.output",
    "attn": "attention.operator",
    "norm1": "attention_norm",
    "norm2": "mlp_norm",
    "mlp.fc1": "mlp.0",
    "mlp.fc2": "mlp.3",
}


def _shifted(case: Case) -> nn.Module:
    """Build the layer with the published ghosts and orders of kernels, which are told by their shifts."""
    kept, ghosts = (case.tensors[f"index.{name}"] for name in ("rep", "ghost"))
    ours = cnn.ShiftedSum2d(
        case.config["in_channels"],
        ghosts=len(ghosts),
        **case.pick("big_kernel", "small_kernel", "N_path", "N_rep", "bn"),
    )
    ours.channels.copy_(torch.cat([kept, ghosts]))
    side, number = ours.weight.shape[-1], ours.wide.shape[-1]
    blocks = (ours.big_kernel // 2 - (side - 1) - case.tensors["index.pad_hv"]) // side
    blocks = blocks.unflatten(0, (-1, number)).permute(2, 0, 1).unflatten(0, (2, -1))  # of every kernel, its block
    for orders, of_kernels in zip((ours.wide, ours.tall), blocks, strict=True):
        orders.copy_(of_kernels.argsort(-1))
    ours.square.copy_(case.tensors["index.idx_identit"].T % number)
    return ours


def _paths(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """Paths are parameters of their own in the published code."""
    paths = [named.pop(f"LoRAs.{number}.weight") for number in range(len(ours.weight))]
    return named | {"weight": torch.stack(paths)}


def _dense(ours: nn.Module, _: Case) -> dict[str, Tensor]:
    weight, bias = taps.added(ours.bands())
    return {"merged.weight": weight, "merged.bias": bias}


SHIFTED = Entry(
    _shifted,
    names={"bn_lora1": "norms.0", "bn_lora2": "norms.1", "bn_small": "norms.2"},
    arrange=_paths,
    also=_dense,
    aside=("index.rep", "index.ghost"),
)

ENTRIES = {
    "InceptionDWConv2d": Entry(_bands, names={"dwconv_hw": "square", "dwconv_w": "wide", "dwconv_h": "tall"}),
    "MKDC": Entry(_multi_kernel, names=_of_branches),
    "MKIR": Entry(_inverted_residual, names=_of_branches),
    "LKA": Entry(lambda case: cnn.StackedGate(IMAGES, case.config["dim"]), names=OF_STACK),
    "117-van-lka/Attention": Entry(_attention(cnn.LKA2d), names=OF_GATE | OF_STACK),
    "LSKblock": Entry(lambda case: cnn.SelectedGate(IMAGES, case.config["dim"]), names=OF_SELECTION),
    "78-lsknet/Attention": Entry(_attention(cnn.LSK2d), names=OF_GATE | OF_SELECTION),
    "SDLSKA": Entry(lambda case: cnn.StripGate2d(case.config["dim"], **case.pick("kernel_size")), names=OF_STRIPS),
    "SpatialAttention": Entry(
        _attention(cnn.SDLSKA2d, "kernel_size"),
        names=OF_STRIPS | OF_GATE,
    ),
    "RecConv2d": Entry(_recursive, names=lambda case: {} if case.config["level"] else {"down": None}),
    "PCBlock4_Deep_nopool_res": Entry(_super, names=_of_super),
    "LKCA": Entry(_offsets, also=lambda ours, case: {"extra.attention": ours.attention(case.config["grid"])}),
    "LKCA ViT (OUR reading, no public code)": Entry(_patch_network, names=OF_PATCHES),
    "ShiftWiseConv-v1": SHIFTED,
    "ShiftWiseConv-v2": SHIFTED,
}
