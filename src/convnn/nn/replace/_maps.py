"""Replacement of a convolution by a layer on maps."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convnn.errors import InputError, UnsupportedError
from convnn.nn._depthwise import DEPTHWISE
from convnn.nn._grid import Grid, Sides
from convnn.nn._layer import MapLayer
from convnn.nn.generated.dense import (
    CKConv1d,
    CKConv2d,
    CKConv3d,
    FlexConv1d,
    FlexConv2d,
    FlexConv3d,
    SMPConv1d,
    SMPConv2d,
    SMPConv3d,
)
from convnn.nn.generated.long import LongConv1d, LongConv2d, LongConv3d, SGConv1d, SGConv2d, SGConv3d
from convnn.nn.generated.separable import CCNNConv1d, CCNNConv2d, CCNNConv3d
from convnn.nn.lie_groups.layers import LieConv2d
from convnn.nn.maps.attention import ConvNNAttn1d, ConvNNAttn2d, ConvNNAttn3d
from convnn.nn.maps.branching import Branching, Branching1d, Branching2d, Branching3d
from convnn.nn.maps.conv_new import Conv1dNew, Conv2dNew, Conv3dNew, ConvNew
from convnn.nn.maps.convnn import ConvNN, ConvNN1d, ConvNN2d, ConvNN3d
from convnn.nn.maps.placed import ConvNNPos, ConvNNPos1d, ConvNNPos2d, ConvNNPos3d
from convnn.nn.registry import LAYERS, OF_AXES, entry_for
from convnn.nn.routed.experts import CondConv, CondConv1d, CondConv2d, CondConv3d
from convnn.nn.routed.frequency import FDConv2d
from convnn.nn.vision_graphs.adaptive import AdaptiveNeighborhoods2d
from convnn.nn.vision_graphs.axial import MGC2d, SVGA2d
from convnn.nn.vision_graphs.edge_conv import EdgeConv2d
from convnn.nn.vision_graphs.near_axial import DAGC2d
from convnn.nn.vision_graphs.non_local import NonLocal2d
from convnn.nn.vision_graphs.vig import ViG2d
from convnn.nn.windows.bands import InceptionDW2d
from convnn.nn.windows.expanded import KANConv1d, KANConv2d, KANConv3d
from convnn.nn.windows.gated_stack import LKA1d, LKA2d, LKA3d
from convnn.nn.windows.large_kernel import RepLK1d, RepLK2d, RepLK3d, UniRepLK1d, UniRepLK2d, UniRepLK3d
from convnn.nn.windows.multi_kernel import MultiKernelDW1d, MultiKernelDW2d, MultiKernelDW3d
from convnn.nn.windows.neighborhood import NeighborhoodAttention2d
from convnn.nn.windows.recursion import RecConv1d, RecConv2d, RecConv3d
from convnn.nn.windows.selected_kernels import LSK1d, LSK2d, LSK3d
from convnn.nn.windows.shifted_sums import ShiftWise2d
from convnn.nn.windows.strips import SDLSKA2d
from convnn.nn.windows.super_kernel import SuperKernel1d, SuperKernel2d, SuperKernel3d
from convnn.nn.windows.token_kernel import LKCA1d, LKCA2d, LKCA3d
from convnn.words import counted

Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
SAME = "Conv2dSame"
"""timm's convolution with the padding of TensorFlow, the only kind of `Conv2d` that is known to be nothing more."""

FAMILIES: dict[str, dict[int, Callable[..., MapLayer]]] = {
    "Conv2d_New": {1: Conv1dNew, 2: Conv2dNew, 3: Conv3dNew},
    "KANConv": {1: KANConv1d, 2: KANConv2d, 3: KANConv3d},
    "ConvNN": {1: ConvNN1d, 2: ConvNN2d, 3: ConvNN3d},
    "ConvNN_Pos": {1: ConvNNPos1d, 2: ConvNNPos2d, 3: ConvNNPos3d},
    "ConvNN_Attn": {1: ConvNNAttn1d, 2: ConvNNAttn2d, 3: ConvNNAttn3d},
    "Branching": {1: Branching1d.with_convnn, 2: Branching2d.with_convnn, 3: Branching3d.with_convnn},
    "Branching_Attn": {1: Branching1d.with_attention, 2: Branching2d.with_attention, 3: Branching3d.with_attention},
    "CondConv": {1: CondConv1d, 2: CondConv2d, 3: CondConv3d},
    "FDConv": {2: FDConv2d},
}
"""What takes the place of a convolution, by the names of `--layer` and the axes of the map."""

