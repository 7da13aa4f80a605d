"""FDConv: a kernel for every sample, mixed of groups of frequencies of one kernel, and a map weighted by band."""

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.nn._field import like
from convnn.nn._grid import Grid, Sides, each_side
from convnn.nn._layer import MapLayer
from convnn.nn._reset import reset_as_conv
from convnn.nn._settings import unless_usual, written
from convnn.nn.kernels.frequency_bands import FrequencyBands
from convnn.nn.kernels.modulation import GlobalModulation, LocalModulation
from convnn.nn.kernels.per_sample import at_once, by_windows, convolved, mixed, per_sample, recomputed
from convnn.nn.kernels.spectrum import frequency_groups, group_weights, spectrum_of, spectrum_size, transformed

DYNAMIC_SIDES = (1, 3)
"""Sides of the kernels that can depend on the input; others are those of a plain convolution."""
PLAIN_UP_TO = 16
"""Number of channels up to which a convolution stays plain, as published."""


class FDConv2d(MapLayer):
    r"""A convolution whose kernel and input are weighted by frequency, as the input says.

    .. math:: y = \Big( f(\bar{x}) \odot F^{-1} \big( s_{g(\omega)}(\bar{x}) \, Z(\omega) \big) \Big) * \beta(x) + b

    The weight is learned as its spectrum Z, whose frequencies are divided into groups g. The mean :math:`\bar{x}` of
    the map determines a share s for each group (`mixed_groups`) and factors f of the kernel (`GlobalModulation`,
    `LocalModulation`). With a kernel of 3 x 3, bands of frequencies of the map are weighted by position, too
    (`FrequencyBands`). With few channels, or a kernel of another side than 1 and 3, it is a plain convolution.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        kernel_size: side of the window; a number, or one for each axis, as the next three.
        frequency_groups: number of groups of frequencies, which must divide their number; None is half of the output
            channels, with a temperature of the square root of the number of shares.
        spectra: number of spectra that are added up, each with its own shares.
        stride, padding, dilation: as in `torch.nn.Conv2d`; with "same" and stride s there is a window for every s
            positions.
        groups: 1; the channels of a spectrum cannot be divided.
        padding_mode: values in the padding: "zeros", "reflect", "replicate" or "circular".
        squeeze: ratio of the channels inside of `GlobalModulation` to those of the input.
        gate: its gate, "sigmoid" or "tanh".
        temperature: by which its logits are divided; None is `share_temperature`.
        share_temperature: by which the logits of the shares are divided.
        gain: what its sigmoids are multiplied by.
        local_gate: gate of `LocalModulation`; None: there is none.
        divisors: limits of the bands of `FrequencyBands`; (): there are none.
        band_groups, band_gate, band_kernel_size, weigh_lowest: its other settings.
        in_frequency: learn the spectrum; otherwise the weight, whose spectrum is computed in every pass.
        plain_up_to: number of input or output channels up to which the layer is a plain convolution.
        bias: add a learned bias to the output.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, H, W) or (C_in, H, W); output (B, C_out, H', W'); spectrum Z
        (spectra, C_out k, C_in k // 2 + 1, 2).

    Raises:
        InputError: an argument is out of range; in forward: the window does not fit the map, or a single image is to be
            trained on.

    Reference:
        Chen et al., "Frequency Dynamic Convolution for Dense Image Prediction", arXiv 2503.18783. The published code
        draws the weights of the factors of output channels larger than those of the others; here all factors begin
        near 1, as the paper has it.

    Example:
        >>> FDConv2d(32, 64)(torch.randn(2, 32, 14, 14)).shape
        torch.Size([2, 64, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: Sides = 3,
        frequency_groups: int | None = 4,
        spectra: int = 1,
        stride: Sides = 1,
        padding: Sides | str = "same",
        dilation: Sides = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        squeeze: float = 1 / 16,
        gate: str = "sigmoid",
        temperature: float | None = None,
        share_temperature: float = 1.0,
        gain: float = 2.0,
        local_gate: str | None = "sigmoid",
        divisors: tuple[int, ...] = (2, 4, 8),
        band_groups: int = 1,
        band_gate: str = "sigmoid",
        band_kernel_size: int = 3,
        weigh_lowest: bool = False,
        in_frequency: bool = True,
        plain_up_to: int = PLAIN_UP_TO,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels)
        if groups != 1:
            raise InputError(f"groups={groups} must be 1: the channels of a spectrum cannot be divided into groups")
        check_at_least("spectra", spectra, 1)
        check_at_least("plain_up_to", plain_up_to, 0)
        self.grid = Grid(kernel_size, stride, padding, dilation, padding_mode)
        sides = each_side("kernel_size", kernel_size, 2)
        self.side = sides[0] if is_dynamic(in_channels, out_channels, sides, plain_up_to) else 0
        self.scale = max(min(in_channels, out_channels) // 2, 1)
        self.groups, self.in_frequency = groups, in_frequency
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.bias = nn.Parameter(torch.empty(out_channels, **where)) if bias else None
        self.weight: nn.Parameter | None = None
        self.spectrum: nn.Parameter | None = None
        if not self.side or not in_frequency:
            self.weight = nn.Parameter(torch.empty(out_channels, in_channels, *sides, **where))
        self.modulation: GlobalModulation | None = None
        self.local: LocalModulation | None = None
        self.bands: FrequencyBands | None = None
        if self.side:
            if frequency_groups is None:
                frequency_groups = max(out_channels // 2, 1)
                share_temperature = math.sqrt(frequency_groups * spectra)
            check_at_least("frequency_groups", frequency_groups, 1)
            self._add_spectrum(frequency_groups, spectra, device, dtype)
            places = self.side**2
            self.modulation = GlobalModulation(
                in_channels,
                out_channels,
                places=places,
                shares=frequency_groups * spectra,
                squeeze=squeeze,
                gate=gate,
                temperature=share_temperature if temperature is None else temperature,
                share_temperature=share_temperature,
                gain=gain,
                **where,
            )
            if local_gate is not None:
                self.local = LocalModulation(in_channels, out_channels, places=places, gate=local_gate, **where)
            if divisors and self.side > 1:
                form: dict[str, Any] = {
                    "kernel_size": band_kernel_size,
                    "groups": band_groups,
                    "weigh_lowest": weigh_lowest,
                }
                self.bands = FrequencyBands(in_channels, divisors, gate=band_gate, **form, **where)
        self.frequency_groups, self.spectra = frequency_groups, spectra
        self.reset_parameters()

    def _add_spectrum(
        self, number: int, spectra: int, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        rows, columns = spectrum_size(self.out_channels, self.in_channels, self.side)
        groups = frequency_groups(rows, self.in_channels * self.side, number).to(device)
        self.group: Tensor
        self.register_buffer("group", groups.expand(spectra, -1, -1).clone())
        if self.in_frequency:
            self.spectrum = nn.Parameter(torch.empty(spectra, rows, columns, 2, device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """Draw weight and bias as `torch.nn.Conv2d` does, and all factors near 1."""
        weight = torch.empty(self.out_channels, self.in_channels, *self._sides(), device=self._device())
        reset_as_conv(weight, None)
        if self.bias is not None:
            bound = 1 / math.sqrt(weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)
        self._set_weight(weight / self.spectra)
        for part in (self.modulation, self.local, self.bands):
            if part is not None:
                part.reset_parameters()

    def _sides(self) -> tuple[int, ...]:
        assert self.grid.window_size is not None
        return each_side("kernel_size", self.grid.window_size, 2)

    def _device(self) -> torch.device:
        return next(self.parameters()).device

    @torch.no_grad()
    def _set_weight(self, weight: Tensor) -> None:
        """Set the learned weight, or its spectrum, which is stored divided by half of the smaller channels."""
        if self.weight is not None:
            self.weight.copy_(weight)
        if self.spectrum is not None:
            exact = weight.to(torch.promote_types(weight.dtype, torch.float32))
            self.spectrum.copy_(spectrum_of(exact) / self.scale)

    @torch.no_grad()
    def take_kernel(self, weight: Tensor, bias: Tensor | None) -> None:
        """Compute the convolution with this weight and bias from now on, in place: all factors are exactly 1."""
        self._set_weight(weight / self.spectra)
        if self.bias is not None and bias is not None:
            self.bias.copy_(bias)
        heads: list[nn.Module] = [] if self.modulation is None else list(self.modulation.heads())
        heads += [] if self.local is None else [self.local.conv]
        heads += [] if self.bands is None else [self.bands.gates]
        for parameter in (parameter for head in heads for parameter in head.parameters()):
            nn.init.zeros_(parameter)

    @staticmethod
    def reason_to_leave(conv: nn.Conv1d | nn.Conv2d | nn.Conv3d, **settings: Any) -> str | None:
        """Return why the layer with these settings would not do more than a convolution of images; None if it would."""
        if conv.groups != 1:
            return "the channels of a spectrum cannot be divided into groups"
        few = settings.get("plain_up_to", PLAIN_UP_TO)
        if is_dynamic(conv.in_channels, conv.out_channels, conv.kernel_size, few):
            return None
        return f"FDConv is a plain convolution with up to {few} channels, or a window other than 1 x 1 and 3 x 3"

    def kernels(self, x: Tensor) -> Tensor:
        """Return the kernel of each map of x (B, C_in, H, W), (B, C_out, C_in, k, k)."""
        if self.modulation is None:
            assert self.weight is not None
            return self.weight.expand(x.shape[0], *self.weight.shape)
        outputs, shares, *factors = self._given(x)
        transform, mix = self._mixing(shares)
        weight = self._weighed(mix(transform(shares)), *factors) * outputs[:, :, None, None, None]
        return weight.movedim(4, 2).to(x.dtype).contiguous()

    def _given(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return factors of outputs, shares of groups, factors of inputs and places, and means of maps."""
        assert self.modulation is not None
        means = x.flatten(2).mean(2)
        outputs, inputs, shares = self.modulation(means)
        return outputs, shares.unflatten(1, (self.spectra, -1)), inputs, means

    def _mixing(self, shares: Tensor) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
        """Return two functions that map shares to mixtures of kernels, one after the other; one of them does nothing.

        The second takes little time, so that it may be computed again for the gradient.
        """
        assert self.frequency_groups is not None
        spectrum, form = self._spectrum(), (self.in_channels, self.side)
        if torch.compiler.is_compiling() or 0 < shares.shape[0] <= self.spectra * self.frequency_groups:
            return lambda some: transformed(spectrum, self.group, some, *form), nn.Identity()
        weights = group_weights(spectrum, self.group, self.frequency_groups, *form)
        return nn.Identity(), lambda some: mixed(some.flatten(1), weights)

    def _weighed(self, weight: Tensor, inputs: Tensor, means: Tensor) -> Tensor:
        """Return kernels (B, C_out, k, k, C_in), mixtures times their factors."""
        factors = inputs.unsqueeze(1) if self.local is None else self.local(means, inputs)
        sides = weight.shape[2:4] if factors.shape[2] > 1 else (1, 1)
        return factors.unflatten(2, sides) * weight

    def _spectrum(self) -> Tensor:
        """Return the spectra of the weight, in single or double precision."""
        own = self.spectrum if self.weight is None else self.weight
        assert own is not None
        exact = own.to(torch.promote_types(own.dtype, torch.float32))
        if self.weight is None:
            return exact * self.scale
        return spectrum_of(exact).expand(self.spectra, -1, -1, -1)

    def weighted(self, x: Tensor) -> Tensor:
        """Return the map that is convolved: x (B, C_in, H, W) with its bands weighted."""
        return x if self.bands is None else self.bands(x)

    def _forward(self, x: Tensor) -> Tensor:
        if self.modulation is None:
            return like(x, self._convolved(x))
        weights = self.out_channels * self.in_channels * self.side**2
        samples = at_once(x, weights, self.out_channels, self.grid)
        if samples and x.shape[0]:
            out = self._in_parts(x, samples)
            return like(x, out if self.bias is None else out + self.bias[:, None, None])
        bias = None if self.bias is None else self.bias.expand(x.shape[0], -1)
        return like(x, per_sample(self.weighted(x), self.kernels(x), bias, grid=self.grid))

    def _in_parts(self, x: Tensor, samples: int) -> Tensor:
        """Convolve so many maps at once. To weigh their kernels again for the gradient is faster than to keep them."""
        outputs, shares, *factors = self._given(x)
        transform, mix = self._mixing(shares)

        def convolve(x: Tensor, some: Tensor, *factors: Tensor) -> Tensor:
            return by_windows(x, self._weighed(mix(some), *factors).to(x.dtype), grid=self.grid)

        parts = zip(*(one.split(samples) for one in (self.weighted(x), shares, *factors)), strict=True)
        out = [recomputed(convolve, x, transform(some), *rest) for x, some, *rest in parts]
        return torch.cat(out) * outputs[:, :, None, None]

    def _convolved(self, x: Tensor) -> Tensor:
        """Convolve as a plain convolution does."""
        assert self.weight is not None
        return convolved(x, self.weight, self.bias, grid=self.grid)

    def settings(self) -> Iterable[object]:
        """Return window, groups of frequencies and geometry."""
        sides = self.grid.window_size
        yield written(kernel_size=sides)
        yield written(frequency_groups=self.frequency_groups) if self.side else "plain"
        yield self.grid.changed_from(Grid(sides, padding="same"))
        yield unless_usual(spectra=(self.spectra, 1), in_frequency=(self.in_frequency, True))


def is_dynamic(in_channels: int, out_channels: int, sides: tuple[int, ...], plain_up_to: int) -> bool:
    """Return whether a kernel of these sides depends on the input, or is that of a plain convolution."""
    has_side = sides in [(side, side) for side in DYNAMIC_SIDES]
    return has_side and min(in_channels, out_channels) > plain_up_to
