"""A convolution whose kernel is generated from offsets: once a forward pass, and once for all in evaluation."""

from collections.abc import Iterator, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice, check_fraction, check_positive
from convnn.nn._grid import Sides, each_side
from convnn.nn._grouped import check_groups
from convnn.nn.generated.convolve import USES_OF_FFT, Targets, convolve, without_autocast
from convnn.nn.kernels.function import Horizon, KernelFunction, Taps, as_horizon, grid_of, mesh


class _Kept:
    """The last kernel in evaluation, with what it was computed from; copies of a layer start without."""

    def __init__(self) -> None:
        self.entry: tuple[Any, list[tuple[Tensor, int, int]], Any] | None = None

    def __deepcopy__(self, memo: Any) -> "_Kept":
        return _Kept()

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _Kept, ()

    def find(self, key: Any, state: Sequence[Tensor]) -> Any:
        """Return the kernel of this key if no tensor of the state has changed; None otherwise."""
        entry = self.entry
        if entry is None or entry[0] != key or len(entry[1]) != len(state):
            return None
        same = all(
            one.data_ptr() == address
            and one._version == version
            and one.shape == held.shape
            and one.dtype == held.dtype
            for one, (held, address, version) in zip(state, entry[1], strict=True)
        )
        return entry[2] if same else None

    def keep(self, key: Any, state: Sequence[Tensor], kernel: Any) -> None:
        """Keep a kernel. The tensors it came from are held, so that no other can get their address."""
        self.entry = key, [(one.detach(), one.data_ptr(), one._version) for one in state], kernel


