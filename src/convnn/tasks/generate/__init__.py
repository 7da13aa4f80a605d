"""Drawing new samples, step by step from noise or at once, and pictures of them."""

from convnn.tasks.generate.draw import draw
from convnn.tasks.generate.edm import EDMSampler
from convnn.tasks.generate.protocol import Generative, sample

__all__ = ["EDMSampler", "Generative", "draw", "sample"]
