"""Gaussians in space that learn from photographs. Modules that need SciPy are imported where they are used."""

from convnn.models.splats.network import SPLAT_KINDS, SplatNetwork, splats

__all__ = ["SPLAT_KINDS", "SplatNetwork", "splats"]
