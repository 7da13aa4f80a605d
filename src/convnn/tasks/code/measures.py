"""What coding costs and what it keeps: bits of a pixel, PSNR and MS-SSIM."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.models.coding import VideoCodec
from convnn.packages import is_installed, need
from convnn.tasks.code.clips import padded
from convnn.tasks.code.stream import encode

SHARES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Weights of the scales of MS-SSIM, from the finest to the coarsest."""
WINDOW = 11


@dataclass(frozen=True)
class Rates:
    """A point of rate and distortion.

    Attributes:
        bpp: bits of a pixel.
        psnr: in decibels, the mean over the frames.
        ms_ssim: the mean over the frames; None without torchmetrics.
        parts: bits of a pixel of each part, "y", "z", "mv_y", "mv_z", where they are estimated; empty for real streams.
    """

    bpp: float
    psnr: float
    ms_ssim: float | None
    parts: dict[str, float]


def psnr(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of frames (T, 3, H, W) with values from 0 to 1, in decibels: (T,).

    Raises:
        InputError: shapes differ.
    """
    _check_like(found, wanted)
    return -10 * (found - wanted).square().mean((1, 2, 3)).log10()


def ms_ssim(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the structural similarity at several scales of frames (T, 3, H, W) with values from 0 to 1: (T,).

    Frames of fewer than 176 pixels along a side have no room for all five scales; their weights are those of the scales
    that fit, divided by their sum.

    Raises:
        InputError: shapes differ, a side has fewer than 11 pixels, or torchmetrics is not installed.

    Reference:
        Wang, Simoncelli and Bovik, 2003, as torchmetrics computes it.
    """
    _check_like(found, wanted)
    least = min(found.shape[2:])
    if least < WINDOW:
        raise InputError(f"frames of {found.shape[2]}x{found.shape[3]} pixels must have at least {WINDOW} on each side")
    image: Any = need("torchmetrics.functional.image", "MS-SSIM", extra="coding")
    scales = max(n for n in range(1, len(SHARES) + 1) if n == 1 or least // max(1, n - 1) ** 2 >= WINDOW)
    total = sum(SHARES[:scales])
    shares = tuple(share / total for share in SHARES[:scales])
    measure = image.multiscale_structural_similarity_index_measure
    return measure(found, wanted, kernel_size=WINDOW, data_range=1.0, betas=shares, reduction="none").view(-1)


def _check_like(found: Tensor, wanted: Tensor) -> None:
    if found.shape != wanted.shape or found.dim() != 4:
        raise InputError(
            f"found of shape {tuple(found.shape)} and wanted of shape {tuple(wanted.shape)} must both be (T, 3, H, W)"
        )


@torch.no_grad()
def evaluate(codec: VideoCodec, clips: Iterable[Tensor], *, real: bool = False) -> Rates:
    """Measure a codec on clips (T, 3, H, W), with frames of 8 bits as a decoder would show them.

    Args:
        codec: the network.
        clips: with values from 0 to 1, of any size.
        real: count the bytes of streams, headers and all, in place of the estimated bits.

    Raises:
        InputError: there is no clip; see `encode`.
    """
    codec.eval()
    quality: list[Tensor] = []
    similar: list[Tensor] = []
    pixels, bits = 0, dict.fromkeys(("y", "z", "mv_y", "mv_z"), 0.0)
    for clip in clips:
        if real:
            stream, found = encode(codec, clip)
            bits["y"] += 8 * len(stream)
        else:
            coded = codec(padded(clip).unsqueeze(0))
            for frame in coded:
                for name, each in frame.bits.items():
                    bits[name] += each.sum().item()
            found = torch.cat([frame.recon for frame in coded])[..., : clip.shape[2], : clip.shape[3]]
        shown = (255 * found.clamp(0, 1)).round() / 255
        quality.append(psnr(shown, clip))
        if is_installed("torchmetrics"):
            similar.append(ms_ssim(shown, clip))
        pixels += clip.shape[0] * clip.shape[2] * clip.shape[3]
    if not quality:
        raise InputError("clips must have at least one clip; there is none")
    parts = {} if real else {name: one / pixels for name, one in bits.items()}
    structure = torch.cat(similar).mean().item() if similar else None
    return Rates(sum(bits.values()) / pixels, torch.cat(quality).mean().item(), structure, parts)
