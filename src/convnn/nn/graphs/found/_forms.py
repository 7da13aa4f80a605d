"""Graph layers by name, in networks on maps and on tokens."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from convnn.nn.graphs._deferred import Deferred
from convnn.nn.graphs.found.on_maps import GraphOnMap1d, GraphOnMap2d, GraphOnMap3d
from convnn.nn.graphs.found.on_tokens import GraphOnTokens
from convnn.nn.registry import GEOMETRY, OF_THE_NETWORK, LayerEntry, keyword_defaults, register_form

OF_THE_WRAPPER = {"in_channels", "out_channels", "dim"}
"""Arguments that say what graph layers by name say themselves."""


@dataclass(frozen=True)
class OnFoundGraph:
    """A function from channels and settings to a graph layer in its wrapper; a setting of both goes to both.

    Attributes:
        build: the graph layer.
        wrapper: `GraphOnMap2d` or its like.
    """

    build: Callable[..., nn.Module]
    wrapper: Callable[..., nn.Module]

    def __call__(
        self,
        in_channels: int,
        width_or_heads: int,
        *,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
        **given: Any,
    ) -> nn.Module:
        """Return a layer from channels to channels, or on tokens of that width, whatever the number of heads."""
        kind: Any = self.build.load() if isinstance(self.build, Deferred) else self.build
        of_layer, of_wrapper = (keyword_defaults(one, ()) for one in (kind, self.wrapper))
        own = {name: value for name, value in ({"bias": bias} | given).items() if name in of_layer}
        of_tokens = self.wrapper is GraphOnTokens
        out_channels = in_channels if of_tokens else width_or_heads
        widths = {"dim": in_channels} if of_tokens else {"in_channels": in_channels, "out_channels": out_channels}
        conv = kind(in_channels, out_channels, **own)
        settings = {name: value for name, value in given.items() if name in of_wrapper or name not in of_layer}
        return self.wrapper(conv, **widths, **settings).to(device=device, dtype=dtype)


@dataclass(frozen=True)
class Form:
    """What makes of a layer on graphs one on something else.

    Attributes:
        wrapper: `GraphOnMap2d` or its like.
    """

    wrapper: Callable[..., nn.Module]

    def __call__(self, entry: LayerEntry) -> LayerEntry:
        """Return the entry of a layer on graphs as one of its layers on maps or tokens."""
        of_network = {*OF_THE_NETWORK, *GEOMETRY, "padding"}
        searched = keyword_defaults(self.wrapper, of_network | OF_THE_WRAPPER)
        read = frozenset(of_network & {"bias", "device", "dtype", *inspect.signature(self.wrapper).parameters})
        build = OnFoundGraph(entry.build, self.wrapper)
        return replace(entry, build=build, settings=searched | entry.settings, of_network=read)


for _on, _wrapper in (
    ("sequences", GraphOnMap1d),
    ("maps", GraphOnMap2d),
    ("volumes", GraphOnMap3d),
    ("tokens", GraphOnTokens),
):
    register_form(_on, Form(_wrapper))
