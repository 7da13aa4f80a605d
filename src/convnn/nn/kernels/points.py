"""Kernels from points that move: each has a place, a weight and a radius, and the kernel is interpolated from them."""

from collections.abc import Sequence
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import check_at_least, check_positive
from convnn.nn._training import Training
from convnn.nn.kernels.function import KernelFunction

LEAST_RADIUS = 1e-4
MOST_RADIUS = 1.0
SPREAD_OF_WEIGHTS = 0.02


class PointKernel(KernelFunction):
    r"""A kernel that is interpolated linearly from points with learned places, weights and radii.

    .. math:: K_{oi}(d) = \frac{\sum_p w_{oip} \, g_{op}(d)}{n_o(d) + 10^{-6}}, \qquad
        g_{op}(d) = \max\left( 0, 1 - \lVert d - p_{op} \rVert_1 / r_{op} \right)

    where :math:`n_o(d)` is the number of points with :math:`g > 0`. With `shared` points, the same for all outputs, the
    sum is not divided. A point must reach a tap to have a gradient: the radius should be the distance of two taps, 2 /
    (horizon - 1), at least.

    Args:
        axes: number of axes of the offsets.
        out_channels, in_channels: the leading sides of the kernel, C_out and C_in / groups.
        n_points: number of points, of every output or of all.
        radius: initial radius, in units of the extent; at most 1 in training, see `clip`.
        coord_std: standard deviation of the initial places.
        causal: draw them near offset 0, the end of the extent, instead of its middle.
        shared: the same points for all outputs, and no average.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        offsets (\*P, axes) in units of the extent; kernel (C_out, C_in / groups, \*P).

    Raises:
        InputError: an argument is out of range.

    Reference:
        Kim and Park, "SMPConv: Self-moving Point Representations for Continuous Convolution", arXiv 2304.02330,
        equation 3, in the two forms of its code.
    """

    trained: ClassVar[dict[str, Training]] = {
        "radius": Training(rate="radius", decays=False),
        "places": Training(decays=False),
    }

    def __init__(
        self,
        axes: int,
        out_channels: int,
        in_channels: int,
        *,
        n_points: int = 16,
        radius: float = 0.12,
        coord_std: float = 0.05,
        causal: bool = False,
        shared: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(axes, out_channels, in_channels)
        check_at_least("n_points", n_points, 1)
        check_positive("radius", radius)
        check_positive("coord_std", coord_std)
        self.initial_radius, self.coord_std, self.causal, self.shared = radius, coord_std, causal, shared
        weights = torch.empty(out_channels, in_channels, n_points, device=device, dtype=dtype)
        sets = 1 if shared else out_channels
        self.places = nn.Parameter(weights.new_empty(sets, n_points, axes))
        self.radius = nn.Parameter(weights.new_empty(sets, n_points))
        self.weights = nn.Parameter(weights)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw places and weights from normal distributions without their tails."""
        if self.causal:
            nn.init.trunc_normal_(self.places, std=self.coord_std, a=-1.0, b=0.0)
            self.places.mul_(2).add_(1)
        else:
            nn.init.trunc_normal_(self.places, std=self.coord_std, a=-1.0, b=1.0)
        nn.init.constant_(self.radius, self.initial_radius)
        nn.init.trunc_normal_(self.weights, std=SPREAD_OF_WEIGHTS)

    @torch.no_grad()
    def clip(self) -> None:
        """Bring the radii into [1e-4, 1], as the published training does after every step."""
        self.radius.clamp_(LEAST_RADIUS, MOST_RADIUS)

    def forward(self, offsets: Tensor) -> Tensor:
        r"""Map offsets (\*P, axes) to values (C_out, C_in / groups, \*P)."""
        at = offsets.flatten(0, -2)
        radius = self.radius.to(at.dtype).unsqueeze(-1)
        radius = radius + (radius.clamp(min=LEAST_RADIUS) - radius).detach()  # with a gradient that leads back
        distance = at.new_zeros(())
        for axis in range(self.axes):  # (sets, points, P)
            distance = distance + (at[:, axis] - self.places[..., axis, None].to(at.dtype)).abs()
        tents = torch.relu(1 - distance / radius)
        values = self.weights.to(at.dtype) @ tents
        if not self.shared:
            values = values / ((tents > 0).to(at.dtype).sum(1, keepdim=True) + 1e-6)
        return self.as_kernel(values, offsets.shape[:-1])

    @torch.no_grad()
    def kept(self, places: Tensor, axis: int, step: float) -> Tensor | None:
        """Return which places (k,) along an axis any point reaches; the kernel is 0 at the others."""
        distance = (places.unsqueeze(-1) - self.places[..., axis].flatten().to(places.dtype)).abs()
        return (distance < self.radius.flatten().to(places.dtype).clamp(min=LEAST_RADIUS)).any(-1)


def usual_points(sides: Sequence[int]) -> int:
    """Return how many points a kernel of some sides has where the number is left open: a quarter of its taps."""
    return max(prod(sides) // 4, 1)
