"""Layers by the names of the published `--layer` flag."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from convnn.errors import InputError, check_at_least, check_choice, did_you_mean
from convnn.nn._extensions import load_packages
from convnn.nn._factory import LayerFactory
from convnn.nn.maps.attention import ConvNNAttention2d
from convnn.nn.maps.branching import Branching2d
from convnn.nn.maps.conv_new import Conv2dNew
from convnn.nn.maps.convnn import ConvNN2d
from convnn.nn.maps.placed import ConvNNPos2d
from convnn.nn.relatives.adaptive import AdaptiveNeighborhoods2d
from convnn.nn.relatives.axial import DAGC2d, MGC2d, SVGA2d
from convnn.nn.relatives.edge_conv import EdgeConv2d
from convnn.nn.relatives.neighborhood import NeighborhoodAttention2d
from convnn.nn.relatives.non_local import NonLocal2d
from convnn.nn.relatives.vig import ViG2d
from convnn.nn.tokens.attention import KvtAttention, MultiheadAttention
from convnn.nn.tokens.branching import BranchAttention, BranchConv
from convnn.nn.tokens.convnn import MultiheadConvNNAttention
from convnn.nn.tokens.windows import LocalAttention, NeighborhoodAttention, SparseAttention


@dataclass(frozen=True)
class LayerEntry:
    """A layer that networks can be built of.

    Attributes:
        build: makes it from input and output channels, or of tokens from their width and heads, and from settings.
        settings: names that `build` reads, with their defaults.
        summary: one line for people.
        reads: "maps" (B, C, H, W) or "tokens" (B, T, D).
    """

    build: Callable[..., nn.Module]
    settings: dict[str, Any]
    summary: str
    reads: str = "maps"


LAYERS: dict[str, LayerEntry] = {}
OF_THE_NETWORK = ("bias", "device", "dtype")
GEOMETRY = ("stride", "window_size", "dilation", "groups", "padding_mode")
"""What a network decides for each of its layers: no settings."""
READS = ("maps", "tokens")


def register_layer(
    name: str,
    build: Callable[..., nn.Module],
    summary: str,
    *parts: Callable[..., Any],
    reads: str = "maps",
    fixed: Iterable[str] = (),
) -> None:
    """Make a layer known to `layer_factory`, and to the command line with `--import` of the module that calls this.

    Args:
        name: the value of `--layer`.
        build: called with input and output channels, or width and heads, and those settings that its signature names.
        summary: one line for people.
        parts: further callables to which `build` hands its remaining settings.
        reads: "maps" (B, C, H, W) or "tokens" (B, T, D).
        fixed: settings in the signatures that keep their defaults, whatever the flags say.

    Raises:
        InputError: the name is taken, or `reads` is something else.
    """
    check_choice("reads", reads, READS)
    if name in LAYERS:
        raise InputError(f"layer {name!r} is registered already; choose another name")
    settings: dict[str, Any] = {}
    omitted = (*OF_THE_NETWORK, *(GEOMETRY if reads == "maps" else ()), *fixed)
    for part in (build, *parts):
        settings |= keyword_defaults(part, omitted)
    LAYERS[name] = LayerEntry(build, settings, summary, reads)


def layer_factory(name: str, **settings: Any) -> LayerFactory:
    """What a network needs to build itself of a layer: a function from two numbers to the layer.

    The numbers are input and output channels of a layer on maps, width and heads of a layer on tokens. A network that
    decides some setting itself, such as the step of each stage, names it beside them; a layer that does not read it
    leaves it out.

    Args:
        name: one of `list_layers()`.
        settings: any setting of any layer; those that this one does not read are left out, as flags are.

    Raises:
        InputError: the layer or a setting is unknown.

    Example:
        >>> layer_factory("Branching", K=5, branch_ratio=0.25)(16, 32).extra_repr()
        '16, 32, branch_ratio=0.25'
    """
    check_layer_name("layer", name)
    check_settings(settings, *(entry.settings for entry in LAYERS.values()))
    return partial(_build, LAYERS[name], settings)


def _build(entry: LayerEntry, settings: dict[str, Any], *widths: int, **of_the_network: Any) -> nn.Module:
    read = {key: value for key, value in (settings | of_the_network).items() if key in entry.settings}
    return entry.build(*widths, **read)


def check_layer_name(argument: str, name: str) -> None:
    """Refuse the name of a layer that neither this package nor an installed one has.

    Raises:
        InputError: naming the argument and the nearest.
    """
    if name not in LAYERS:
        load_packages()
    check_choice(argument, name, LAYERS)


def list_layers(reads: str | None = None) -> list[str]:
    """Names of all layers, or of those that read "maps" or "tokens"; those of installed packages too."""
    load_packages()
    return [name for name, entry in LAYERS.items() if reads in (None, entry.reads)]


def keyword_defaults(function: Callable[..., Any], omitted: Iterable[str] = OF_THE_NETWORK) -> dict[str, Any]:
    """The settings that a function or class names in its signature, with their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in omitted}


