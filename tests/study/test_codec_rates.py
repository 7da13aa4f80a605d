"""The baselines of studies/codec_rates.py: what the files of pictures keep and cost."""

import math
import runpy
from io import BytesIO
from pathlib import Path

import torch
from PIL import Image

FILE = runpy.run_path(str(Path(__file__).parents[2] / "studies" / "codec_rates.py"))


def test_pictures_cost_their_files_and_png_loses_nothing() -> None:
    pixels = torch.randint(256, (2, 3, 16, 12), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    clip, total = pixels.float() / 255, 0
    for frame in pixels:
        file = BytesIO()
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=20)
        total += len(file.getvalue())
    lossy, lossless = FILE["as_pictures"](clip, "JPEG", 20), FILE["as_pictures"](clip, "PNG", None)
    assert lossy.bpp == 8 * total / (2 * 16 * 12)
    assert 5 < lossy.psnr < 30
    assert lossless.psnr == math.inf
