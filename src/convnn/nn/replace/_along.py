"""Layers on maps of one, two or three axes, by their names of `--layer`."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from convnn.nn.kernels.convolution import same_convolution
from convnn.nn.registry import OF_AXES, NamedLayer, all_settings, check_layer_name, check_settings
from convnn.nn.replace._maps import CONVOLUTIONS, FAMILIES, unpadded


def build_along(layer: str, axes: int) -> Callable[..., nn.Module] | None:
    """Return what builds a layer on maps of so many axes, or None if the layer has no such form.

    "Conv2d" is `torch.nn.Conv1d` along one axis and `torch.nn.Conv3d` along three.
    """
    if layer == "Conv2d":
        return partial(same_convolution, CONVOLUTIONS[axes - 1])
    return FAMILIES[layer].get(axes) if layer in FAMILIES else unpadded(layer)[0].get(axes)


def factory_along(layer: str, axes: int, **settings: Any) -> NamedLayer:
    """Return the function from input and output channels to a layer on maps of so many axes.

    Args:
        layer: one of `list_layers("maps")` with a form for these axes, or of `list_layers("graphs")`.
        axes: 1, 2 or 3.
        settings: settings of any layer; those that this one does not read are ignored, as flags are.

    Raises:
        InputError: the layer or a setting is unknown.
        KeyError: the layer has no such form.
    """
    check_layer_name("layer", layer)
    check_settings(settings, all_settings())
    build = build_along(layer, axes)
    if build is None:
        raise KeyError(layer)
    return NamedLayer(layer, settings, build, OF_AXES[axes])
