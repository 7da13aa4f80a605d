"""Neighbourhood attention and a spatial shift instead of convolutions: super-resolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._learn import fit
from claims._photos import bicubic, patches, psnr
from convnn.nn import NeighborhoodAttention2d, SpatialShift2d

SYSTEM = "TCSR: neighbourhood attention"
CLAIM = (
    "Attention to a sliding window instead of convolutions, with a shift in the feed-forward part, restores images"
    " better with fewer parameters."
)
EXPERIMENT = (
    "Gray patches of 12 x 12 pixels at twice the resolution, trained on one photograph of scikit-learn and tested on"
    " the other: PSNR in dB after 120 steps, compared with bicubic interpolation. Two blocks of 16 channels: the mixer,"
    " and 1x1 convolutions, with a spatial shift between them in the last row."
)
SEEDS = (0, 1, 2)
MIXERS = {
    "Conv2d 3 x 3": (lambda: nn.Conv2d(16, 16, 3, padding=1), nn.Identity),
    "attention 7 x 7": (lambda: NeighborhoodAttention2d(16, 16, kernel_size=7, head_channels=8), nn.Identity),
    "attention 7 x 7, shift": (
        lambda: NeighborhoodAttention2d(16, 16, kernel_size=7, head_channels=8),
        lambda: SpatialShift2d(16),
    ),
}


class Residual(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Upscaler(nn.Module):
    def __init__(self, mixer, between) -> None:
        super().__init__()
        body = [
            Residual(*part)
            for _ in range(2)
            for part in (
                (nn.GroupNorm(1, 16), mixer()),
                (nn.GroupNorm(1, 16), nn.Conv2d(16, 16, 1), between(), nn.GELU(), nn.Conv2d(16, 16, 1)),
            )
        ]
        self.body = nn.Sequential(nn.Conv2d(1, 16, 1), *body, nn.Conv2d(16, 4, 1), nn.PixelShuffle(2))
        nn.init.zeros_(self.body[-2].weight)  # training begins near the interpolation

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + bicubic(x)


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps, number = (2, 8) if quick else (120, 256)
    scores = {name: [psnr_of(parts, seed, steps, number) for seed in seeds] for name, parts in MIXERS.items()}
    sizes = {name: sum(p.numel() for p in Upscaler(*parts).parameters()) for name, parts in MIXERS.items()}
    small, large = patches("flower.jpg", 0, number)
    interpolated = psnr(bicubic(small), large)
    convolution, attention, shifted = scores
    rows = ([name, spread(found, ".2f"), f"{sizes[name]:,}"] for name, found in scores.items())
    return Outcome(
        [["mixer", "PSNR, dB", "parameters"], ["bicubic", f"{interpolated:.2f}", "0"], *rows],
        {
            "attention is above the convolution": is_above(scores[attention], scores[convolution]),
            "attention with the shift is above the convolution": is_above(scores[shifted], scores[convolution]),
            "the shift makes attention better": is_above(scores[shifted], scores[attention]),
            "attention is above the interpolation": min(scores[attention]) > interpolated,
            "attention has fewer parameters": sizes[attention] < sizes[convolution],
        },
    )


def psnr_of(parts, seed: int, steps: int, number: int) -> float:
    network = fit(lambda: Upscaler(*parts), *patches("china.jpg", seed, number), seed=seed, steps=steps, loss=F.l1_loss)
    small, large = patches("flower.jpg", 0, number)
    with torch.no_grad():
        return psnr(network(small), large)
