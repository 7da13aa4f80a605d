"""Layers on a given graph, by the conventions of PyTorch Geometric, of which they are built.

A layer maps features (N, C) of the nodes and edge_index (2, E), the source and the target of each edge, to (N, C').
PyTorch Geometric is imported with the first layer that is used: it takes seconds, and it is an optional dependency.
"""

from typing import Any

from convnn.nn.graphs._deferred import public_names
from convnn.nn.graphs.found.convnn import GraphConvNN, GraphConvNNAttn
from convnn.nn.graphs.found.on_grid import GraphOnGrid1d, GraphOnGrid2d, GraphOnGrid3d
from convnn.nn.graphs.found.on_maps import GraphOnMap1d, GraphOnMap2d, GraphOnMap3d
from convnn.nn.graphs.found.on_tokens import GraphOnTokens

__all__ = [
    "GraphConvNN",
    "GraphConvNNAttn",
    "GraphOnGrid1d",
    "GraphOnGrid2d",
    "GraphOnGrid3d",
    "GraphOnMap1d",
    "GraphOnMap2d",
    "GraphOnMap3d",
    "GraphOnTokens",
]


def __getattr__(name: str) -> Any:
    """Import a layer at its first use."""
    layers = public_names()
    if name not in layers:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return layers[name].load()


def __dir__() -> list[str]:
    """List the layers, whether they have been imported yet or not."""
    return sorted({*__all__, *public_names()})
