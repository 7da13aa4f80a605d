"""What every invertible layer can do."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Invertible(nn.Module):
    r"""A layer f with an inverse and the logarithm of the determinant of its Jacobian.

    `forward(x)` returns :math:`f(x)` and :math:`\log |\det \partial f / \partial x|` for every image, (B,);
    `inverse(z)` returns x. What is composed of such layers is such a layer: determinants multiply.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to the output and the log-determinants (B,)."""
        raise NotImplementedError

    def inverse(self, z: Tensor) -> Tensor:
        """Return the input with a given output."""
        raise NotImplementedError


class InvertibleSequence(Invertible):
    """Invertible layers, one after the other.

    Args:
        layers: the layers, in the order of `forward`.
    """

    def __init__(self, layers: Iterable[Invertible]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (B, C, H, W) to the output and the sum of the log-determinants (B,)."""
        total = of_each_image(x, 0.0)
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor) -> Tensor:
        """Return the input with a given output."""
        for layer in reversed(self.layers):
            assert isinstance(layer, Invertible)
            z = layer.inverse(z)
        return z


def of_each_image(x: Tensor, value: Tensor | float) -> Tensor:
    """Return a number that is the same for every image of x (B, ...), (B,)."""
    return torch.as_tensor(value, dtype=x.dtype, device=x.device).expand(x.shape[0])
