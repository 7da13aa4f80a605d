"""How networks and branches take any layer."""

from collections.abc import Callable

from torch import nn

LayerFactory = Callable[..., nn.Module]
"""Makes a layer on maps from its input and output channels, or one on tokens from their width and its heads."""
