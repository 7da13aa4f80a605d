"""What coding costs and what it keeps: bits of a pixel, PSNR and MS-SSIM."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.models.coding import VideoCodec, padded
from convnn.packages import is_installed, need
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
        ms_ssim: the mean over the frames; None without torchmetrics, or where a side has fewer than 11 pixels.
    """

    bpp: float
    psnr: float
    ms_ssim: float | None


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


def measured(bits: float, found: Tensor, wanted: Tensor) -> Rates:
    """Return the point of a clip (T, 3, H, W) that takes so many bits, with frames of 8 bits as a decoder shows them.

    Raises:
        InputError: shapes differ.
    """
    shown = (255 * found.clamp(0, 1)).round() / 255
    has_room = min(wanted.shape[2:]) >= WINDOW and is_installed("torchmetrics")
    structure = ms_ssim(shown, wanted).mean().item() if has_room else None
    pixels = wanted.shape[0] * wanted.shape[2] * wanted.shape[3]
    return Rates(bits / pixels, psnr(shown, wanted).mean().item(), structure)


@torch.no_grad()
def evaluate(codec: VideoCodec, clips: Iterable[Tensor], *, real: bool = False) -> Rates:
    """Measure a codec on clips (T, 3, H, W), and return the mean of their points.

    Args:
        codec: the network.
        clips: with values from 0 to 1, of any size.
        real: count the bytes of streams, headers and all, in place of the estimated bits.

    Raises:
        InputError: there is no clip; see `encode`.
    """
    codec.eval()
    points = [_point(codec, clip, real) for clip in clips]
    if not points:
        raise InputError("clips must have at least one clip; there is none")
    return mean_point(points)


def mean_point(points: Sequence[Rates]) -> Rates:
    """Return the mean of points, of which there is at least one; without MS-SSIM where none has it."""
    similar = [point.ms_ssim for point in points if point.ms_ssim is not None]
    bpp, quality = fmean(point.bpp for point in points), fmean(point.psnr for point in points)
    return Rates(bpp, quality, fmean(similar) if similar else None)


def _point(codec: VideoCodec, clip: Tensor, real: bool) -> Rates:
    if real:
        stream, found = encode(codec, clip)
        return measured(8 * len(stream), found, clip)
    coded = codec(padded(clip).unsqueeze(0))
    bits = sum(each.sum().item() for frame in coded for each in frame.bits.values())
    return measured(bits, torch.cat([frame.recon for frame in coded])[..., : clip.shape[2], : clip.shape[3]], clip)
