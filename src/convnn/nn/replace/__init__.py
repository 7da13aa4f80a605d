"""Any of our layers in the place of the convolutions, or of the attention, of any network."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn._layer import MapLayer
from convnn.nn.registry import LAYERS, check_layer_name, check_settings
from convnn.nn.replace import _maps, _tokens
from convnn.nn.replace._report import Fate, ReplacementReport
from convnn.nn.replace._tied import reasons_of_names, reasons_of_sharing
from convnn.nn.replace._where import Where, as_where, sides_of_maps
from convnn.nn.tokens._layer import TokenLayer

__all__ = ["Fate", "ReplacementReport", "Where", "replace_layers"]

KEPT = {"padding", "kernel_size"}
"""Settings that the convolution decides whose place is taken."""


def replace_layers(
    model: nn.Module,
    layer: str | Callable[[Any], nn.Module] = "ConvNN",
    where: Where | str | tuple[str, ...] | type[nn.Module] = "*",
    *,
    keep_weights: bool = False,
    example: Tensor | None = None,
    **settings: Any,
) -> ReplacementReport:
    """Put a layer of ours in the place of the convolutions, or of the self-attention, of a model, in place.

    A layer on maps takes the place of every `torch.nn.Conv1d`, `Conv2d` and `Conv3d` whose window is more than a single
    position. It keeps channels, window, stride, dilation, groups, bias, padding and its mode, so that maps keep their
    sizes, and chooses as many neighbours as the window has positions unless K is given. A layer on tokens takes the
    place of `torch.nn.MultiheadAttention` and of the attention of timm's vision transformers, with their width and
    heads. Classes derived from those compute something else; they are left, and the report says so.
    What is one stays one: a layer with several names is replaced under all of them or none, and layers that share a
    parameter with another are left.

    Args:
        model: any model.
        layer: one of `convnn.nn.list_layers()`; or a function from an old layer to a new one, which then is asked for
            every convolution and attention.
        where: which of them: a pattern of names, several, a class, or a `Where`.
        keep_weights: start from the weights of the convolutions. With similarity_type="Window" the model then computes
            what it did before, and is free to move: to train, or to search otherwise.
        example: an input of the model, for a `Where` that asks for the size of maps.
        settings: of the layer.

    Returns:
        What was replaced, and what was left and why.

    Raises:
        InputError: a setting is wrong, `where` needs an example, or nothing was replaced.
        UnsupportedError: weights are to be kept by a layer that has no place for them.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 1))
        >>> print(replace_layers(model, "ConvNN", similarity_type="Loc_Col"))
        1 layer replaced, 1 left
        0  Conv2d -> ConvNN2d
        2  Conv2d left: its window is a single position
    """
    make, can_replace = _maker(layer, settings, keep_weights)
    layers = {name: module for name, module in _candidates(model) if can_replace(module)}
    where = as_where(where)
    if where.map_size is not None and example is None:
        raise InputError(f"where has map_size={where.map_size}, which needs example=, an input of the model")
    reasons = {name: reason for name, module in layers.items() if (reason := _reason_to_leave(module, layer))}
    reasons = reasons_of_sharing(model, layers) | reasons
    free = {name: module for name, module in layers.items() if name not in reasons}
    reasons |= where.refusals(free, None if example is None else sides_of_maps(model, example))
    reasons = reasons_of_names(layers, reasons) | reasons  # first, for they are the least expected
    _refuse_to_do_nothing(model, layer, layers, reasons)
    new = {module: make(module) for name, module in free.items() if name not in reasons}
    for name in layers:
        if name not in reasons:
            model.set_submodule(name, new[layers[name]])
    return ReplacementReport(tuple(_fate(name, old, new, reasons.get(name)) for name, old in layers.items()))


def _candidates(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module below the model, those with two names twice; not the parts of our own layers."""
    inside = ""
    for name, module in model.named_modules(remove_duplicate=False):
        if inside and name.startswith(inside):
            continue
        inside = f"{name}." if isinstance(module, MapLayer | TokenLayer) else ""
        if name:
            yield name, module


def _maker(
    layer: str | Callable[[Any], nn.Module], settings: dict[str, Any], keep_weights: bool
) -> tuple[Callable[[Any], nn.Module], Callable[[nn.Module], bool]]:
    """What makes the new layers, and what says whether it can make one of an old layer."""
    if not isinstance(layer, str):
        return layer, lambda module: _is_convolution(module) or _tokens.is_attention(module)
    check_layer_name("layer", layer)
    check_settings(settings, LAYERS[layer].settings)
    if LAYERS[layer].reads == "tokens":
        if keep_weights:
            raise InputError(f"keep_weights=True is for layers on maps, and layer={layer!r} reads tokens")
        return partial(_tokens.in_place_of, layer=layer, settings=settings), _tokens.is_attention
    for name in sorted(KEPT):
        if name in settings:
            raise InputError(f"{name}={settings[name]} is kept from each convolution; leave it out")
    known = (*_maps.FAMILIES, *_maps.UNPADDED)
    if layer not in known:
        raise InputError(f"layer={layer!r} takes no convolution's place; choose from {', '.join(known)}")
    make = partial(_maps.in_place_of, layer=layer, settings=settings, keep_weights=keep_weights)
    return make, _is_convolution


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, _maps.CONVOLUTIONS)


def _reason_to_leave(module: Any, layer: Any) -> str | None:
    if not _is_convolution(module):
        return None
    return _maps.reason_to_leave(module, layer if isinstance(layer, str) else None)


def _refuse_to_do_nothing(model: nn.Module, layer: Any, layers: dict[str, Any], reasons: dict[str, str]) -> None:
    if len(reasons) < len(layers):
        return
    why = f"; {next(iter(reasons))} was left: {next(iter(reasons.values()))}" if reasons else ", which has none"
    raise InputError(f"layer={layer!r} takes the place of no layer of {type(model).__name__}{why}")


def _fate(name: str, old: nn.Module, new: dict[nn.Module, nn.Module], reason: str | None) -> Fate:
    kind = type(old).__name__
    if reason:
        return Fate(name, kind, reason=reason)
    layer = new[old].layer if isinstance(new[old], _tokens.SelfAttention) else new[old]
    return Fate(name, kind, type(layer).__name__)
