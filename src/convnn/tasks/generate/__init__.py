"""Drawing new samples, step by step from noise or at once, and pictures, files and figures of them."""

from convnn.tasks.generate import scenes
from convnn.tasks.generate.draw import draw
from convnn.tasks.generate.judge import judge
from convnn.tasks.generate.protocol import Generative, sample
from convnn.tasks.generate.write import write

__all__ = ["Generative", "draw", "judge", "sample", "scenes", "write"]
