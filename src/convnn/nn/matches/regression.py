"""Matching by regression: a Gaussian process predicts from a cell's features where it lies in the other image."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice, check_odd, check_positive
from convnn.ops.matches import cell_centers, check_maps
from convnn.ops.ridge import kernel_ridge

BASES = ("fourier", "linear")
LEAST = 0.01
"""What is added to a learned temperature, so that it stays above 0."""


class KernelRegressionMatcher(nn.Module):
    r"""Predict features of the place where each cell lies in a support image.

    .. math:: \mu = K_{xy} (K_{yy} + \sigma I)^{-1} \Phi_y, \qquad
        k(u, v) = \exp\!\Big(\big(\tfrac{u \cdot v}{|u| |v| + 10^{-6}} - 1\big) / T\Big)

    :math:`\Phi` has for the centre g of every cell, x and y from -1 to 1 between the edges of the map,
    :math:`\cos(8 \pi (W g + b))` or :math:`W g + b`; W and b are learned. A place that looks like two others is
    predicted as the mean of the features of both; of the Fourier basis this is like neither, and it can be told from
    the mean of the places. The kernel is that of `convnn.learners.Gaussian(math.sqrt(T))` on features of length 1.

    Args:
        dim: number of features of a place.
        temperature: T, positive, or the first value of one that is learned as :math:`|T| + 0.01`.
        sigma: variance of the noise, positive.
        basis: "fourier" or "linear".
        learned: whether the temperature is learned.
        window: K, odd, or 0: side of the windows of the covariance
            :math:`K_{xx} - K_{xy} (K_{yy} + \sigma I)^{-1} K_{yx}` around each cell that follow the means as channels,
            row by row, 0 outside.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Edstedt et al., "DKM: Dense Kernelized Feature Matching", arXiv 2202.00667. There dim is 256, and networks
        around it, of 46.7 million parameters, decode the means.

    Example:
        >>> matcher = KernelRegressionMatcher(16)
        >>> matcher(torch.rand(1, 8, 4, 5), torch.rand(1, 8, 6, 3)).shape
        torch.Size([1, 16, 4, 5])
    """

    def __init__(
        self,
        dim: int = 256,
        temperature: float = 0.2,
        sigma: float = 0.1,
        basis: str = "fourier",
        *,
        learned: bool = False,
        window: int = 0,
    ) -> None:
        super().__init__()
        check_at_least("dim", dim, 1)
        check_positive("temperature", temperature)
        check_positive("sigma", sigma)
        check_choice("basis", basis, BASES)
        if window != 0:
            check_odd("window", window)
        self.sigma, self.basis, self.window, self.learned = sigma, basis, window, learned
        self.position = nn.Conv2d(2, dim, 1)
        self.temperature = nn.Parameter(torch.tensor(temperature)) if learned else temperature

    def places(self, like: Tensor) -> Tensor:
        """Return the features (1, dim, H, W) of the places of all cells of a map (B, C, H, W)."""
        linear = self.position(cell_centers(like))
        return linear if self.basis == "linear" else torch.cos(8 * math.pi * linear)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Map features of a query (B, C, H, W) and a support (B, C, H', W') to (B, dim + K^2, H, W).

        Raises:
            InputError: the maps differ in batch or channels.
        """
        check_maps(x, y)
        query, support = (one.flatten(2).mT for one in (x, y))
        between = self._kernel(query, support)
        targets = self.places(y).flatten(2).mT.expand(y.shape[0], -1, -1)
        if not self.window:
            found = between @ kernel_ridge(self._kernel(support, support), targets, self.sigma)
            return found.mT.unflatten(2, x.shape[2:])
        both = torch.cat([targets, between.mT], 2)
        found = between @ kernel_ridge(self._kernel(support, support), both, self.sigma)
        mean, explained = found.split([targets.shape[2], query.shape[1]], 2)
        covariance = self._kernel(query, query) - explained
        windows = windows_around(covariance.unflatten(2, x.shape[2:]), self.window)
        return torch.cat([mean.mT.unflatten(2, x.shape[2:]), windows], 1)

    def _kernel(self, u: Tensor, v: Tensor) -> Tensor:
        temperature = self.temperature.abs() + LEAST if isinstance(self.temperature, Tensor) else self.temperature
        lengths = u.norm(dim=2).unsqueeze(2) * v.norm(dim=2).unsqueeze(1)
        return torch.exp((u @ v.mT / (lengths + 1e-6) - 1) / temperature)

    def extra_repr(self) -> str:
        """Return the settings, for `print`."""
        return f"basis={self.basis}, sigma={self.sigma}, learned={self.learned}, window={self.window}"


def windows_around(values: Tensor, side: int) -> Tensor:
    """Return of a map for every cell the window around that cell: (B, H W, H, W) to (B, side^2, H, W), 0 outside."""
    height, width = values.shape[2:]
    around = F.pad(values, [side // 2] * 4)
    windows = [
        around[:, :, a : a + height, b : b + width].flatten(2).diagonal(dim1=1, dim2=2)
        for a in range(side)
        for b in range(side)
    ]
    return torch.stack(windows, 1).unflatten(2, (height, width))


def nearest_places(features: Tensor, matcher: KernelRegressionMatcher, resolution: int = 64) -> Tensor:
    """Return the places whose features are nearest to given ones, among the cells of a fine grid.

    Args:
        features: (B, dim, H, W), as a matcher predicts them; channels after these are ignored.
        matcher: whose features they are.
        resolution: cells along each side of the grid, at least 1.

    Returns:
        (B, 2, H, W), x and y from -1 to 1 between the edges of the support.

    Raises:
        InputError: the features have fewer channels than the matcher predicts, or the resolution is below 1.
    """
    check_at_least("resolution", resolution, 1)
    dim = matcher.position.out_channels
    if features.dim() != 4 or features.shape[1] < dim:
        raise InputError(f"features of shape {tuple(features.shape)} must be (B, {dim}, H, W)")
    grid = features.new_empty(1, 1, resolution, resolution)
    known, places = matcher.places(grid).flatten(2).mT, cell_centers(grid).flatten(2)
    wanted = features[:, :dim].flatten(2).mT
    nearest = torch.cdist(wanted, known.expand(wanted.shape[0], -1, -1)).argmin(2)
    return places[0][:, nearest].movedim(1, 0).unflatten(2, features.shape[2:])