def check_settings(settings: Iterable[str], *known: Iterable[str]) -> None:
    """Refuse a setting that nobody knows.

    Raises:
        InputError: naming the nearest that somebody knows.
    """
    everything = {setting for names in known for setting in names}
    for setting in settings:
        if setting not in everything:
            raise InputError(f"setting {setting!r} is unknown{did_you_mean(setting, everything)}")


def _conv2d(in_channels: int, out_channels: int, *, kernel_size: int = 3) -> nn.Conv2d:
    check_at_least("kernel_size", kernel_size, 1)
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding="same")


register_layer("Conv2d", _conv2d, "the k x k window")
# The maps of these two keep their size: the setting `padding` is for those that search the whole map.
register_layer("Conv2d_New", Conv2dNew, "the k x k window, with coordinates and pixel shuffling", fixed=("padding",))
register_layer("ConvNN", ConvNN2d, "the K most similar positions, convolved")
register_layer(
    "ConvNN_Pos",
    ConvNNPos2d,
    "one position in each direction, the most similar for half of it",
    fixed=("padding",),
)
register_layer("ConvNN_Attn", ConvNNAttention2d, "the K most similar positions, softmax weights, then a kernel")
register_layer("Branching", Branching2d.with_convnn, "ConvNN beside Conv2d", ConvNN2d)
register_layer("Branching_Attn", Branching2d.with_attention, "ConvNN_Attn beside Conv2d", ConvNNAttention2d)

# Those of other papers work on the map as it is.
_register_relative = partial(register_layer, fixed=("padding",))
_register_relative("ViG", ViG2d, "the K nearest by feature, the most that they have more")
_register_relative("EdgeConv", EdgeConv2d, "the K nearest by feature, the largest of an MLP over edges")
_register_relative("SVGA", SVGA2d, "every so many positions of the own row and column, the most that they have less")
_register_relative("MGC", MGC2d, "four positions of the own row and column, the most that they have more")
_register_relative("DAGC", DAGC2d, "those of the own row and column that are close, the most that they have more")
_register_relative("NeighborhoodAttention2d", NeighborhoodAttention2d, "the k x k window, softmax weights")
_register_relative("NonLocal", NonLocal2d, "all positions, softmax weights, beside the position itself")
_register_relative("Adaptive", AdaptiveNeighborhoods2d, "as many of the k x k window as each position wishes for")

_register_tokens = partial(register_layer, reads="tokens")
_register_tokens("Attention", MultiheadAttention, "every token, softmax weights")
_register_tokens(
    "ConvNNAttention", MultiheadConvNNAttention, "the K most similar tokens, softmax weights, then a kernel"
)
_register_tokens("KvtAttention", KvtAttention, "the K tokens of the highest score, softmax weights")
_register_tokens("LocalAttention", LocalAttention, "tokens at most 128 away, rotary positions")
_register_tokens("NeighborhoodAttention", NeighborhoodAttention, "a window of K tokens, shifted inwards at the ends")
_register_tokens("SparseAttention", SparseAttention, "tokens near by, or every so many")
_register_tokens("BranchConv", BranchConv, "ConvNNAttention beside a convolution", MultiheadConvNNAttention)
_register_tokens("BranchAttention", BranchAttention, "ConvNNAttention beside Attention", MultiheadConvNNAttention)
