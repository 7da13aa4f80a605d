"""Replacement of the convolutions, or of the attention, of any network by our layers."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from reprlib import repr as shortened
from typing import Any

from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn._layer import MapLayer, TokenLayer
from convnn.nn.registry import LAYERS, check_layer_name, check_settings, entry_for
from convnn.nn.replace import _maps, _tokens
from convnn.nn.replace._along import build_along, factory_along
from convnn.nn.replace._depthwise import replace_depthwise
from convnn.nn.replace._maps import kept_settings
from convnn.nn.replace._reduce import ReducedBlocks, reduce_tokens
from convnn.nn.replace._report import Fate, ReplacementReport
from convnn.nn.replace._sharing import SCOPES, SharingReport, share_kernels
from convnn.nn.replace._tied import reasons_of_names, reasons_of_sharing
from convnn.nn.replace._where import Where, WhereLike, as_where, sides_of_maps
from convnn.nn.tokens._layer import NeighborAttention

__all__ = [
    "SCOPES",
    "Fate",
    "ReducedBlocks",
    "ReplacementReport",
    "SharingReport",
    "Where",
    "build_along",
    "can_keep_weights",
    "factory_along",
    "kept_settings",
    "reduce_tokens",
    "replace_depthwise",
    "replace_layers",
    "share_kernels",
]


def replace_layers(
    model: nn.Module,
    layer: str | type[nn.Module] | Callable[[Any], nn.Module] = "ConvNN",
    where: WhereLike = "*",
    *,
    keep_weights: bool = False,
    example: Tensor | None = None,
    **settings: Any,
) -> ReplacementReport:
    """Replace the convolutions, or the self-attention, of a model by a layer of this library, in place.

    A layer on maps replaces every `torch.nn.Conv1d`, `Conv2d` and `Conv3d` whose window has more than one position; a
    `Where` can ask for the others, too. It
    keeps channels, window, stride, dilation, groups, bias, padding and padding mode, so that maps keep their sizes, and
    chooses as many neighbours as the window has positions unless K is given. A layer on tokens replaces
    `torch.nn.MultiheadAttention` and the attention of timm's vision transformers, with their width, heads and bias. A
    layer on graphs replaces the attention where there is some, and otherwise the convolutions, by itself on the graph
    of the most similar positions.
    Subclasses of these compute something else; they are left, and the report says so. A layer with several names is
    replaced under all of them or none, and layers that share a parameter with another module are left.

    Args:
        model: any model.
        layer: one of `convnn.nn.list_layers()`, or its class; or a function from an old layer to a new one, which is
            called for every convolution and attention.
        where: layers to replace: a pattern of names, a class, several of either, a function of the name and the layer
            that returns whether to replace it, or a `Where`.
        keep_weights: start from the old weights. When convolutions are replaced, the outputs of the model are
            unchanged with "ConvNN" and "Branching" with similarity_type="Window", "ConvNN_Pos" with reach=0,
            "Conv2d_New", "CondConv" and "FDConv"; the model can then be trained, or its search changed. When attention
            is replaced, every layer keeps the projections of queries, keys, values and output; the outputs are
            unchanged with "Attention", and with "ConvNNAttention" if K is the number of tokens.
        example: an input of the model, for a `Where` with a map size.
        settings: settings of the layer.

    Returns:
        A report of the replaced layers, and of those left and why.

    Raises:
        InputError: an argument has another type or value, `where` needs an example or matches no layer, weights are to
            be kept without the setting that makes this possible, or nothing was replaced.
        UnsupportedError: weights are to be kept by a layer that has none of their kind.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1))
        >>> print(replace_layers(model, "ConvNN", similarity_type="Loc_Col"))
        1 layer replaced, 1 left
        0  Conv2d -> ConvNN2d
        2  Conv2d left: its window is a single position
    """
    _check_types(model, example)
    layer, axes = _resolved(layer)
    make, can_replace = _maker(layer, settings, keep_weights)
    layers = {name: module for name, module in _candidates(model) if can_replace(module)}
    where = as_where(where)
    if isinstance(layer, str) and _maps.reads_graphs(layer):
        layers = _of_one_kind(layers, where)
    if where.map_size is not None and example is None:
        raise InputError(f"where has map_size={where.map_size}, which needs example=, an input of the model")
    where.check_asks_for_some(layers, model)
    leave = partial(_reason_to_leave, layer=layer, axes=axes, pointwise=where.pointwise, settings=settings)
    reasons = {name: reason for name, module in layers.items() if (reason := leave(module))}
    reasons = reasons_of_sharing(model, layers) | reasons
    free = {name: module for name, module in layers.items() if name not in reasons}
    reasons |= where.refusals(free, None if example is None else sides_of_maps(model, example))
    reasons = reasons_of_names(layers, reasons) | reasons  # first, for they are the least expected
    asked_for = [name for name, module in layers.items() if where.asks_for(name, module)]
    _refuse_to_do_nothing(model, layer, layers, reasons, [name for name in asked_for if name in free] or asked_for)
    new = {module: make(module) for name, module in free.items() if name not in reasons}
    for name in layers:
        if name not in reasons:
            model.set_submodule(name, new[layers[name]])
    return ReplacementReport(tuple(_fate(name, old, new, reasons.get(name)) for name, old in layers.items()))


def can_keep_weights(layer: str, settings: dict[str, Any]) -> bool:
    """Whether `replace_layers` keeps weights with this layer and these settings, whatever the model."""
    if LAYERS[layer].reads == "tokens":
        build = LAYERS[layer].build
        return isinstance(build, type) and issubclass(build, NeighborAttention)
    try:
        _maps.check_keeps_weights(layer, settings)
    except InputError:
        return False
    return layer in _maps.WITH_WEIGHTS


def _check_types(model: Any, example: Any) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(f"model={shortened(model)} must be a torch.nn.Module")
    if example is not None and not isinstance(example, Tensor):
        raise InputError(f"example={shortened(example)} must be a tensor, an input of the model")


def _resolved(layer: Any) -> tuple[Any, int | None]:
    """Return a layer by name or as a function; for a class of ours, its name and the axes of its maps."""
    if isinstance(layer, str):
        return layer, None
    if isinstance(layer, type):
        if (found := _maps.name_of_class(layer)) is not None:
            return found
        if issubclass(layer, TokenLayer):
            by_class = {entry.build: name for name, entry in LAYERS.items()}
            if layer in by_class:
                return by_class[layer], None
    if not callable(layer):
        raise InputError(f"layer={layer!r} must be a name, a layer class, or a function from an old layer to a new one")
    try:
        inspect.signature(layer).bind(None)
    except TypeError:
        raise InputError(
            f"layer={layer!r} cannot be called with the old layer alone; give a function such as"
            " lambda old: ConvNN2d(old.in_channels, old.out_channels), or a name"
        ) from None
    except ValueError:  # it has no signature
        pass
    return layer, None


def _candidates(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield every module below the model, those with two names twice; not the parts of our own layers."""
    inside = ""
    for name, module in model.named_modules(remove_duplicate=False):
        if inside and name.startswith(inside):
            continue
        inside = f"{name}." if isinstance(module, MapLayer | TokenLayer) else ""
        if name:
            yield name, module


