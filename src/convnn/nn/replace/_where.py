"""Which layers of a network are replaced."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_fraction
from convnn.nn._modes import evaluating


@dataclass(frozen=True)
class Where:
    """Which layers are replaced: those that every setting admits.

    Attributes:
        names: pattern of their paths in the model, such as "layer[34].*"; or several.
        types: their class; or several.
        map_size: smallest and largest longer side of the map that enters them, in positions.
        fraction: share of those that are left so far, 0 to 1: the last ones, whose maps are the smallest.

    Raises:
        InputError: the fraction is out of range, or the sizes are not in order.
    """

    names: str | tuple[str, ...] = "*"
    types: type[nn.Module] | tuple[type[nn.Module], ...] = nn.Module
    map_size: tuple[float, float] | None = None
    fraction: float = 1.0

    def __post_init__(self) -> None:
        check_fraction("fraction", self.fraction)
        if self.map_size is not None and not 0 <= self.map_size[0] <= self.map_size[1]:
            raise InputError(f"map_size={self.map_size} must be the smallest and the largest side, in this order")

    def refusals(self, layers: Mapping[str, nn.Module], sides: Mapping[nn.Module, int] | None) -> dict[str, str]:
        """Why layers are not admitted, by name; sides are those of the maps that they read."""
        refused = {name: reason for name, layer in layers.items() if (reason := self._refusal(name, layer, sides))}
        admitted = [name for name in layers if name not in refused]
        for name in admitted[: len(admitted) - round(len(admitted) * self.fraction)]:
            refused[name] = f"not among the last {self.fraction:g} of the layers"
        return refused

    def _refusal(self, name: str, layer: nn.Module, sides: Mapping[nn.Module, int] | None) -> str | None:
        patterns = (self.names,) if isinstance(self.names, str) else self.names
        if not any(fnmatchcase(name, pattern) for pattern in patterns):
            return f"its name does not fit {' or '.join(map(repr, patterns))}"
        if not isinstance(layer, self.types):
            return "its class was not asked for"
        if self.map_size is None or sides is None:
            return None
        if layer not in sides:
            return "the example does not pass through it"
        smallest, largest = self.map_size
        return None if smallest <= sides[layer] <= largest else f"it reads a map of side {sides[layer]}"


def as_where(where: "Where | str | tuple[str, ...] | type[nn.Module]") -> Where:
    """What `where=` may also be: a pattern of names, several, or a class."""
    if isinstance(where, Where):
        return where
    return Where(types=where) if isinstance(where, type) else Where(names=where)


def sides_of_maps(model: nn.Module, example: Tensor) -> dict[nn.Module, int]:
    """The longer side of the map that enters every module, found by sending an example through the model.

    The model is afterwards as before.
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
