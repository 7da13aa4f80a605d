"""Layers on mixtures of Gaussians, `convnn.ops.mixtures.Mixture` to another."""

from convnn.nn.mixtures.convolution import MixtureConv
from convnn.nn.mixtures.norm import MixtureNorm
from convnn.nn.mixtures.rectify import MixtureReLU

__all__ = ["MixtureConv", "MixtureNorm", "MixtureReLU"]
