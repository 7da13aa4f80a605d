"""Print bits of a pixel, PSNR and MS-SSIM of codecs, and of the same frames as single pictures, as a Markdown table.

`python studies/codec_rates.py runs/codec/*` reads the runs of codec.toml. The clips are held out: crops of the
photograph that training does not show, 192 x 192 pixels, 6 frames. "Frame by frame" codes all of them as a codec codes
its first. All bits are those of files, headers and all.
"""

import sys
from collections.abc import Iterator
from io import BytesIO
from itertools import chain

import torch
from PIL import Image
from torch import Tensor

from convnn.cli.code import codec_of
from convnn.data.clips import moving_crops
from convnn.data.images import to_tensor
from convnn.tasks.code import Rates, evaluate, measured
from convnn.tasks.code.measures import mean_point

SIDE, FRAMES, COUNT = 192, 6, 4
PICTURES = {"JPEG": (5, 20, 50, 80), "WEBP": (1, 20, 50, 80), "PNG": (None,)}
"""Formats of Pillow and their qualities."""


def held_out() -> list[Tensor]:
    """Return the clips, with whole numbers of 255."""
    clips = moving_crops(COUNT, torch.Generator().manual_seed(0), photograph="flower", frames=FRAMES, side=SIDE).frames
    return list((255 * clips).round() / 255)


def as_pictures(clip: Tensor, form: str, quality: int | None) -> Rates:
    """Return the point of a clip whose frames are files of their own."""
    total, found = 0, []
    for frame in clip:
        file, settings = BytesIO(), {} if quality is None else {"quality": quality}
        pixels = (255 * frame).round().to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(file, form, **settings)
        total += 8 * len(file.getvalue())
        with Image.open(file) as image:
            found.append(to_tensor(image.convert("RGB")))
    return measured(total, torch.stack(found).float() / 255, clip)


def points(runs: list[str], clips: list[Tensor]) -> Iterator[tuple[str, Rates]]:
    """Yield the name of each codec and format, and its mean point."""
    for run in runs:
        codec, name = codec_of(f"{run}/best.safetensors"), f"`{run.rpartition('/')[2]}`"
        yield name, evaluate(codec, clips, real=True)
        yield (
            f"{name}, frame by frame",
            evaluate(codec, chain.from_iterable(clip.split(1) for clip in clips), real=True),
        )
    for form, qualities in PICTURES.items():
        for quality in qualities:
            name = f"{form}, lossless" if quality is None else f"{form}, quality {quality}"
            yield name, mean_point([as_pictures(clip, form, quality) for clip in clips])


def main(runs: list[str]) -> None:
    print("| codec | bits of a pixel | PSNR, dB | MS-SSIM |\n|---|---|---|---|")
    for name, point in points(runs, held_out()):
        similar = "" if point.ms_ssim is None else f"{point.ms_ssim:.3f}"
        print(f"| {name} | {point.bpp:.3f} | {point.psnr:.1f} | {similar} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
