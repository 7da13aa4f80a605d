"""Kernels from products of anisotropic Gabor filters, and Gaussian masks whose width, the kernel's size, is learned."""

from collections.abc import Sequence
from math import log, pi, sqrt
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import check_at_least, check_fraction, check_positive
from convnn.nn._training import Training
from convnn.nn.kernels.function import KernelFunction
from convnn.nn.kernels.siren import KernelLinear

REACH_OF_FILTERS = 1.667
"""How far the middles of the initial filters lie from that of the mask, in widths of the mask."""


class GaborFilter(nn.Module):
    r"""Sines of the offset under Gaussians, with a width for each axis.

    .. math:: g_h(d) = \exp\left( -\frac12 \sum_a \left( \gamma_{ha} (d_a - \mu_{ha}) \right)^2 \right)
        \sin\left( w_h \cdot d + b_h \right)
    """

    def __init__(self, axes: int, units: int, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.empty(units, axes, device=device, dtype=dtype))
        self.gamma = nn.Parameter(torch.empty(units, axes, device=device, dtype=dtype))
        self.linear = KernelLinear(axes, units, device=device, dtype=dtype)

    @torch.no_grad()
    def reset(self, around: float, sharpness: float, frequency: float, *, ends: bool, phase: float) -> None:
        """Draw the parameters: middles up to `around` from 0, or with `ends` from offset 1 back, and random widths."""
        if ends:
            nn.init.uniform_(self.mu, 1 - around, 1)
        else:
            nn.init.uniform_(self.mu, -around, around)
        shape = torch.full(self.gamma.shape, sharpness, dtype=torch.float64, device="cpu")  # also for weights on "meta"
        self.gamma.copy_(torch.distributions.Gamma(shape, 1.0).sample())
        self.linear.reset(1 / sqrt(self.mu.shape[1]), phase)
        self.linear.weight.mul_(frequency * self.gamma)


def filtered(layers: Sequence[GaborFilter], at: Tensor) -> tuple[Tensor, ...]:
    """Return the values (P, units) of each layer of filters at offsets (P, axes).

    All are computed together, because a kernel of few taps takes as long as it has operations.
    """
    mu, gamma = (torch.cat(parts).to(at.dtype) for parts in zip(*((one.mu, one.gamma) for one in layers), strict=True))
    weight = torch.cat([one.linear.matrix(at) for one in layers])
    phase = torch.cat([cast("Tensor", one.linear.bias).to(at.dtype) for one in layers])
    squares = (gamma[:, 0] * (at[:, 0, None] - mu[:, 0])).square()
    for axis in range(1, at.shape[1]):
        squares = squares + (gamma[:, axis] * (at[:, axis, None] - mu[:, axis])).square()
    values = torch.exp(-0.5 * squares) * torch.sin(F.linear(at, weight, phase))
    return values.split([one.mu.shape[0] for one in layers], dim=1)


