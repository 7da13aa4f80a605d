"""Layers whose module is imported when the first one is built: most need PyTorch Geometric."""

import importlib
import warnings
from inspect import Parameter, Signature
from typing import Any

from torch import nn

from convnn.packages import need

_NAMES: dict[str, "Deferred"] = {}


class Deferred:
    """A class of this room that is not imported yet.

    Args:
        module: the module of this room that has it, such as "propagation".
        name: its name.
        settings: the settings that its signature names, with their defaults. `tests/nn/graphs` holds them to it.
    """

    needs_geometric = True

    def __init__(self, module: str, name: str, **settings: Any) -> None:
        self.module = module
        self.name = name
        parameters = [Parameter(setting, Parameter.KEYWORD_ONLY, default=value) for setting, value in settings.items()]
        self.__signature__ = Signature(parameters)
        _NAMES[name] = self

    def load(self) -> Any:
        """Import and return the class.

        Raises:
            InputError: PyTorch Geometric is not installed.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it calls functions that newer torch deprecates
            if self.needs_geometric:
                need("torch_geometric", f"convnn.nn.graphs.{self.name}", "graph")
            return getattr(importlib.import_module(f"convnn.nn.graphs.{self.module}"), self.name)

    def __call__(self, in_channels: int, out_channels: int, **settings: Any) -> nn.Module:
        """Return a layer."""
        layer: nn.Module = self.load()(in_channels, out_channels, **settings)
        return layer


class DeferredPlain(Deferred):
    """A class of this room that does not need PyTorch Geometric."""

    needs_geometric = False


def public_names() -> dict[str, Deferred]:
    """Return the classes of this room by name."""
    importlib.import_module("convnn.nn.graphs._systems")
    return _NAMES
