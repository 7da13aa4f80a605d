"""The figure of coding, of a trained codec: `PYTHONPATH=docs python -m figures.coding runs/codec` draws coding.png."""

import sys
from pathlib import Path

import torch
from PIL import Image

from convnn.cli.code import codec_of
from convnn.data.clips import moving_crops
from convnn.tasks.code import draw_coding

SIDE, COLOURS = 128, 192


def draw(run: str, path: Path) -> None:
    """Draw how the codec of a run codes a clip of the photograph that its training has not shown."""
    clip = moving_crops(1, torch.Generator().manual_seed(0), photograph="flower", side=SIDE).frames[0]
    draw_coding(codec_of(run), clip, path, frames=(0, 1, 2))
    with Image.open(path) as image:
        image.convert("RGB").resize((image.width * 5 // 8, image.height * 5 // 8)).quantize(COLOURS).save(
            path, optimize=True
        )


if __name__ == "__main__":
    draw(sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else "docs/images") / "coding.png")