class GaborKernel(KernelFunction):
    r"""A multiplicative network of anisotropic Gabor filters g (MAGNet).

    .. math:: z_0 = g_0(d), \qquad z_l = g_l(d) \odot (W_l z_{l - 1} + b_l), \qquad K(d) = W z_L + b

    Its frequencies are known and can be limited. There are two initialisations: the published one of FlexConv, and with
    `omega_0` that of CCNN, which keeps the variance of the input; `scale` must then be told the number of taps.

    Args:
        axes: number of axes of the offsets.
        out_channels, in_channels: the leading sides of the kernel, C_out and C_in / groups.
        no_hidden: number of filters in each layer.
        no_layers: L; there are L + 1 layers of filters.
        input_scale: initial frequency of the filters in FlexConv.
        omega_0: initial frequency in CCNN; None: FlexConv's initialisation.
        init_spatial_value: how far the middles of the initial filters lie from that of the kernel, at most 1.
        causal: with `omega_0`, draw them from offset 0, the end of the extent, back.
        bias: learn the b, and the phases.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        offsets (\*P, axes) in units of the extent; kernel (C_out, C_in / groups, \*P).

    Raises:
        InputError: an argument is out of range.

    Reference:
        Romero et al., "FlexConv: Continuous Kernel Convolutions with Differentiable Kernel Sizes", arXiv 2110.08059,
        section 4.2; the second initialisation of Knigge, Romero et al., arXiv 2301.10540, section 4.2.
    """

    def __init__(
        self,
        axes: int,
        out_channels: int,
        in_channels: int,
        *,
        no_hidden: int = 32,
        no_layers: int = 3,
        input_scale: float = 25.6,
        omega_0: float | None = None,
        init_spatial_value: float = 1.0,
        causal: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(axes, out_channels, in_channels)
        check_at_least("no_hidden", no_hidden, 1)
        check_at_least("no_layers", no_layers, 1)
        check_positive("input_scale", input_scale)
        if omega_0 is not None:
            check_positive("omega_0", omega_0)
        self.input_scale, self.omega_0, self.causal = input_scale, omega_0, causal
        self.init_spatial_value = init_spatial_value
        self.filters = nn.ModuleList(GaborFilter(axes, no_hidden, device, dtype) for _ in range(no_layers + 1))
        self.linears = nn.ModuleList(
            KernelLinear(no_hidden, no_hidden, device=device, dtype=dtype) for _ in range(no_layers)
        )
        self.output = KernelLinear(no_hidden, out_channels * in_channels, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights by one of the two initialisations."""
        filters, linears = self._layers()
        units, around = filters[0].mu.shape[0], min(1.0, self.init_spatial_value)
        of_ccnn = self.omega_0 is not None
        frequency = 2 * pi * self.omega_0 if self.omega_0 is not None else self.input_scale / sqrt(len(filters))
        for number, one in enumerate(filters):
            one.reset(around, 6 / (number + 1), frequency, ends=of_ccnn and self.causal, phase=0.0 if of_ccnn else pi)
        for linear in linears:
            if of_ccnn:
                linear.reset(sqrt(3 / units), 0.0, bias_mean=1.0)
            else:
                linear.reset(sqrt(1 / units), 1 / sqrt(units))
        if of_ccnn:
            self.output.reset(sqrt(3 / units), 0.0)
        else:
            self.output.reset(1 / sqrt(units), 1 / sqrt(units))

    def forward(self, offsets: Tensor) -> Tensor:
        r"""Map offsets (\*P, axes) to values (C_out, C_in / groups, \*P)."""
        at = offsets.flatten(0, -2)
        filters, linears = self._layers()
        z, *others = filtered(filters, at)
        for values, linear in zip(others, linears, strict=True):
            z = values * linear(z)
        return self.as_kernel(self.output.transposed(z), offsets.shape[:-1])

    def _layers(self) -> tuple[list[GaborFilter], list[KernelLinear]]:
        filters = [cast("GaborFilter", one) for one in self.filters]
        return filters, [cast("KernelLinear", one) for one in self.linears]

    def frequencies(self, deviations: float = 2.0) -> Tensor:
        r"""Return the highest frequency of each layer of filters, (L + 1,), in cycles for a unit of the extent.

        .. math:: f_l = \max_{h, a} \left( |w_{ha}| + s |\gamma_{ha}| \right) / 2 \pi

        The spectrum of a filter along an axis a is a Gaussian around :math:`w_{ha}`, whose standard deviation is
        :math:`\gamma_{ha}`; s of them, `deviations`, count. The published code takes both maxima by themselves, of any
        filters and axes, which is up to 15 % more.
        """
        highest = [(one.linear.weight.abs() + deviations * one.gamma.abs()).max() for one in self._layers()[0]]
        return torch.stack(highest) / (2 * pi)


class GaussianMask(nn.Module):
    r"""A Gaussian over the offsets, by which a kernel is multiplied; where it is small the kernel is cut off.

    .. math:: m(d) = \exp\left( -\frac12 \sum_a (d_a - \mu_a)^2 / (\sigma_a^2 + \epsilon) \right)

    Args:
        axes: number of axes of the offsets.
        init_value: initial width :math:`\sigma`.
        threshold: value below which taps are cut off; 0: none are.
        causal: the mean starts at offset 0, the end of the extent, instead of its middle, and only the past is cut off.
        learn_mean: learn the mean too.
        epsilon: added to the squared width.
        slack: taps kept beyond the threshold in the past, 1 in the code of CCNN.
        device: device of the parameters.
        dtype: data type of the parameters.

    Raises:
        InputError: an argument is out of range.
    """

    trained: ClassVar[dict[str, Training]] = {"width": Training(rate="mask"), "mean": Training(rate="mask")}

    def __init__(
        self,
        axes: int,
        init_value: float = 0.075,
        threshold: float = 0.1,
        *,
        causal: bool = False,
        learn_mean: bool = True,
        epsilon: float = 0.0,
        slack: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_positive("mask_init_value", init_value)
        check_fraction("mask_threshold", threshold)
        self.threshold, self.causal, self.epsilon, self.slack = threshold, causal, epsilon, slack
        mean = torch.full((axes,), float(causal), device=device, dtype=dtype)
        self.width = nn.Parameter(torch.full_like(mean, init_value))
        self.mean: Tensor
        if learn_mean:
            self.mean = nn.Parameter(mean)
        else:
            self.register_buffer("mean", mean)

    def forward(self, offsets: Tensor) -> Tensor:
        r"""Map offsets (\*P, axes) to factors (\*P,)."""
        mean, width = self.mean.to(offsets.dtype), self.width.to(offsets.dtype)
        return torch.exp(-0.5 * ((offsets - mean).square() / (width.square() + self.epsilon)).sum(-1))

    def frequency(self, deviations: float = 2.0) -> Tensor:
        r"""Return the highest frequency (), in cycles for a unit of the extent.

        .. math:: s \max_a (\sigma_a^2 + \epsilon)^{-1/2} / 2 \pi
        """
        return deviations * (self.width.square() + self.epsilon).rsqrt().max() / (2 * pi)

    def kept(self, places: Tensor, axis: int, step: float) -> Tensor | None:
        """Return which places (k,) along an axis are kept."""
        if self.threshold == 0:
            return None
        with torch.no_grad():
            far = self.width[axis].abs() * sqrt(-2 * log(self.threshold))
            mean = self.mean[axis]
            if self.causal:
                edge = mean - far
                return (places > edge - self.slack * step) | (edge.abs() >= 1)
            edge = mean.abs() + far
            return (places.abs() < edge + (1e-8 * step if self.slack else 0)) | (edge >= 1)


class MaskedKernel(KernelFunction):
    r"""A kernel function times a Gaussian mask: :math:`K(d) \, m(d)`, whose size is learned.

    Args:
        kernel: the function.
        mask: the mask.
    """

    def __init__(self, kernel: KernelFunction, mask: GaussianMask) -> None:
        super().__init__(kernel.axes, kernel.out_channels, kernel.in_channels)
        self.kernel, self.mask = kernel, mask

    def forward(self, offsets: Tensor) -> Tensor:
        r"""Map offsets (\*P, axes) to values (C_out, C_in / groups, \*P)."""
        return self.kernel(offsets) * self.mask(offsets)

    def kept(self, places: Tensor, axis: int, step: float) -> Tensor | None:
        """Return which places (k,) along an axis are kept."""
        return self.mask.kept(places, axis, step)
