"""Divisive normalisation, and the bound that its parameters keep while they are trained."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least

OFFSET = 2.0**-18
"""Parameters are kept as square roots of their value and the square of this, so that they learn near 0 too."""
LEAST_BETA = 1e-6


class _LowerBound(torch.autograd.Function):
    """The larger of two numbers, with a gradient that can lead back above the bound."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound
        return x.clamp_min(bound)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad * ((x >= ctx.bound) | (grad < 0)), None


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """Return max(x, bound); below the bound the gradient passes only where a step along it would raise x.

    `torch.clamp` has no gradient there, so that what fell below the bound would stay.

    Args:
        x: of any shape.
        bound: a number.

    Returns:
        As x.

    Reference:
        Ballé et al., arXiv 1611.01704.
    """
    return _LowerBound.apply(x, bound)


class GDN(nn.Module):
    r"""Divide each channel by a norm of all channels at its position, or multiply by it.

    .. math:: y_i = x_i / n_i, \qquad n_i = \sqrt{\beta_i + \sum_j \gamma_{ij} x_j^2}

    The parameters are those of :math:`\sqrt{\beta + o^2}` and :math:`\sqrt{\gamma + o^2}`, :math:`o = 2^{-18}`, bounded
    so that :math:`\beta \ge 10^{-6}` and :math:`\gamma \ge 0`. At first :math:`\beta = 1` and :math:`\gamma = I / 10`.
    CompressAI has the same layer; its parameters have the same names and values.

    Args:
        channels: number of channels.
        inverse: multiply by the norm, which the published code calls the inverse; it undoes the division only nearly.

    Raises:
        InputError: there is no channel; in forward: x has other channels.

    Reference:
        Ballé, Laparra and Simoncelli, arXiv 1511.06281.

    Example:
        >>> GDN(3)(torch.rand(2, 3, 5, 4)).shape
        torch.Size([2, 3, 5, 4])
    """

    def __init__(self, channels: int, *, inverse: bool = False) -> None:
        super().__init__()
        check_at_least("channels", channels, 1)
        self.inverse = inverse
        self.beta = nn.Parameter((torch.ones(channels) + OFFSET**2).sqrt())
        self.gamma = nn.Parameter((0.1 * torch.eye(channels) + OFFSET**2).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        channels = self.beta.shape[0]
        if x.dim() != 4 or x.shape[1] != channels:
            raise InputError(f"x of shape {tuple(x.shape)} must be (B, {channels}, H, W)")
        beta = lower_bound(self.beta, (LEAST_BETA + OFFSET**2) ** 0.5).square() - OFFSET**2
        gamma = lower_bound(self.gamma, OFFSET).square() - OFFSET**2
        norm = F.conv2d(x.square(), gamma[..., None, None], beta).sqrt()
        return x * norm if self.inverse else x / norm

    def extra_repr(self) -> str:
        """Return the settings, for `print`."""
        return f"{self.beta.shape[0]}{', inverse=True' * self.inverse}"
