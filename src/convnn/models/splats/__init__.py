"""Gaussians in space that learn from photographs. Modules that need SciPy are imported where they are used."""

from convnn.models.splats.network import GAUSSIANS, SplatNetwork, splats

__all__ = ["GAUSSIANS", "SplatNetwork", "splats"]
