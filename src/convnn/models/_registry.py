"""Networks by name."""

from collections.abc import Callable, Container
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, TypeVar

from convnn import nn
from convnn.errors import InputError, check_choice, did_you_mean
from convnn.models._network import Network
from convnn.models._own_loss import OwnLoss
from convnn.models._reducing import REDUCTION, reduce_as_asked
from convnn.models.external import ExternalNetwork, check_external, is_external, replacement_settings
from convnn.models.fully_convolutional import FullyConvolutional
from convnn.nn import LAYERS, layer_factory, list_layers
from convnn.nn.registry import all_settings, check_layer_name, check_settings, entry_for, keyword_defaults
from convnn.nn.replace import SCOPES, build_along, factory_along
from convnn.words import counted

Builder = TypeVar("Builder", bound=Callable[..., Network])


@dataclass(frozen=True)
class ModelEntry:
    """A network by name.

    Attributes:
        build: function that creates it from a layer factory and settings.
        network: its class, which determines the layers it accepts.
        settings: names of the settings that `build` reads, with their defaults.
        of_layer: settings of its default layer that differ from the defaults of the layer.
    """

    build: Callable[..., Network]
    network: type[Network]
    settings: dict[str, Any]
    of_layer: dict[str, Any]


AXES = {"sequences": 1, "volumes": 3}
"""Axes of what layers read that are built in a form of their own for it."""

FEW = 12
"""How many layers an error lists."""

_MODELS: dict[str, ModelEntry] = {}


def register_model(
    network: type[Network], *, decided: Container[str] = (), **of_layer: Any
) -> Callable[[Builder], Builder]:
    """Register a network by the name of the function that builds it.

    The function takes a layer factory first, then in_channels, num_classes, width and the settings that its signature,
    or that of the network's class, names.

    Args:
        network: its class, which determines the layers it accepts.
        decided: arguments of the class that the function decides, which are no settings.
        of_layer: settings of its default layer that have other defaults in this network.

    Raises:
        InputError: the name is taken.
    """

    def register(build: Builder) -> Builder:
        name = build.__name__
        if name in _MODELS:
            raise InputError(f"model {name!r} is registered already; choose another name")
        settings = keyword_defaults(network) | keyword_defaults(build)
        of_every_network = keyword_defaults(create_model)
        left_out = {name for name in settings if name in of_every_network or name in decided}
        own = {setting: value for setting, value in settings.items() if setting not in left_out}
        _MODELS[name] = ModelEntry(build, network, own, of_layer)
        return build

    return register


def create_model(
    name: str,
    layer: str | None = None,
    *,
    in_channels: int = 3,
    num_classes: int = 10,
    width: float = 1.0,
    pretrained: bool = False,
    share_kernels: str = "none",
    dense: bool = False,
    **settings: Any,
) -> Network:
    """Build a network with a layer.

    Args:
        name: one of `list_models()`; or a network of another library, such as "torchvision:resnet50" or
            "timm:convnext_tiny".
        layer: one of `convnn.nn.list_layers()` that the network accepts; None is its default. In a network of another
            library it replaces the convolutions, or the attention; "Conv2d" leaves them.
        in_channels: number of channels of the images, or of features of a node.
        num_classes: number of classes.
        width: factor on all channel numbers; 1 is the published network.
        pretrained: start from the pretrained weights of torchvision or timm, which downloads and caches them; a head
            with another number of classes is initialised at random.
        share_kernels: layers of one shape use one kernel: "none", those of a "stage", or of the whole "model"
            (`convnn.share_kernels`).
        dense: a class for every pixel: logits (B, num_classes, H, W), from a classifier by `FullyConvolutional`.
            Networks for segmentation give them anyway.
        settings: settings of the network, such as patch_size, or `where`, the pattern of names of the layers to
            replace in a network of another library; or of the layer, such as K; or of a vision transformer whose tokens
            become fewer (`convnn.reduce_tokens`): reduce_tokens, "none" or a reducer, keep_tokens, and the others of
            `REDUCTION`. Those that none of them reads are ignored, as flags are.

    Raises:
        InputError: the network, the layer or a setting is unknown (the message names the nearest), the network does
            not accept the layer, a value is out of range, there are no pretrained weights, or with `dense` no map of
            features.

    Example:
        >>> sum(p.numel() for p in create_model("vgg11", "Conv2d").parameters())
        128812810
    """
    check_choice("share_kernels", share_kernels, SCOPES)
    reduction = {setting: settings.pop(setting) for setting in REDUCTION.keys() & settings.keys()}
    network = _build(
        name, layer, settings, in_channels=in_channels, num_classes=num_classes, width=width, pretrained=pretrained
    )
    if share_kernels != "none":
        nn.share_kernels(network, scope=share_kernels)
    reduce_as_asked(network, reduction)
    return FullyConvolutional(network) if dense and network.task != "segmentation" else network


def _build(
    name: str, layer: str | None, settings: dict[str, Any], *, pretrained: bool, width: float, **sizes: Any
) -> Network:
    check_model(name)
    layer = layer or default_layer(name)
    check_layer(name, layer)
    of_networks = {setting for one in _MODELS.values() for setting in one.settings} | {"where"}
    check_settings(settings, of_networks, all_settings())
    if is_external(name):
        read = {"where"} | replacement_settings(layer)
        own = {setting: value for setting, value in settings.items() if setting in read}
        return ExternalNetwork(name, layer, width=width, pretrained=pretrained, **sizes, **own)
    if pretrained:
        raise InputError(f"pretrained=True is for networks of torchvision and timm; model={name!r} has no such weights")
    model = _MODELS[name]
    own = {setting: value for setting, value in settings.items() if setting in model.settings}
    if "auxiliary" in model.settings:  # further maps, for which no weights of the loss are published
        own = {"auxiliary": False} | own
    defaults, reads = layer_defaults(name, layer), model.network.reads
    of_layer = defaults | {s: value for s, value in settings.items() if s not in of_networks or s in defaults}
    axes = AXES.get(reads)
    factory = factory_along(layer, axes, **of_layer) if axes else layer_factory(layer, on=reads, **of_layer)
    return model.build(factory, width=width, **sizes, **own)


