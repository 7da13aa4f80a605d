"""Selection of the layers of a network to replace."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_fraction, did_you_mean
from convnn.nn._modes import evaluating

Predicate = Callable[[str, nn.Module], bool]


@dataclass(frozen=True)
class Where:
    """A selection of layers: those that every setting admits.

    Attributes:
        names: pattern of their paths in the model, such as "layer[34].*"; or several patterns.
        types: their class; or several classes.
        map_size: smallest and largest side of their input maps, in positions along the longer side: (1, 16) for maps of
            at most 16 x 16.
        fraction: share of the layers admitted by the other settings to replace, 0 to 1: the last ones, whose maps are
            the smallest.
        predicate: function of the path and the layer that returns whether to replace it.
        pointwise: admit convolutions whose window is a single position, where the layer is more than one: "CondConv",
            "FDConv", or a function.

    Raises:
        InputError: a setting has another type, the fraction is out of range, or the sides are not in order.
    """

    names: str | tuple[str, ...] = "*"
    types: type[nn.Module] | tuple[type[nn.Module], ...] = nn.Module
    map_size: tuple[float, float] | None = None
    fraction: float = 1.0
    predicate: Predicate | None = None
    pointwise: bool = False

    def __post_init__(self) -> None:
        if not all(isinstance(pattern, str) for pattern in self._patterns()):
            raise InputError(f"names={self.names!r} must be a pattern of names such as 'layer4.*', or several")
        if not all(isinstance(kind, type) for kind in _as_tuple(self.types)):
            raise InputError(f"types={self.types!r} must be a class of layers such as nn.Conv2d, or several")
        if not isinstance(self.fraction, int | float):
            raise InputError(f"fraction={self.fraction!r} must be a number between 0 and 1")
        check_fraction("fraction", self.fraction)
        if self.map_size is not None and not _are_sides_in_order(self.map_size):
            raise InputError(
                f"map_size={self.map_size!r} must be the smallest and the largest side of a map, such as (1, 16)"
            )
        if self.predicate is not None and not callable(self.predicate):
            raise InputError(f"predicate={self.predicate!r} must be a function of the name and the layer")

    def _patterns(self) -> tuple[str, ...]:
        return _as_tuple(self.names)

    def asks_for(self, name: str, layer: nn.Module) -> bool:
        """Return whether name, class and predicate admit a layer."""
        return self._refusal_of(name, layer) is None

    def check_asks_for_some(self, layers: Mapping[str, nn.Module], model: nn.Module) -> None:
        """Refuse names, classes or a predicate that admit none of the layers of a model that could be replaced.

        Raises:
            InputError: no layer is admitted; the message names some of those layers.
        """
        if not layers or any(self.asks_for(name, layer) for name, layer in layers.items()):
            return
        names, kind = list(layers), type(model).__name__
        listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        condition = f"names={self.names!r}" if self.names != "*" else "what it says"
        hint = did_you_mean(self.names, names) if isinstance(self.names, str) else ""
        raise InputError(f"where admits no layer of {kind}: {condition} fits none of {listed}{hint}")

    def refusals(self, layers: Mapping[str, nn.Module], sides: Mapping[nn.Module, int] | None) -> dict[str, str]:
        """Return why layers are not admitted, by name; sides are those of their input maps."""
        refused = {name: reason for name, layer in layers.items() if (reason := self._refusal(name, layer, sides))}
        admitted = [name for name in layers if name not in refused]
        for name in admitted[: len(admitted) - round(len(admitted) * self.fraction)]:
            refused[name] = f"not among the last {self.fraction:g} of the layers"
        return refused

    def _refusal(self, name: str, layer: nn.Module, sides: Mapping[nn.Module, int] | None) -> str | None:
        if (reason := self._refusal_of(name, layer)) is not None:
            return reason
        if self.map_size is None or sides is None:
            return None
        if layer not in sides:
            return "the example does not pass through it"
        smallest, largest = self.map_size
        return None if smallest <= sides[layer] <= largest else f"it reads a map of side {sides[layer]}"

    def _refusal_of(self, name: str, layer: nn.Module) -> str | None:
        """Return why name, class or predicate do not admit a layer; None if they do."""
        patterns = self._patterns()
        if not any(fnmatchcase(name, pattern) for pattern in patterns):
            return f"its name does not fit {' or '.join(map(repr, patterns))}"
        if not isinstance(layer, self.types):
            return "its class was not asked for"
        if self.predicate is not None and not self.predicate(name, layer):
            return "the predicate does not ask for it"
        return None


WhereLike = Where | str | Sequence[str] | type[nn.Module] | Predicate
"""Anything that `where=` may be."""


def as_where(where: WhereLike) -> Where:
    """Return the `Where` of patterns of names, of classes, or of a function of name and layer.

    Raises:
        InputError: the argument is none of these.
    """
    if isinstance(where, Where):
        return where
    if isinstance(where, str):
        return Where(names=where)
    if isinstance(where, type) and issubclass(where, nn.Module):
        return Where(types=where)
    if isinstance(where, list | tuple) and where:
        if all(isinstance(one, str) for one in where):
            return Where(names=tuple(where))
        if all(isinstance(one, type) and issubclass(one, nn.Module) for one in where):
            return Where(types=tuple(where))
    if callable(where) and not isinstance(where, type):
        return Where(predicate=where)
    raise InputError(
        f"where={where!r} must be a pattern of names such as 'layer4.*', a class such as nn.Conv2d, several of either,"
        " a function of name and layer, or a Where"
    )


def _as_tuple(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)


def _are_sides_in_order(map_size: Any) -> bool:
    is_pair = isinstance(map_size, tuple | list) and len(map_size) == 2
    return is_pair and all(isinstance(side, int | float) for side in map_size) and 0 <= map_size[0] <= map_size[1]


def sides_of_maps(model: nn.Module, example: Tensor) -> dict[nn.Module, int]:
    """Find the longer side of the input map of every module, by running an example through the model.

    The model is unchanged afterwards.
    """
    sides: dict[nn.Module, int] = {}

    def record(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if inputs and isinstance(inputs[0], Tensor) and inputs[0].dim() > 2:
            sides[module] = max(inputs[0].shape[2:])

    hooks = [module.register_forward_pre_hook(record) for module in model.modules()]
    try:
        with torch.no_grad(), evaluating(model):
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return sides
