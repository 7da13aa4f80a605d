"""Networks by name."""

from collections.abc import Callable
from fnmatch import fnmatch
from typing import Any, TypeVar

from convnn.errors import InputError, check_choice
from convnn.models._network import Network
from convnn.nn import layer_factory

Builder = TypeVar("Builder", bound=Callable[..., Network])

_BUILDERS: dict[str, Callable[..., Network]] = {}


def register_model(build: Builder) -> Builder:
    """Make a network known by the name of the function that builds it.

    The function takes a layer factory first, then in_channels, num_classes and width.

    Raises:
        InputError: the name is taken.
    """
    name = build.__name__
    if name in _BUILDERS:
        raise InputError(f"model {name!r} is registered already; choose another name")
    _BUILDERS[name] = build
    return build


def create_model(
    name: str,
    layer: str = "ConvNN",
    *,
    in_channels: int = 3,
    num_classes: int = 10,
    width: float = 1.0,
    **layer_settings: Any,
) -> Network:
    """Build a network of a layer.

    Args:
        name: one of `list_models()`.
        layer: one of `convnn.nn.list_layers()`.
        in_channels: channels of the images.
        num_classes: logits per image.
        width: factor on all channels; 1 is the published network.
        layer_settings: settings of the layer, such as K or branch_ratio; those of other layers are left out.

    Raises:
        InputError: the network, the layer or a setting is unknown (naming the nearest), or a value is out of range.

    Example:
        >>> sum(p.numel() for p in create_model("vgg11", "Conv2d").parameters())
        128812810
    """
    check_choice("model", name, _BUILDERS)
    factory = layer_factory(layer, **layer_settings)
    return _BUILDERS[name](factory, in_channels=in_channels, num_classes=num_classes, width=width)


def list_models(pattern: str = "*") -> list[str]:
    """Names of all networks that fit a pattern such as "vgg*"."""
    return [name for name in _BUILDERS if fnmatch(name, pattern)]


def describe_model(name: str) -> str:
    """One line about a network.

    Raises:
        InputError: the network is unknown.
    """
    check_choice("model", name, _BUILDERS)
    return (_BUILDERS[name].__doc__ or "").strip().splitlines()[0]
