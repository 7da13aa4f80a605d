"""Large kernels trained in parts: RepLKNet (arXiv 2203.06717), UniRepLKNet (arXiv 2311.15599, arXiv 2410.08049)."""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torchvision.ops import Permute, SqueezeExcitation

from convnn.nn import ConvNorm, ParallelConv
from convnn.nn.kernels.convolution import ConvMaker
from convnn.nn.windows.large_kernel import with_dilated
from convnn.viz import field_sides, receptive_field
from golden.case import Case
from golden.entry import Entry, refuse

IMAGES = ConvMaker(2)
OF_REPLK = {"lkb_origin": "branches.0", "small_conv": "branches.1", "bn": "norm"}


def merged(ours: nn.Module, _: Case) -> dict[str, Tensor]:
    """Return the kernel that the first parallel convolution of a module merges into."""
    weight, bias = next(part for part in ours.modules() if isinstance(part, ParallelConv)).kernel()
    return {"merged.weight": weight, "merged.bias": bias}


def _field(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    """Return the effective receptive field, of which some files have numbers, and its squares."""
    if "erf" not in case.tensors:
        return merged(ours, case)
    with torch.enable_grad():
        scores = receptive_field(ours, case.tensors["input"])
    rows = [[-1 if one is None else one for one in side] for side in field_sides(scores)]
    return {"erf": scores, "erf_rect": torch.tensor(rows, dtype=torch.double)}


def _with_small(channels: tuple[int, int], kernel_size: int, small: int | None, **settings: int) -> ParallelConv:
    return ParallelConv(IMAGES, *channels, [(side, 1) for side in (kernel_size, small) if side], **settings)


def _replk(case: Case) -> nn.Module:
    refuse(case, small_kernel_merged="a layer that is merged already; merge() makes it from the trained form")
    channels = case.config["in_channels"], case.config["out_channels"]
    sides = case.config["kernel_size"], case.config["small_kernel"]
    return _with_small(channels, *sides, **case.pick("stride", "groups"))


def _replk_block(case: Case) -> nn.Module:
    if case.is_training:
        refuse(case, drop_path="blocks are left out at random")
    outside, inside = case.config["in_channels"], case.config["dw_channels"]
    sides = case.config["block_lk_size"], case.config["small_kernel"]
    parts = OrderedDict(
        prelkb_bn=nn.BatchNorm2d(outside),
        pw1=ConvNorm(IMAGES, outside, inside),
        activation=nn.ReLU(),
        large_kernel=_with_small((inside, inside), *sides, groups=inside),
        again=nn.ReLU(),
        pw2=ConvNorm(IMAGES, inside, outside),
    )
    return nn.Sequential(parts)


def _feed_forward(case: Case) -> nn.Module:
    if case.is_training:
        refuse(case, drop_path="blocks are left out at random")
    widths = (case.config[f"{name}_channels"] for name in ("in", "internal", "out"))
    outside, inside, last = widths
    parts = OrderedDict(
        preffn_bn=nn.BatchNorm2d(outside),
        pw1=ConvNorm(IMAGES, outside, inside),
        activation=nn.GELU(),
        pw2=ConvNorm(IMAGES, inside, last),
    )
    return nn.Sequential(parts)


def _dilated(channels: int, kernel_size: int) -> ParallelConv:
    return ParallelConv(IMAGES, channels, channels, with_dilated(kernel_size), groups=channels)


def _of_dilated(kernel_size: int) -> dict[str, str]:
    """Return our names of the branches, which are published under their sides and dilations."""
    names = {"lk_origin": "branches.0.conv", "origin_bn": "branches.0.norm"}
    for number, (side, apart) in enumerate(with_dilated(kernel_size)[1:], 1):
        names |= {f"dil_conv_k{side}_{apart}": f"branches.{number}.conv"}
        names |= {f"dil_bn_k{side}_{apart}": f"branches.{number}.norm"}
    return names


def _unireplk(case: Case) -> nn.Module:
    refuse(case, deploy="a layer that is merged already; merge() makes it from the trained form")
    return _dilated(case.config["channels"], case.config["kernel_size"])


class Scale(nn.Module):
    """A factor for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma.view(-1, 1, 1)


def _unireplk_block(case: Case) -> nn.Module:
    from timm.layers.grn import GlobalResponseNorm  # takes a second to import

    refuse(case, deploy="a layer that is merged already", with_cp="recomputes activations")
    if case.is_training:
        refuse(case, drop_path="blocks are left out at random")
    dim, side = case.config["dim"], case.config["kernel_size"]
    inner = dim * case.config.get("ffn_factor", 4)
    is_scaled = case.config.get("layer_scale_init_value", 1e-6)
    if side >= 7:
        mixer, norm = _dilated(dim, side), nn.BatchNorm2d(dim)
    else:
        mixer = IMAGES.depthwise(dim, side, bias=False) if side else nn.Identity()
        norm = nn.BatchNorm2d(dim) if side else nn.Identity()
    parts = OrderedDict(
        dwconv=mixer,
        norm=norm,
        se=SqueezeExcitation(dim, dim // 4),
        last=Permute([0, 2, 3, 1]),
        expand=nn.Linear(dim, inner),
        activation=nn.GELU(),
        response=GlobalResponseNorm(inner, channels_last=True),
        reduce=nn.Linear(inner, dim, bias=False),
        first=Permute([0, 3, 1, 2]),
        norm2=nn.BatchNorm2d(dim),
        scale=Scale(dim) if is_scaled else nn.Identity(),
    )
    return nn.Sequential(parts)


OF_BLOCK = {
    "se.down": "se.fc1",
    "se.up": "se.fc2",
    "pwconv1.1": "expand",
    "act.1.gamma": "response.weight",
    "act.1.beta": "response.bias",
    "pwconv2.0": "reduce",
    "pwconv2.2": "norm2",
    "gamma": "scale.gamma",
}


def _transition(case: Case) -> nn.Module:
    geometry = (case.config[name] for name in ("kernel_size", "stride", "padding"))
    outputs = case.config["out_channels"]
    parts = OrderedDict(
        conv=nn.Conv2d(case.config["in_channels"], outputs, *geometry),
        last=Permute([0, 2, 3, 1]),
        norm=nn.LayerNorm(outputs, eps=case.config["eps"]),
        first=Permute([0, 3, 1, 2]),
    )
    return nn.Sequential(parts)


ENTRIES = {
    "ReparamLargeKernelConv": Entry(_replk, names=OF_REPLK, also=merged),
    "RepLKBlock": Entry(_replk_block, names=OF_REPLK, call=lambda ours, x: x + ours(x), also=merged),
    "ConvFFN": Entry(_feed_forward, names=OF_REPLK, call=lambda ours, x: x + ours(x)),
    "DilatedReparamBlock": Entry(_unireplk, names=lambda case: _of_dilated(case.config["kernel_size"]), also=_field),
    "UniRepLKNetBlock": Entry(
        _unireplk_block,
        names=lambda case: OF_BLOCK | (_of_dilated(k) if (k := case.config["kernel_size"]) >= 7 else {}),
        call=lambda ours, x: x + ours(x),
    ),
    "Transition": Entry(_transition),
}
