"""Figures by which networks are judged: how people write them, and whether more of one is better."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A kind of number that every sample has, of which the mean is shown; by default a share, from 0 to 1.

    Attributes:
        more_is_better: whether the largest value is the best, or the smallest.
        is_share: whether values go from 0 to 1 and are written in percent.
        decimals: number of decimals that are written.
    """

    more_is_better: bool = True
    is_share: bool = True
    decimals: int = 2

    @property
    def scale(self) -> float:
        """The number by which values are multiplied where a heading has the unit: 100 for shares, or else 1."""
        return 100.0 if self.is_share else 1.0

    def merit(self, value: float) -> float:
        """Return a number that is the larger, the better the value is."""
        return value if self.more_is_better else -value

    def text(self, value: float) -> str:
        """Return the value as people write it."""
        return f"{value:.{self.decimals}{'%' if self.is_share else 'f'}}"


SHARE = Figure()
"""A share of which more is better, such as an accuracy."""

FIGURES: Mapping[str, Figure] = {
    "loss": Figure(more_is_better=False, is_share=False, decimals=4),
    "bits_per_dim": Figure(more_is_better=False, is_share=False, decimals=4),
    "rate_distortion": Figure(more_is_better=False, is_share=False, decimals=4),
    "bpp": Figure(more_is_better=False, is_share=False, decimals=4),
    "epe": Figure(more_is_better=False, is_share=False, decimals=3),
    "psnr": Figure(is_share=False),
    "ssim": Figure(is_share=False, decimals=4),
    "distance": Figure(more_is_better=False, is_share=False, decimals=4),
}
"""The figures that are no shares of which more is better, by their names in tables and files.

Files of runs have names and numbers only, so what a name means is the same everywhere.
"""


def figure_of(name: str) -> Figure:
    """Return what a name stands for: one of `FIGURES`, or else a share such as "top1" or "recall@20"."""
    return FIGURES.get(name, SHARE)
