"""Sampling by removing noise step by step, as EDM does it: deterministic steps, and some noise put back before each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_not_negative, check_positive

SOLVERS = ("heun", "euler", "published")

Parts = Sequence[Tensor]
Denoise = Callable[[Parts, Tensor, Parts | None], Parts]


@dataclass(frozen=True)
class EDMSampler:
    r"""Draws samples by a denoiser D, from noise alone to none in n steps.

    The levels of noise fall as

    .. math:: s_i = \left( s_{max}^{1/\rho} + \frac{i}{n - 1} (s_{min}^{1/\rho} - s_{max}^{1/\rho}) \right)^\rho, \qquad
        i < n, \qquad s_n = 0

    A step puts noise back, up to :math:`t = s_i (1 + \gamma)` with :math:`\gamma = \min(\text{churn} / n, \sqrt 2 - 1)`
    if :math:`s_i` lies between `churn_from` and `churn_to`, and else 0; then it goes along the slope :math:`d = (x -
    D(x, t)) / t` to :math:`x' = x + (s_{i+1} - t) d`. Heun's method goes instead along the mean of d and the slope at
    x', except in the last step.

    Attributes:
        steps: n, at least 2.
        solver: "heun"; "euler", one call of D a step; "published", Heun's method as the code of DiffuseSG has it, whose
            second slope asks D at x and t once more: without self-conditioning this is Euler's at twice the cost.
        churn: how much noise is put back; 0 is none, and the only randomness is in the first noise.
        churn_from, churn_to: levels between which it is.
        noise: standard deviation of the noise that is put back.
        least, most: the last level above 0, and the first.
        rho: exponent of the levels.
        self_condition: give D its last estimate.

    Raises:
        InputError: a setting is out of range.

    Reference:
        Karras et al., arXiv 2206.00364, algorithm 2 and table 5; settings of Xu et al., arXiv 2401.01130.

    Example:
        >>> spread = 2.0  # of normally distributed data, whose best denoiser is known
        >>> denoise = lambda x, sigma, _: [x[0] * spread**2 / (spread**2 + sigma**2)]
        >>> draw = lambda: [torch.randn(1000, generator=torch.Generator().manual_seed(0))]
        >>> (x,) = EDMSampler(steps=20, churn=0)(denoise, draw)
        >>> round(float(x.std()))
        2
    """

    steps: int = 256
    solver: str = "heun"
    churn: float = 40.0
    churn_from: float = 0.05
    churn_to: float = 50.0
    noise: float = 1.003
    least: float = 0.002
    most: float = 80.0
    rho: float = 7.0
    self_condition: bool = False

    def __post_init__(self) -> None:
        check_at_least("steps", self.steps, 2)
        check_choice("solver", self.solver, SOLVERS)
        for name in ("least", "most", "rho"):
            check_positive(name, getattr(self, name))
        for name in ("churn", "churn_from", "noise"):
            check_not_negative(name, getattr(self, name))
        if self.least >= self.most:
            raise InputError(f"least={self.least} must be below most={self.most}")

    def levels(self) -> Tensor:
        """Return the levels of noise, (steps + 1,) float64, of which the last is 0."""
        first, last = self.most ** (1 / self.rho), self.least ** (1 / self.rho)
        share = torch.arange(self.steps, dtype=torch.float64) / (self.steps - 1)
        return torch.cat([(first + share * (last - first)) ** self.rho, torch.zeros(1, dtype=torch.float64)])

    @torch.no_grad()
    def __call__(self, denoise: Denoise, draw: Callable[[], Parts]) -> list[Tensor]:
        """Draw samples.

        Args:
            denoise: function of noisy parts, a level of noise and an earlier estimate, or None, to the parts without
                noise.
            draw: function that draws standard normal numbers for all parts, such as nodes and edges: first those to
                begin with, and then those of each step that puts noise back.

        Returns:
            The parts, of the data type of those drawn.
        """
        levels = self.levels()
        x, estimate = [part * levels[0] for part in draw()], None
        for i, (level, following) in enumerate(pairwise(levels)):
            x, high = self._with_noise(x, level, draw)
            found = denoise(x, high, estimate)
            slope = _slope(x, found, high)
            ahead = [part + (following - high) * d for part, d in zip(x, slope, strict=True)]
            estimate = found if self.self_condition else None
            if self.solver == "euler" or i == self.steps - 1:
                x = ahead
                continue
            again = denoise(x, high, estimate) if self.solver == "published" else denoise(ahead, following, estimate)
            second = _slope(ahead, again, following)
            mean = [(d + e) / 2 for d, e in zip(slope, second, strict=True)]
            x = [part + (following - high) * d for part, d in zip(x, mean, strict=True)]
            estimate = again if self.self_condition else None
        return x

    def _with_noise(self, x: Parts, level: Tensor, draw: Callable[[], Parts]) -> tuple[list[Tensor], Tensor]:
        """Return the parts with the noise that is put back, and their level then."""
        gamma = min(self.churn / self.steps, sqrt(2) - 1) if self.churn_from <= level <= self.churn_to else 0.0
        if gamma == 0:
            return list(x), level
        high = level * (1 + gamma)
        added = (high.square() - level.square()).sqrt() * self.noise
        return [part + added * drawn for part, drawn in zip(x, draw(), strict=True)], high


def _slope(x: Parts, found: Parts, level: Tensor) -> list[Tensor]:
    return [(part - clean) / level for part, clean in zip(x, found, strict=True)]