WITH_WEIGHTS = ("Conv2d_New", "ConvNN", "ConvNN_Pos", "Branching", "CondConv", "FDConv")
"""Layers that can have the weights of a convolution."""

WITH_A_KERNEL = ("Conv2d_New", "ConvNN_Pos", "CondConv", "FDConv", "KANConv", "LieConv")
"""Layers whose kernel has the size of the window."""

POINTWISE = ("CondConv", "FDConv")
"""Layers that are more than a convolution even where the window is a single position."""

UNPADDED: dict[str, tuple[dict[int, Callable[..., MapLayer]], tuple[str, ...]]] = {
    "ViG": ({2: ViG2d}, ("K",)),
    "EdgeConv": ({2: EdgeConv2d}, ("K",)),
    "SVGA": ({2: SVGA2d}, ()),
    "MGC": ({2: MGC2d}, ()),
    "DAGC": ({2: DAGC2d}, ()),
    "NeighborhoodAttention2d": ({2: NeighborhoodAttention2d}, ("kernel_size",)),
    "NonLocal": ({2: NonLocal2d}, ()),
    "AdaptiveNeighborhoods": ({2: AdaptiveNeighborhoods2d}, ("kernel_size",)),
    "LieConv": ({2: LieConv2d}, ("kernel_size",)),
    "RepLK": ({1: RepLK1d, 2: RepLK2d, 3: RepLK3d}, ()),
    "InceptionDW": ({2: InceptionDW2d}, ()),
    "MultiKernelDW": ({1: MultiKernelDW1d, 2: MultiKernelDW2d, 3: MultiKernelDW3d}, ()),
    "LKA": ({1: LKA1d, 2: LKA2d, 3: LKA3d}, ()),
    "LSK": ({1: LSK1d, 2: LSK2d, 3: LSK3d}, ()),
    "RecConv": ({1: RecConv1d, 2: RecConv2d, 3: RecConv3d}, ()),
    "SDLSKA": ({2: SDLSKA2d}, ()),
    "SuperKernel": ({1: SuperKernel1d, 2: SuperKernel2d, 3: SuperKernel3d}, ()),
    "ShiftWise": ({2: ShiftWise2d}, ()),
    "LKCA": ({1: LKCA1d, 2: LKCA2d, 3: LKCA3d}, ()),
    "UniRepLK": ({1: UniRepLK1d, 2: UniRepLK2d, 3: UniRepLK3d}, ()),
    "CKConv": ({1: CKConv1d, 2: CKConv2d, 3: CKConv3d}, ()),
    "SMPConv": ({1: SMPConv1d, 2: SMPConv2d, 3: SMPConv3d}, ()),
    "FlexConv": ({1: FlexConv1d, 2: FlexConv2d, 3: FlexConv3d}, ()),
    "CCNNConv": ({1: CCNNConv1d, 2: CCNNConv2d, 3: CCNNConv3d}, ()),
    "SGConv": ({1: SGConv1d, 2: SGConv2d, 3: SGConv3d}, ()),
    "LongConv": ({1: LongConv1d, 2: LongConv2d, 3: LongConv3d}, ()),
}
"""Layers that compute the middles of windows, by the axes of the map, and what they take from the window's size."""


def unpadded(layer: str) -> tuple[Mapping[int, Callable[..., nn.Module]], tuple[str, ...]]:
    """Return the entry of a layer in `UNPADDED`, or of one on graphs; an empty one for other layers."""
    if reads_graphs(layer):
        return {axes: entry_for(layer, on).build for axes, on in OF_AXES.items()}, ("K",)
    return UNPADDED.get(layer, ({}, ()))