def _of_one_kind(layers: dict[str, nn.Module], where: Where) -> dict[str, nn.Module]:
    """Return the attention, if there is some to replace, and otherwise the convolutions."""
    of_tokens = [name for name, module in layers.items() if _tokens.is_attention(module)]
    tokens_come_first = any(where.asks_for(name, layers[name]) for name in of_tokens)
    return {name: module for name, module in layers.items() if (name in of_tokens) == tokens_come_first}


def _on_tokens(layer: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a layer on graphs that it reads on tokens.

    Raises:
        InputError: another one has not its default.
    """
    on_maps, on_tokens = (entry_for(layer, on).settings for on in ("maps", "tokens"))
    for name, value in settings.items():
        if name not in on_tokens and value != on_maps[name]:
            raise InputError(f"{name}={value!r} is for maps, and layer={layer!r} takes the place of attention here")
    return {name: value for name, value in settings.items() if name in on_tokens}


def _maker(
    layer: str | Callable[[Any], nn.Module], settings: dict[str, Any], keep_weights: bool
) -> tuple[Callable[[Any], nn.Module], Callable[[nn.Module], bool]]:
    """Return the function that creates a new layer from an old one, and the one that tells whether it can."""
    if not isinstance(layer, str):
        for name, value in (settings | ({"keep_weights": True} if keep_weights else {})).items():
            raise InputError(f"{name}={value!r} is for a layer by name; a function sees to it itself")
        return layer, lambda module: _is_convolution(module) or _tokens.is_attention(module)
    check_layer_name("layer", layer)
    reads = LAYERS[layer].reads
    check_settings(settings, entry_for(layer, "maps").settings)
    of_tokens = partial(_tokens.in_place_of, layer=layer, settings=settings, keep_weights=keep_weights)
    of_maps = partial(_maps.in_place_of, layer=layer, settings=settings, keep_weights=keep_weights)
    if reads == "tokens":
        return of_tokens, _tokens.is_attention
    for name in sorted(kept_settings(layer)):
        if name in settings:
            raise InputError(f"{name}={settings[name]} is kept from each convolution; leave it out")
    if reads == "interactions":
        raise InputError(f"layer={layer!r} reads interactions of users and items, and takes no layer's place")
    if reads == "graphs":
        return (
            lambda old: (
                of_tokens(old, settings=_on_tokens(layer, settings)) if _tokens.is_attention(old) else of_maps(old)
            ),
            lambda old: _is_convolution(old) or _tokens.is_attention(old),
        )
    known = (*_maps.FAMILIES, *_maps.UNPADDED)
    if layer not in known:
        raise InputError(f"layer={layer!r} takes no convolution's place; choose from {', '.join(known)}")
    if keep_weights:
        _maps.check_keeps_weights(layer, settings)
    return of_maps, _is_convolution


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, _maps.CONVOLUTIONS)


def _reason_to_leave(module: Any, *, layer: Any, **settings: Any) -> str | None:
    if not _is_convolution(module):
        return None
    return _maps.reason_to_leave(module, layer if isinstance(layer, str) else None, **settings)


def _refuse_to_do_nothing(
    model: nn.Module, layer: Any, layers: dict[str, Any], reasons: dict[str, str], asked_for: list[str]
) -> None:
    """Refuse where every layer is left, with the reason of one that was asked for."""
    if len(reasons) < len(layers):
        return
    kind = type(model).__name__
    if asked_for:
        why = f"{asked_for[0]} was left: {reasons[asked_for[0]]}"
        raise InputError(f"layer={layer!r} takes the place of no layer of {kind}; {why}")
    if _is_convolution(model) or _tokens.is_attention(model):
        raise InputError(f"model={kind} is a single layer, not a network; wrap it, as in torch.nn.Sequential(model)")
    of_tokens = isinstance(layer, str) and LAYERS[layer].reads == "tokens"
    replaced = "self-attention" if of_tokens else "convolution"
    raise InputError(f"model={kind} has no {replaced} that layer={layer!r} could replace")


def _fate(name: str, old: nn.Module, new: dict[nn.Module, nn.Module], reason: str | None) -> Fate:
    kind = type(old).__name__
    if reason:
        return Fate(name, kind, reason=reason)
    layer = new[old].layer if isinstance(new[old], _tokens.SelfAttention) else new[old]
    return Fate(name, kind, type(layer).__name__)
