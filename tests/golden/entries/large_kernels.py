"""Large kernels trained in parts: RepLKNet (arXiv 2203.06717), UniRepLKNet (arXiv 2311.15599, arXiv 2410.08049)."""

import torch
from torch import Tensor, nn

from convnn.models import RepLKNet, UniRepLKNet
from convnn.models.hierarchical._parts import Residual
from convnn.models.hierarchical._response import halve, response_block
from convnn.models.hierarchical.replknet import bottleneck
from convnn.models.hierarchical.unireplknet import depthwise
from convnn.nn import ParallelConv
from convnn.nn.kernels.convolution import ConvMaker
from convnn.nn.windows.large_kernel import with_dilated
from convnn.viz import field_sides, receptive_field
from golden.case import Case
from golden.entry import Entry, Refused, refuse

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
    kernels = {"kernel_size": case.config["block_lk_size"], "small_kernel": case.config["small_kernel"] or 0}
    mixer = RepLKNet.operator(inside, **kernels)
    return Residual(bottleneck(outside, inside, nn.ReLU(), mixer=mixer, last=nn.ReLU()), outside)


def _feed_forward(case: Case) -> nn.Module:
    if case.is_training:
        refuse(case, drop_path="blocks are left out at random")
    outside, inside, last = (case.config[f"{name}_channels"] for name in ("in", "internal", "out"))
    if last != outside:
        raise Refused(f"out_channels={last}: other channels than those to which they are added")
    return Residual(bottleneck(outside, inside, nn.GELU()), outside)


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


def _unireplk_block(case: Case) -> nn.Module:
    refuse(case, deploy="a layer that is merged already", with_cp="recomputes activations")
    if case.is_training:
        refuse(case, drop_path="blocks are left out at random")
    dim, side = case.config["dim"], case.config["kernel_size"]
    if not side:
        raise Refused("kernel_size=0: a block without a kernel")
    scale = case.config.get("layer_scale_init_value", 1e-6)
    hidden = dim * case.config.get("ffn_factor", 4)
    return response_block(dim, hidden, depthwise(dim, kernel_size=side), initial_scale=scale or None)


def _of_block(case: Case) -> dict[str, str]:
    """Return our names of the parts of a block, those of the network."""
    kinds = (name for kind in ("param", "buffer") for name in case.named(kind))
    return {name: UniRepLKNet.our_name(f"stages.0.0.{name}").removeprefix("stages.0.blocks.0.") for name in kinds}


def _of_replk_block(case: Case) -> dict[str, str]:
    """Return our names of the parts of a block, those of the network."""
    number, part = ("0", "mixing") if case.layer == "RepLKBlock" else ("1", "feed_forward")
    kinds = (name for kind in ("param", "buffer") for name in case.named(kind))
    prefix = f"stages.0.blocks.0.{part}."
    return {name: RepLKNet.our_name(f"stages.0.blocks.{number}.{name}").removeprefix(prefix) for name in kinds}


def _transition(case: Case) -> nn.Module:
    published = {"kernel_size": 3, "stride": 2, "padding": 1, "eps": 1e-6}
    for name, value in published.items():
        if case.config[name] != value:
            raise Refused(f"{name}={case.config[name]}: published networks have {value}")
    return halve(case.config["in_channels"], case.config["out_channels"])


ENTRIES = {
    "ReparamLargeKernelConv": Entry(_replk, names=OF_REPLK, also=merged),
    "RepLKBlock": Entry(_replk_block, names=_of_replk_block, also=merged),
    "ConvFFN": Entry(_feed_forward, names=_of_replk_block),
    "DilatedReparamBlock": Entry(_unireplk, names=lambda case: _of_dilated(case.config["kernel_size"]), also=_field),
    "UniRepLKNetBlock": Entry(_unireplk_block, names=_of_block),
    "Transition": Entry(_transition, names={"conv": "0", "norm": "1"}),
}
