"""Drawing new samples from a network of data without labels, and pictures of them."""

from convnn.tasks.generate.draw import draw
from convnn.tasks.generate.protocol import Generative, sample

__all__ = ["Generative", "draw", "sample"]
