"""Projection of features onto the span of a few points in the space of a kernel."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_at_least, check_choice, check_positive

KERNELS = ("exp", "linear")
SHIFT = 0.01
"""What is added to the square roots of eigenvalues, so that small ones do not blow up."""


class KernelProjection(nn.Module):
    r"""Coordinates of each row in the span of learned anchors, in the space of a kernel of the angle.

    .. math::
        y = \lVert z \rVert \, \kappa \Bigl( \frac{z W^T}{\lVert z \rVert} \Bigr) \kappa(W W^T)^{-1/2}, \qquad
        \kappa(t) = e^{(t - 1) / \sigma^2} \text{ or } t

    with the rows of W, the anchors, scaled to length one. The inverse square root adds 0.01 to the square roots of the
    eigenvalues. Its derivative is exact; that of the published code has that 0.01 in one place too many, which changes
    gradients by a percent. The published code also scales the anchors in place, here their length is differentiated.

    Args:
        in_channels: number of input channels.
        out_channels: number of anchors.
        kernel: "exp" or "linear".
        sigma: width of the first.

    Shapes:
        input (N, C_in); output (N, C_out).

    Raises:
        InputError: a number is not positive, or the kernel is unknown.

    Reference:
        Chen et al., "Fisher Information Embedding for Node and Graph Learning", arXiv 2305.07580, and its code.
    """

    def __init__(self, in_channels: int, out_channels: int, *, kernel: str = "exp", sigma: float = 0.5) -> None:
        super().__init__()
        check_choice("kernel", kernel, KERNELS)
        check_positive("sigma", sigma)
        check_at_least("out_channels", out_channels, 1)
        self.kernel, self.sigma = kernel, sigma
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the anchors uniformly in a cube around 0, and scale them to length one."""
        bound = 1 / math.sqrt(self.weight.shape[1])
        nn.init.uniform_(self.weight, -bound, bound)
        with torch.no_grad():
            self.weight.copy_(self.anchors())

    def anchors(self) -> Tensor:
        """Return the rows of W, of length one."""
        return F.normalize(self.weight, dim=1)

    def forward(self, z: Tensor) -> Tensor:
        """Map (N, C_in) to (N, C_out)."""
        anchors = self.anchors()
        lengths = z.norm(dim=1, keepdim=True)
        cosines = z @ anchors.T / lengths.clamp_min(1e-12)
        return lengths * self._kappa(cosines) @ inverse_square_root(self._kappa(anchors @ anchors.T))

    def _kappa(self, cosines: Tensor) -> Tensor:
        return cosines if self.kernel == "linear" else ((cosines - 1) / self.sigma**2).exp()

    def extra_repr(self) -> str:
        """Show what the layer was built with."""
        width = f", sigma={self.sigma}" if self.kernel == "exp" else ""
        return f"{self.weight.shape[1]}, {self.weight.shape[0]}, kernel={self.kernel!r}{width}"


def inverse_square_root(matrix: Tensor) -> Tensor:
    r"""Return :math:`V \, \mathrm{diag} \bigl( 1 / (\sqrt{\max(\lambda, 0)} + 0.01) \bigr) V^T` of a symmetric matrix.

    It is differentiated by divided differences, which are finite also where eigenvalues are equal. Pairs of eigenvalues
    that are both 0 have no derivative; the kernel of vectors never moves along them, and they are left out.
    """
    eigenvalues, V = torch.linalg.eigh(matrix.detach())
    roots = eigenvalues.clamp_min(0).sqrt()
    shifted = roots + SHIFT
    value = V / shifted @ V.mT
    if not (torch.is_grad_enabled() and matrix.requires_grad):
        return value
    sums = roots.unsqueeze(0) + roots.unsqueeze(1)
    least = (torch.finfo(matrix.dtype).eps * matrix.shape[0] * eigenvalues[-1].clamp_min(0)).sqrt()
    slopes = torch.where(sums > 2 * least, -1 / (sums * shifted.unsqueeze(0) * shifted.unsqueeze(1)), 0.0)
    change = V.mT @ (matrix - matrix.detach()) @ V  # 0, with a gradient
    return value + V @ (slopes * change) @ V.mT