def reads_graphs(layer: str) -> bool:
    """Return whether a layer by this name reads graphs, and thus anything on which a graph can be found."""
    return layer in LAYERS and LAYERS[layer].reads == "graphs"


def kept_settings(layer: str) -> set[str]:
    """Return the settings of a layer that the replaced convolution determines."""
    by_axes, of_window = unpadded(layer)
    has_own_kernel = bool(by_axes) and "kernel_size" not in of_window
    return {"padding"} if has_own_kernel else {"padding", "kernel_size"}


def name_of_class(layer: type) -> tuple[str, int] | None:
    """Return the name of a class of this library and the axes of its maps; None for another class."""
    builds = [(name, build) for name, family in FAMILIES.items() for build in family.values()]
    builds += [(name, build) for name, (by_axes, _) in UNPADDED.items() for build in by_axes.values()]
    for name, build in builds:
        if layer is getattr(build, "__self__", build):  # Branching is registered by its other constructors
            return name, layer.spatial_dims
    return None


def check_keeps_weights(layer: str, settings: dict[str, Any]) -> None:
    """Refuse to keep weights in a layer whose neighbours are not at the places of the convolution's window.

    Raises:
        InputError: a setting is missing; the message names it.
    """
    if layer in ("ConvNN", "Branching") and not (
        settings.get("similarity_type") == "Window" or settings.get("raster_order")
    ):
        raise InputError(
            f"keep_weights=True with layer={layer!r} needs similarity_type='Window', with which the network computes"
            " what it did, or raster_order=True; otherwise neighbours come best first, and the weights of places"
            " mean nothing to them"
        )


