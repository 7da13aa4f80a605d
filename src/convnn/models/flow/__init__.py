"""Networks for optical flow: two images to the motion of every pixel."""

from convnn.models.flow.skflow import SKFlow, skflow

__all__ = ["SKFlow", "skflow"]