class GeneratedConv(nn.Module):
    r"""A convolution with a generated kernel.

    .. math:: y_{ot} = b_o + \sum_{i, d} K_{oi}(d) \, x_{i, t + d}

    The kernel is computed once in every forward pass, over the offsets that matter on the map: those within the
    horizon, between two positions of the map, and not masked. In evaluation without gradients it is kept until a
    weight, the size of the map or the sampling rate changes; writing through `.data` goes unnoticed. Small kernels are
    convolved directly, large ones by the Fourier transform.

    Args:
        kernel: the function of the offset.
        horizon: number of taps, or one for each axis; "same": as many as the map has positions, "full": all offsets.
        causal: only offsets up to 0.
        padding: "same" computes every position, on a map continued by zeros; "valid" those whose taps are all on it.
        stride: distance between computed positions.
        dilation: distance between the positions under two taps.
        groups: number of blocks of channels that do not mix.
        bias: add a learned bias, which starts at 0.
        weight_dropout: share of the values of the kernel that are left out in training.
        smooth: at a higher sampling rate than that of training, smooth the kernel by a Gaussian.
        use_fft: "auto", "never", "always", or "butterfly": the transform as products of small matrices.
        device: device of the bias.
        dtype: data type of the bias.

    Attributes:
        dropout: what every computed kernel passes through before it is applied, so that hooks can read it.
        rate: sampling rate of the maps, in units of that of training; `set_rate` sets it in a whole model.

    Shapes:
        input (B, C_in, \*S); output (B, C_out, \*S'), S' = S / stride rounded up with padding="same".

    Raises:
        InputError: an argument is out of range; in forward: the kernel does not fit the map with padding="valid".
    """

    def __init__(
        self,
        kernel: KernelFunction,
        *,
        horizon: Sides | str = "same",
        causal: bool = False,
        padding: str = "same",
        stride: Sides = 1,
        dilation: Sides = 1,
        groups: int = 1,
        bias: bool = True,
        weight_dropout: float = 0.0,
        smooth: bool = False,
        use_fft: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_groups(groups, kernel.out_channels)
        check_choice("padding", padding, ("same", "valid"))
        check_choice("use_fft", use_fft, USES_OF_FFT)
        check_fraction("weight_dropout", weight_dropout)
        if causal and kernel.axes > 1:
            raise InputError(f"causal=True is for signals, which have one axis, not for maps of {kernel.axes}")
        self.kernel = kernel
        self.horizon = Horizon(as_horizon(horizon), causal, kernel.unit)
        self.padding, self.groups, self.use_fft = padding, groups, use_fft
        self.stride, self.dilation = _whole("stride", stride, kernel.axes), _whole("dilation", dilation, kernel.axes)
        self.dropout, self.smooth = nn.Dropout(weight_dropout), smooth
        self.rate = 1.0
        self.bias = nn.Parameter(torch.zeros(kernel.out_channels, device=device, dtype=dtype)) if bias else None
        self._kept = _Kept()

    def forward(self, x: Tensor, targets: Sequence[Targets] | None = None) -> Tensor:
        """Map (B, C_in, *S) to (B, C_out, *S'), or to the output positions along each axis."""
        values, before = self.sampled(x.shape[2:])
        if targets is None:
            targets = self._targets(x.shape[2:])
        return convolve(
            x,
            values,
            self.bias,
            before=before,
            targets=targets,
            dilation=self.dilation,
            groups=self.groups,
            use_fft=self.use_fft,
        )

    def sampled(self, size: Sequence[int]) -> tuple[Tensor, tuple[int, ...]]:
        """Return the kernel (C_out, C_in / groups, *K) for maps of some size, and its taps before the middle."""
        taps = self._taps(size)
        if torch.compiler.is_compiling() or self.training:
            return self._computed(taps)
        state = [*self.kernel.parameters(), *self.kernel.buffers()]
        needs_gradient = torch.is_grad_enabled() and any(one.requires_grad for one in state)
        if needs_gradient or any(one.is_inference() for one in state) or torch._C._are_functorch_transforms_active():
            return self._computed(taps)
        found = self._kept.find(taps, state)
        if found is None:
            found = self._computed(taps)
            self._kept.keep(taps, state, found)
        return found

    def train(self, mode: bool = True) -> "GeneratedConv":
        """Set the mode, and forget the kept kernel."""
        self._kept.entry = None
        return super().train(mode)

    def _taps(self, size: Sequence[int]) -> tuple[Taps, ...]:
        taps = self.horizon.taps(size, self.rate)
        if torch.compiler.is_compiling():  # the size may vary
            return taps
        return tuple(tap.within((n - 1) // d) for tap, n, d in zip(taps, size, self.dilation, strict=True))

    def reach(self, size: Sequence[int]) -> tuple[Taps, ...]:
        """Return the taps within the horizon along each axis of maps of some size."""
        return self.horizon.taps(size, self.rate)

    def sides(self, size: Sequence[int]) -> tuple[int, ...]:
        """Return the number of taps along each axis on maps of some size, without those that are masked."""
        return tuple(along.numel() for along in self._grid(self._taps(size))[0])

    @property
    def learns_size(self) -> bool:
        """Whether the number of taps depends on weights."""
        return type(self.kernel).kept is not KernelFunction.kept

    def _precision(self) -> tuple[torch.device, torch.dtype]:
        some = next(self.kernel.parameters())
        return some.device, torch.promote_types(some.dtype, torch.float32)

    def _grid(self, taps: Sequence[Taps], *, crop: bool = True) -> tuple[list[Tensor], list[int], list[Tensor | None]]:
        """Return the places along each axis, the number of taps before the middle, and factors of those not cropped."""
        places = grid_of(taps, *self._precision())
        before = [-tap.first for tap in taps]
        factors: list[Tensor | None] = [None] * len(taps)
        for axis, along in enumerate(places):
            kept = self.kernel.kept(along, axis, taps[axis].distance)
            if kept is None:
                continue
            if torch.compiler.is_compiling() or kept.is_meta or not crop:  # the number of taps cannot depend on weights
                factors[axis] = kept
            else:
                first, last = _range_of(kept, before[axis])
                places[axis], before[axis] = along[first : last + 1], before[axis] - first
        return places, before, factors

    def _computed(self, taps: Sequence[Taps], *, crop: bool = True) -> tuple[Tensor, tuple[int, ...]]:
        with without_autocast(self._precision()[0]):
            places, before, factors = self._grid(taps, crop=crop)
            values = self.kernel(mesh(places))
            gain = prod([tap.gain for tap in taps])
            if self.smooth and gain < 1:
                values = _smoothed(values, int(1 / gain))
            values = values if gain == 1 else values * gain
            for axis, kept in enumerate(factors):
                if kept is not None:
                    values = values * kept.view(-1, *[1] * (len(taps) - 1 - axis))
            return self.dropout(values), tuple(before)

    def whole(self, size: Sequence[int]) -> Tensor:
        """Return the kernel (C_out, C_in / groups, *K) for maps of some size with all taps of its horizon."""
        return self._computed(self.horizon.taps(size, self.rate), crop=False)[0]

    def _targets(self, size: Sequence[int]) -> list[Targets]:
        if self.padding == "same":
            return [Targets(0, (n - 1) // s + 1, s) for n, s in zip(size, self.stride, strict=True)]
        targets = []
        for n, tap, s, d in zip(size, self.horizon.taps(size, self.rate), self.stride, self.dilation, strict=True):
            left = n - d * (tap.last - tap.first)
            if left < 1:
                raise InputError(
                    f"padding='valid' needs a map of at least {d * (tap.last - tap.first) + 1} positions along each"
                    f" axis, and it is {tuple(size)}"
                )
            targets.append(Targets(-tap.first * d, (left - 1) // s + 1, s))
        return targets

    def at(self, x: Tensor, coordinates: Tensor, size: Sequence[int]) -> Tensor:
        r"""Convolve samples at any places of a map, with the exact offset between every two of them.

        .. math:: y_{on} = b_o + \sum_{i, m} K_{oi}(p_m - p_n) \, x_{im}

        On all positions of a grid this is `forward`; without some of them, `forward` with zeros in their place.

        Args:
            x: samples (B, C_in, N).
            coordinates: their places p, (N, axes) in positions of the map.
            size: sides of the map in which they lie.

        Returns:
            (B, C_out, N).

        Raises:
            InputError: the shapes do not fit, or a coordinate is not finite.
        """
        axes = self.kernel.axes
        if x.dim() != 3 or coordinates.shape != (x.shape[2], axes):
            raise InputError(
                f"coordinates of shape {tuple(coordinates.shape)} must be ({x.shape[-1]}, {axes}) for samples of shape"
                f" {tuple(x.shape)}"
            )
        if not coordinates.isfinite().all():
            raise InputError("coordinates must be finite, and one is not")
        taps = self.horizon.taps(size, self.rate)
        dilations = coordinates.new_tensor(self.dilation)
        offsets = (coordinates.unsqueeze(0) - coordinates.unsqueeze(1)) / dilations
        places, within = [], torch.ones(offsets.shape[:2], dtype=torch.bool, device=x.device)
        for axis, tap in enumerate(taps):
            along = offsets[..., axis]
            places.append(tap.places(along, along.dtype))
            within = within & (along >= tap.first) & (along <= tap.last)
            kept = self.kernel.kept(places[axis], axis, tap.distance)
            within = within if kept is None else within & kept
        values = self.kernel(torch.stack(places, dim=-1)) * prod([tap.gain for tap in taps]) * within
        grouped = x.unflatten(1, (self.groups, -1))
        out = torch.einsum("bgim,goinm->bgon", grouped, values.unflatten(0, (self.groups, -1))).flatten(1, 2)
        return out if self.bias is None else out + self.bias.unsqueeze(1)

    def extra_repr(self) -> str:
        """Return how far the kernel reaches, and what differs from the defaults."""
        shown = [f"horizon={self.horizon.sides!r}"]
        shown += ["causal=True"] if self.horizon.causal else []
        shown += [f"rate={self.rate}"] if self.rate != 1 else []
        return ", ".join(shown)


def _whole(name: str, value: Sides, axes: int) -> tuple[int, ...]:
    sides = each_side(name, value, axes)
    for side in sides:
        check_at_least(name, side, 1)
    return sides


def _range_of(kept: Tensor, middle: int) -> tuple[int, int]:
    """Return the first and last of the kept taps; that of the position itself, if there are none."""
    indices = kept.nonzero()
    return (int(indices[0]), int(indices[-1])) if indices.numel() else (middle, middle)


def _smoothed(values: Tensor, reach: int) -> Tensor:
    """Smooth a kernel (C_out, C_in, K) by a Gaussian of standard deviation 0.5, except `reach` taps at either end."""
    if values.shape[-1] <= 2 * reach:
        return values
    places = torch.arange(-reach, reach + 1, device=values.device, dtype=values.dtype)
    weights = torch.exp(-2 * places.square()) / (0.5 * (2 * torch.pi) ** 0.5)
    inner = F.conv1d(values.flatten(0, 1).unsqueeze(1), weights.view(1, 1, -1)).view(*values.shape[:2], -1)
    return torch.cat([values[..., :reach], inner, values[..., -reach:]], dim=-1)


def set_rate(model: nn.Module, rate: float) -> None:
    """Set the sampling rate of the maps in every layer with a generated kernel, in units of that of training.

    A network that was trained on signals of 784 samples reads them at half the rate, 392 samples, after
    `set_rate(network, 0.5)`.

    Args:
        model: a layer or a network.
        rate: samples per sample of training, along each axis.

    Raises:
        InputError: the rate is not positive, or the model has no such layer.
    """
    check_positive("rate", rate)
    layers = list(_generated(model))
    if not layers:
        raise InputError(f"model={type(model).__name__} has no layer with a generated kernel, whose rate could be set")
    for layer in layers:
        layer.rate = float(rate)


def _generated(model: nn.Module) -> Iterator[GeneratedConv]:
    return (part for part in model.modules() if isinstance(part, GeneratedConv))