def check_layer(model: str, layer: str, prefix: str = "") -> None:
    """Refuse a layer that a network cannot be built with; flags have the prefix "--".

    Raises:
        InputError: the layer is refused; the message lists those that can be used.
    """
    check_layer_name(f"{prefix}layer", layer)
    if is_external(model):
        return
    reads, fitting = reads_of(model), layers_for(model)
    if layer not in fitting and _MODELS[model].network.built_of == ():
        raise InputError(f"{prefix}layer={layer!r} has no place in {prefix}model={model!r}; leave it out")
    if layer not in fitting:
        of_layer = "images only" if reads in AXES and LAYERS[layer].reads == "maps" else LAYERS[layer].reads
        raise InputError(
            f"{prefix}layer={layer!r} reads {of_layer}; {prefix}model={model!r} is built of layers that read"
            f" {reads}: {', '.join(fitting[:FEW])}"
            + (f" and {counted(len(fitting) - FEW, 'other')}, which convnn layers lists" if len(fitting) > FEW else "")
        )


def check_model(model: str, prefix: str = "") -> None:
    """Refuse a network that exists neither here nor in the library that it names; flags have the prefix "--".

    Raises:
        InputError: the network is unknown; the message names the nearest.
    """
    if is_external(model):
        check_external(model, f"{prefix}model")
    else:
        _check_name(f"{prefix}model", model)


def _check_name(argument: str, name: str) -> None:
    if name not in _MODELS:
        raise InputError(
            f"{argument}={name!r} is not one of the {len(_MODELS)} networks that convnn models lists, nor"
            f" torchvision:NAME or timm:NAME{did_you_mean(name, _MODELS)}"
        )


def layers_for(model: str) -> list[str]:
    """List the layers that a network of this package can be built with: those that read graphs find one anywhere.

    On sequences these are the layers for one axis, on volumes those for three.
    """
    reads, named = reads_of(model), None if is_external(model) else _MODELS[model].network.built_of
    if named is not None:
        return list(named) or [default_layer(model)]
    if reads in ("graphs", "interactions", "triples", "mixtures"):
        return list_layers(reads)
    fitting = list_layers("maps" if reads in AXES else reads) + list_layers("graphs")
    return [name for name in fitting if reads not in AXES or build_along(name, AXES[reads]) is not None]


def reads_of(model: str) -> str:
    """Return what the layers of a network read: "maps" or "tokens" of images, or one of the others of `READS`."""
    return Network.reads if is_external(model) else _MODELS[model].network.reads


def data_of(model: str) -> str:
    """Return the input of a network: "images", "sequences", "volumes", "graphs", "interactions" or "triples".

    Networks with a loss of their own may have another word.
    """
    network = Network if is_external(model) else _MODELS[model].network
    return network.data or ("images" if network.reads in ("maps", "tokens") else network.reads)


def own_loss_of(model: str) -> type[OwnLoss] | None:
    """Return the class of a network that has a loss of its own and needs no labels, or None for all others."""
    network = None if is_external(model) else _MODELS[model].network
    return network if network is not None and issubclass(network, OwnLoss) else None


def sizes_of(model: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return the arguments of `create_model` that follow from the shape of the data, as a data set names it."""
    network = Network if is_external(model) or model not in _MODELS else _MODELS[model].network
    return {"in_channels": shape[0]} | network.sizes(shape)


def defaults_on(model: str, dataset: str) -> dict[str, Any]:
    """Return the defaults of flags of training that a network has on a single data set."""
    network = Network if is_external(model) else _MODELS[model].network
    return dict(network.defaults_on.get(dataset, {}))


def task_of(model: str) -> str:
    """Return what a network does: "segmentation", or "classification" for all others."""
    return Network.task if is_external(model) else _MODELS[model].network.task


def default_layer(model: str) -> str:
    """Return the layer from which a network is built by default."""
    return Network.default_layer if is_external(model) else _MODELS[model].network.default_layer


def layer_defaults(model: str, layer: str) -> dict[str, Any]:
    """Return the settings that a layer reads, with their defaults in a network, which may choose those of its own."""
    if model in _MODELS and _MODELS[model].network.built_of:
        return {}  # it has that layer in a form of its own
    chosen = _MODELS[model].of_layer if model in _MODELS and layer == default_layer(model) else {}
    return entry_for(layer, reads_of(model)).settings | chosen


def model_settings(model: str) -> dict[str, Any]:
    """Return the settings that a network reads, with their defaults; those of its layer are in `convnn.nn.LAYERS`."""
    own = {"where": "*", "K": 0} if is_external(model) else _MODELS[model].settings
    has_tokens = model.startswith("timm:") or reads_of(model) == "tokens"
    return {"share_kernels": "none"} | (REDUCTION if has_tokens else {}) | own


def list_models(pattern: str = "*") -> list[str]:
    """List the networks whose names match a pattern such as "vgg*"."""
    return [name for name in _MODELS if pattern == "*" or fnmatch(name, pattern)]


def describe_model(name: str) -> str:
    """Describe a network in one line.

    Raises:
        InputError: the network is unknown.
    """
    _check_name("model", name)
    return (_MODELS[name].build.__doc__ or "").strip().splitlines()[0]
