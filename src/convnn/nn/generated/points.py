"""Convolution of points anywhere in space: each selects the nearest, and a function of the offset weighs them."""

from typing import Any

import torch
from torch import Tensor, nn

from convnn import ops
from convnn.errors import InputError, check_at_least
from convnn.nn.kernels.gabor import REACH_OF_FILTERS, GaborKernel, GaussianMask


class PointConv(nn.Module):
    r"""A convolution of points with their nearest neighbours: a kernel for each channel, and a linear layer.

    .. math:: y_n = c + W \sum_{m \in N_E(n)} K(p_n - p_m) \, e^{-\lVert p_n - p_m \rVert^2 / 2 \sigma^2} \odot x_m

    with the network K of `GaborKernel`, one learned width, and the E nearest points N, n among them. The published code
    multiplies the features of n itself instead of its neighbours'; this is what the paper says.

    Args:
        in_channels: number of features of a point.
        out_channels: number of output features.
        axes: number of coordinates of a point.
        num_edges: E.
        bottleneck_factor: divide the features by a linear layer first; 1: do not.
        no_hidden: number of filters in each layer of the network.
        no_layers: number of its linear layers before the last.
        omega_0: initial frequency of the filters.
        mask_init_value: initial :math:`\sigma`.
        bias: add the learned c.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        features (B, N, C_in), coordinates (B, N, axes); output (B, N, C_out).

    Raises:
        InputError: an argument is out of range, shapes do not fit, or there are fewer than E points.

    Reference:
        Knigge, Romero et al., arXiv 2301.10540, section 4.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        axes: int = 3,
        num_edges: int = 9,
        bottleneck_factor: int = 1,
        no_hidden: int = 32,
        no_layers: int = 3,
        omega_0: float = 100.0,
        mask_init_value: float = 0.075,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("num_edges", num_edges)):
            check_at_least(name, value, 1)
        check_at_least("bottleneck_factor", bottleneck_factor, 1)
        if in_channels % bottleneck_factor:
            raise InputError(f"bottleneck_factor={bottleneck_factor} must divide in_channels={in_channels}")
        self.num_edges, self.in_channels, self.axes = num_edges, in_channels, axes
        of_all: dict[str, Any] = {"device": device, "dtype": dtype}
        inner = in_channels // bottleneck_factor
        self.bottleneck = nn.Linear(in_channels, inner, bias=bias, **of_all) if inner < in_channels else nn.Identity()
        self.kernel = GaborKernel(
            axes,
            inner,
            1,
            no_hidden=no_hidden,
            no_layers=no_layers,
            omega_0=omega_0,
            init_spatial_value=REACH_OF_FILTERS * mask_init_value,
            **of_all,
        )
        self.mask = GaussianMask(1, mask_init_value, 0.0, learn_mean=False, **of_all)
        self.mix = nn.Linear(inner, out_channels, bias=bias, **of_all)
        self.kernel.output.scale(num_edges**-0.5)

    def forward(self, x: Tensor, coordinates: Tensor) -> Tensor:
        """Map features (B, N, C_in) of points at (B, N, axes) to (B, N, C_out)."""
        if x.dim() != 3 or x.shape[2] != self.in_channels or coordinates.shape != (*x.shape[:2], self.axes):
            raise InputError(
                f"features of shape {tuple(x.shape)} and coordinates of shape {tuple(coordinates.shape)} must be"
                f" (B, N, {self.in_channels}) and (B, N, {self.axes})"
            )
        itself = torch.arange(x.shape[1], device=x.device)
        near = ops.select.nearest(
            coordinates, coordinates, self.num_edges, metric="euclidean", positions=itself
        ).indices
        image = torch.arange(x.shape[0], device=x.device).view(-1, 1, 1)
        offsets = coordinates.unsqueeze(2) - coordinates[image, near]
        weights = self.kernel(offsets)[:, 0] * self.mask(offsets)  # (C, B, N, E)
        mixed = torch.einsum("cbne,bnec->bnc", weights, self.bottleneck(x)[image, near])
        return self.mix(mixed)
