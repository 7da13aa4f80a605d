"""Layers by the names of the published `--layer` flag."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from convnn.errors import InputError, check_at_least, check_choice, did_you_mean
from convnn.nn._factory import LayerFactory
from convnn.nn.maps.attention import ConvNNAttention2d
from convnn.nn.maps.branching import Branching2d
from convnn.nn.maps.conv_new import Conv2dNew
from convnn.nn.maps.convnn import ConvNN2d


@dataclass(frozen=True)
class LayerEntry:
    """A layer that networks can be built of.

    Attributes:
        build: makes it from input channels, output channels and settings.
        settings: names that `build` reads, with their defaults.
        summary: one line for people.
    """

    build: Callable[..., nn.Module]
    settings: dict[str, Any]
    summary: str


LAYERS: dict[str, LayerEntry] = {}


def register_layer(name: str, build: Callable[..., nn.Module], summary: str, *parts: Callable[..., Any]) -> None:
    """Make a layer known to `layer_factory` and to the command line.

    Args:
        name: the value of `--layer`.
        build: called with input channels, output channels and those settings that its signature names.
        summary: one line for people.
        parts: further callables to which `build` hands its remaining settings.

    Raises:
        InputError: the name is taken.
    """
    if name in LAYERS:
        raise InputError(f"layer {name!r} is registered already; choose another name")
    settings: dict[str, Any] = {}
    for part in (build, *parts):
        settings |= _keyword_defaults(part)
    LAYERS[name] = LayerEntry(build, settings, summary)


def layer_factory(name: str, **settings: Any) -> LayerFactory:
    """What a network needs to build itself of a layer: a function from input and output channels to the layer.

    Args:
        name: one of `list_layers()`.
        settings: any setting of any layer; those that this one does not read are left out, as flags are.

    Raises:
        InputError: the layer or a setting is unknown.

    Example:
        >>> layer_factory("Branching", K=5, branch_ratio=0.25)(16, 32).extra_repr()
        '16, 32, branch_ratio=0.25'
    """
    check_choice("layer", name, LAYERS)
    known = {setting for entry in LAYERS.values() for setting in entry.settings}
    for setting in settings:
        if setting not in known:
            raise InputError(f"layer setting {setting!r} is unknown{did_you_mean(setting, known)}")
    entry = LAYERS[name]
    return partial(entry.build, **{key: value for key, value in settings.items() if key in entry.settings})


def list_layers() -> list[str]:
    """Names of all layers."""
    return list(LAYERS)


def _keyword_defaults(function: Callable[..., Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters.values()
    of_the_network = ("bias", "device", "dtype")
    return {p.name: p.default for p in parameters if p.default is not p.empty and p.name not in of_the_network}


def _conv2d(in_channels: int, out_channels: int, *, kernel_size: int = 3) -> nn.Conv2d:
    check_at_least("kernel_size", kernel_size, 1)
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding="same")


register_layer("Conv2d", _conv2d, "the k x k window")
register_layer("Conv2d_New", Conv2dNew, "the k x k window, with coordinates and pixel shuffling")
register_layer("ConvNN", ConvNN2d, "the K most similar positions, convolved")
register_layer("ConvNN_Attn", ConvNNAttention2d, "the K most similar positions, softmax weights, then a kernel")
register_layer("Branching", Branching2d.with_convnn, "ConvNN beside Conv2d", ConvNN2d)
register_layer("Branching_Attn", Branching2d.with_attention, "ConvNN_Attn beside Conv2d", ConvNNAttention2d)
