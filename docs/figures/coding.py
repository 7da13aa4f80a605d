"""The figure of coding: `PYTHONPATH=docs python -m figures.coding`; it stands in docs/images as coding.png."""

import sys
from pathlib import Path

import torch

from convnn.data.clips import moving_crops
from convnn.models.coding import VideoCodec
from convnn.tasks.code import draw_coding, train

STEPS = 450


def draw(path: Path) -> None:
    """Train a small codec for some minutes on crops of a photograph, and draw how it codes a new one."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    codec = VideoCodec(16, 32, 16, 8, 8, prior="quad")
    train(
        codec,
        lambda number: moving_crops(number, generator, photograph="flower", frames=2).frames,
        steps=STEPS,
        lmbda=512.0,
        batch_size=2,
        stages=(0.2, 0.2, 0.0, 0.6),
    )
    clip = moving_crops(1, generator, photograph="flower").frames[0]
    draw_coding(codec, clip, path, frames=(0, 1, 2))


if __name__ == "__main__":
    draw(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images") / "coding.png")