def reason_to_leave(
    conv: Convolution,
    layer: str | None = None,
    axes: int | None = None,
    *,
    pointwise: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> str | None:
    """Return why a layer with these settings, or any layer, cannot replace a convolution; None if it can.

    Windows of a single position are replaced only if this is asked for, by `pointwise`, and makes a difference.
    """
    kind = type(conv).__name__
    if type(conv) not in (*CONVOLUTIONS, *DEPTHWISE) and kind != SAME:
        return f"{kind} computes more than a convolution, or not the same"
    if parametrize.is_parametrized(conv) or conv._forward_pre_hooks or conv._forward_hooks:
        return "its weight is computed from others, or something listens to it"
    is_asked_for = pointwise and (layer is None or layer in POINTWISE)
    if all(side == 1 for side in conv.kernel_size) and not is_asked_for:
        return "its window is a single position"
    if axes is not None and len(conv.kernel_size) != axes:
        return f"the layer reads maps of {counted(axes, 'axis', 'axes')}"
    if layer in FAMILIES and len(conv.kernel_size) not in FAMILIES[layer]:
        return f"{layer} reads images, (B, C, H, W)"
    if layer == "FDConv":
        return FDConv2d.reason_to_leave(conv, **settings or {})
    return _reason_of_unpadded(conv, layer) if layer is not None and unpadded(layer)[0] else None


def _reason_of_unpadded(conv: Convolution, layer: str) -> str | None:
    """Return why a layer that computes the middles of windows cannot; or None."""
    axes = len(conv.kernel_size)
    if axes not in unpadded(layer)[0]:
        return f"{layer} reads images, (B, C, H, W)"
    if reads_graphs(layer) and conv.groups > 1:
        return f"{layer} mixes all channels, and the convolution has groups={conv.groups}"
    try:
        Grid(conv.kernel_size, conv.stride, _padding(conv), conv.dilation).axes_without_padding((10**6,) * axes)
    except InputError:
        return "the middle of its first window lies in the padding"
    return None


def in_place_of(conv: Convolution, layer: str, settings: dict[str, Any], *, keep_weights: bool = False) -> nn.Module:
    """Create a layer with the same channels, window, stride, groups, bias and padding, and a neighbour for each place.

    Raises:
        InputError: a setting is wrong, or the weights do not fit it.
        UnsupportedError: the layer has no weights of a convolution.
    """
    axes = len(conv.kernel_size)
    build: Callable[..., nn.Module] = FAMILIES[layer][axes] if layer in FAMILIES else unpadded(layer)[0][axes]
    where = {"device": conv.weight.device, "dtype": conv.weight.dtype}
    new = build(conv.in_channels, conv.out_channels, **_geometry(conv, layer) | settings, **where)
    if keep_weights:
        take_weights(new, conv)
    return new.train(conv.training)


def take_weights(layer: nn.Module | None, conv: Convolution, outputs: slice = slice(None)) -> None:
    """Copy the weights of some output channels of a convolution into a layer with as many output channels.

    The outputs are then those of the convolution for a ConvNN with `similarity_type="Window"`, and a ConvNN_Pos with
    `reach=0`.

    Raises:
        InputError: the weights have another shape there.
        UnsupportedError: the layer has no weights of a convolution.
    """
    weight = conv.weight.detach()[outputs]
    bias = None if conv.bias is None else conv.bias.detach()[outputs]
    with torch.no_grad():
        if isinstance(layer, Branching):
            _take_weights_of_both(layer, conv)
        elif isinstance(layer, ConvNN):
            _copy(layer, weight.flatten(2), bias)
        elif isinstance(layer, ConvNew | ConvNNPos | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            _copy(layer, weight, bias)
        elif isinstance(layer, CondConv | FDConv2d):
            layer.take_kernel(weight, bias)
        elif layer is not None:
            raise UnsupportedError(
                f"keep_weights=True is for layers with the weights of a convolution, which {type(layer).__name__} has"
                " not; use ConvNN, ConvNN_Pos, Branching, Conv2d_New, CondConv or FDConv"
            )


def _take_weights_of_both(layer: Branching, conv: Convolution) -> None:
    """Copy into each branch the weights of its channels, and make the 1x1 convolution the identity."""
    first = layer.branch_channels[0]
    take_weights(layer.branch1, conv, slice(0, first))
    take_weights(layer.branch2, conv, slice(first, None))
    nn.init.eye_(layer.pointwise.weight)
    nn.init.zeros_(layer.pointwise.bias)


def _copy(layer: Any, weight: Tensor, bias: Tensor | None) -> None:
    if layer.weight.shape != weight.shape:
        raise InputError(
            f"keep_weights=True needs a layer with weights of shape {tuple(weight.shape)}, and {layer} has"
            f" {tuple(layer.weight.shape)}; leave out K, coordinates and shuffling"
        )
    layer.weight.copy_(weight)
    if bias is not None:
        layer.bias.copy_(bias)


def _geometry(conv: Convolution, layer: str) -> dict[str, Any]:
    """Return the arguments that the new layer takes from the old one."""
    window = _plain(conv.kernel_size)
    kept: dict[str, Any] = {
        "stride": _plain(conv.stride),
        "padding": _padding(conv),
        "dilation": _plain(conv.dilation),
        "groups": conv.groups,
        "padding_mode": conv.padding_mode,
        "bias": conv.bias is not None,
    }
    if layer in WITH_A_KERNEL:
        return kept | {"kernel_size": window}
    by_axes, taken = unpadded(layer)
    if by_axes:
        of_window = {"K": conv.weight[0, 0].numel(), "kernel_size": max(conv.kernel_size) | 1}  # odd
        del kept["padding_mode"]
        if reads_graphs(layer):
            del kept["groups"]  # there is one
        return kept | {"window_size": window} | {name: of_window[name] for name in taken}
    kept |= {"window_size": window, "K": conv.weight[0, 0].numel()}
    return kept | ({"kernel_size": window} if layer.startswith("Branching") else {})


def _padding(conv: Convolution) -> Sides | str:
    if type(conv).__name__ == SAME or conv.padding == "same":
        return "same"
    return 0 if isinstance(conv.padding, str) else _plain(conv.padding)


def _plain(sides: tuple[int, ...]) -> Sides:
    """Return one number if all are equal."""
    return sides if len(set(sides)) > 1 else sides[0]
