"""A convolution whose data and kernels are mixtures of Gaussians."""

import math

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_not_negative, check_positive
from convnn.ops import mixtures
from convnn.ops.mixtures import Mixture

NEAR = 0.05
"""How far the entries of A may be from those of I at first."""


class MixtureConv(nn.Module):
    r"""Convolve mixtures with learned mixtures, exactly, and reduce the result to fewer components.

    A component of a kernel has the weight :math:`\sigma_w a + \bar w`, the mean :math:`r p` and the covariance

    .. math:: \Sigma = s \, \bigl(A A^\top + \epsilon \, \max(1, \max |A A^\top|) \, I\bigr)

    with learned a, p and A; the largest entry is that of all kernels, and not differentiated. Weights begin as normal
    numbers, means at the middle and on the unit circle or sphere, A near I. `convnn.ops.mixtures.convolve` puts all
    pairs of components of data and kernel together, and `reduce` merges them to R.

    Args:
        in_channels, out_channels: numbers of channels.
        dims: D, 2 or 3.
        kernel_components: K, components of a kernel, at least 1; in two dimensions at least 2, one in the middle and
            the others on the circle.
        components: R, components of an output, at least 1; None: all K C_in N.
        radius: r, positive.
        variance: s, positive; None: (r / 3)^2.
        learn_radius: whether r and s are learned.
        weight_scale: :math:`\sigma_w`, at least 0.
        weight_mean: :math:`\bar w`.
        ridge: :math:`\epsilon`, positive.

    Raises:
        InputError: an argument is out of range; in forward: the mixtures have other channels or dimensions.

    Reference:
        Celarek et al., "Gaussian Mixture Convolution Networks", arXiv 2202.09153.

    Example:
        >>> data = mixtures.fit_images(torch.rand(2, 1, 8, 8), 6)
        >>> MixtureConv(1, 4, components=10)(data).mean.shape
        torch.Size([2, 4, 10, 2])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        dims: int = 2,
        kernel_components: int = 5,
        components: int | None = None,
        radius: float = 1.0,
        variance: float | None = None,
        learn_radius: bool = False,
        weight_scale: float = 1.0,
        weight_mean: float = 0.1,
        ridge: float = 0.05,
    ) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("out_channels", out_channels, 1)
        if dims not in (2, 3):
            raise InputError(f"dims={dims!r} must be 2 or 3")
        check_at_least("kernel_components", kernel_components, 2 if dims == 2 else 1)
        if components is not None:
            check_at_least("components", components, 1)
        check_positive("radius", radius)
        variance = (radius / 3) ** 2 if variance is None else variance
        check_positive("variance", variance)
        check_not_negative("weight_scale", weight_scale)
        check_positive("ridge", ridge)
        self.in_channels, self.dims, self.components = in_channels, dims, components
        self.weight_scale, self.weight_mean, self.ridge = weight_scale, weight_mean, ridge
        shape = (out_channels, in_channels, kernel_components)
        self.weight = nn.Parameter(torch.empty(shape))
        self.position = nn.Parameter(torch.empty(*shape, dims))
        self.factor = nn.Parameter(torch.empty(*shape, dims, dims))
        self.radius = _number(radius, learn_radius)
        self.variance = _number(variance, learn_radius)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the weights and the matrices A, and, in three dimensions, the means on the sphere."""
        nn.init.normal_(self.weight)
        nn.init.uniform_(self.factor, -NEAR, NEAR)
        self.factor.diagonal(dim1=-2, dim2=-1).add_(1)
        around = self.position[:, :, 1:]
        if self.dims == 2:
            angle = 2 * math.pi * torch.arange(around.shape[2], dtype=torch.double) / around.shape[2]
            around.copy_(torch.stack([angle.cos(), angle.sin()], 1))
        else:
            around.copy_(nn.functional.normalize(torch.randn_like(around), dim=3))
        self.position[:, :, 0] = 0

    @property
    def kernel(self) -> Mixture:
        """The kernels, mixtures (C_out, C_in, K)."""
        product = self.factor @ self.factor.mT
        unit = torch.eye(self.dims, dtype=product.dtype, device=product.device)
        ridge = self.ridge * product.detach().abs().max().clamp_min(1)
        weight = self.weight_scale * self.weight + self.weight_mean
        return Mixture(weight, self.radius * self.position, self.variance * (product + ridge * unit))

    def forward(self, x: Mixture) -> Mixture:
        """Map mixtures (B, C_in, N) to (B, C_out, R), or without R to (B, C_out, K C_in N)."""
        if x.weight.shape[1] != self.in_channels or x.dims != self.dims:
            raise InputError(
                f"mixtures of {x.weight.shape[1]} channels in {x.dims} dimensions must have {self.in_channels} in"
                f" {self.dims}"
            )
        full = mixtures.convolve(x, self.kernel)
        return full if self.components is None else mixtures.reduce(full, self.components)

    def extra_repr(self) -> str:
        """Return the sizes."""
        outputs, inputs, components = self.weight.shape
        return f"{inputs}, {outputs}, dims={self.dims}, kernel_components={components}, components={self.components}"


def _number(value: float, is_learned: bool) -> Tensor | float:
    return nn.Parameter(torch.tensor(float(value))) if is_learned else value
