"""The type by which networks and branches accept any layer."""

from collections.abc import Callable

from torch import nn

LayerFactory = Callable[..., nn.Module]
"""A function from input and output channels to a layer on maps, or from width and heads to a layer on tokens."""
