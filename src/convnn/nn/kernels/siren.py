"""Kernels from a small network of the offset: sines of linear maps, a SIREN, or other activations."""

from collections.abc import Callable
from itertools import pairwise
from math import sqrt
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_choice, check_positive
from convnn.nn.kernels.function import KernelFunction

KERNEL_NET_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "Sine": torch.sin,
    "ReLU": F.relu,
    "LeakyReLU": F.leaky_relu,
    "Swish": F.silu,
}
KERNEL_NET_NORMS = ("", "LayerNorm", "BatchNorm")


class KernelLinear(nn.Module):
    r"""A linear layer of a kernel network, which computes in the precision of its input.

    .. math:: y = W x + b, \qquad W_{o} = g_o \, v_o / \lVert v_o \rVert \text{ with weight normalisation}

    Args:
        inputs, outputs: widths.
        bias: add the learned b.
        weight_norm: learn g and v instead of W.
        device: device of the weights.
        dtype: data type of the weights.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        bias: bool = True,
        weight_norm: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        weight = torch.empty(outputs, inputs, device=device, dtype=dtype)
        self.is_normed = weight_norm
        if weight_norm:
            self.weight_v = nn.Parameter(weight)
            self.weight_g = nn.Parameter(weight.new_empty(outputs, 1))
        else:
            self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(weight.new_empty(outputs)) if bias else None
        self.reset(1 / sqrt(inputs), 1 / sqrt(inputs))

    @torch.no_grad()
    def reset(self, bound: float, bias_bound: float, bias_mean: float = 0.0) -> None:
        """Draw the weight uniformly up to a bound, and the bias around its mean."""
        weight = self.weight_v if self.is_normed else self.weight
        nn.init.uniform_(weight, -bound, bound)
        if self.is_normed:
            self.weight_g.copy_(weight.norm(dim=1, keepdim=True))
        if self.bias is not None:
            nn.init.uniform_(self.bias, bias_mean - bias_bound, bias_mean + bias_bound)

    @torch.no_grad()
    def scale(self, factor: float) -> None:
        """Multiply the weight by a factor."""
        (self.weight_g if self.is_normed else self.weight).mul_(factor)

    def matrix(self, like: Tensor) -> Tensor:
        """Return W in the data type of another tensor."""
        if not self.is_normed:
            return self.weight.to(like.dtype)
        v = self.weight_v.to(like.dtype)
        return self.weight_g.to(like.dtype) * v / v.norm(dim=1, keepdim=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        return F.linear(x, self.matrix(x), None if self.bias is None else self.bias.to(x.dtype))

    def transposed(self, x: Tensor) -> Tensor:
        """Map (P, inputs) to (outputs, P)."""
        weight = self.matrix(x)
        return weight @ x.T if self.bias is None else torch.addmm(self.bias.to(x.dtype).unsqueeze(1), weight, x.T)


class SirenKernel(KernelFunction):
    r"""A kernel from a SIREN of the offset, or from a network with another activation.

    .. math:: h_1 = \sin(\omega_0 (W_1 d + b_1)), \quad h_2 = \sin(\omega_0 (W_2 h_1 + b_2)), \quad
        K(d) = W_3 h_2 + b_3

    With the activations ReLU, LeakyReLU and Swish there is no :math:`\omega_0`, and there may be a normalisation before
    them. The initial W of a SIREN are those of the paper; its last bias starts at 0, so that no kernel has a constant
    part.

    Args:
        axes: number of axes of the offsets.
        out_channels, in_channels: the leading sides of the kernel, C_out and C_in / groups.
        no_hidden: width of the network.
        no_layers: number of linear layers.
        omega_0: the frequency, which decides how fast a kernel can vary.
        weight_norm: learn length and direction of each row of W.
        scaled_bias: multiply the b by :math:`\omega_0` too; without, "nSIREN".
        bias: learn the b.
        activation: "Sine", "ReLU", "LeakyReLU" or "Swish".
        norm: "", "LayerNorm", over units and offsets, or "BatchNorm", over offsets; not with "Sine".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        offsets (\*P, axes) in units of the extent; kernel (C_out, C_in / groups, \*P).

    Raises:
        InputError: an argument is out of range.

    Reference:
        Romero et al., "CKConv: Continuous Kernel Convolution For Sequential Data", arXiv 2102.02611, section 4.2.
    """

    def __init__(
        self,
        axes: int,
        out_channels: int,
        in_channels: int,
        *,
        no_hidden: int = 32,
        no_layers: int = 3,
        omega_0: float = 30.0,
        weight_norm: bool = False,
        scaled_bias: bool = True,
        bias: bool = True,
        activation: str = "Sine",
        norm: str = "",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(axes, out_channels, in_channels)
        check_at_least("no_hidden", no_hidden, 1)
        check_at_least("no_layers", no_layers, 2)
        check_choice("activation", activation, KERNEL_NET_ACTIVATIONS)
        check_choice("norm", norm, KERNEL_NET_NORMS)
        check_positive("omega_0", omega_0)
        is_siren = activation == "Sine"
        if norm and is_siren:
            raise InputError(f"norm={norm!r} is for other activations than Sine, which has none")
        self.omega_0, self.scaled_bias, self.activation = omega_0, scaled_bias, activation
        widths = [axes, *[no_hidden] * (no_layers - 1), out_channels * in_channels]
        self.layers = nn.ModuleList(
            KernelLinear(a, b, bias=bias, weight_norm=weight_norm, device=device, dtype=dtype)
            for a, b in pairwise(widths)
        )
        self.norms = nn.ModuleList(_norm(norm, no_hidden, device, dtype) for _ in range(no_layers - 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights of a SIREN; those of other networks as `torch.nn.Linear` does."""
        if self.activation != "Sine":
            return
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, KernelLinear)
            inputs = layer.matrix(torch.empty(())).shape[1]
            bound = sqrt(6 / inputs) / self.omega_0 if number else 1 / inputs
            layer.reset(bound, 1.0 if number + 1 < len(self.layers) else 0.0)

    def forward(self, offsets: Tensor) -> Tensor:
        r"""Map offsets (\*P, axes) to values (C_out, C_in / groups, \*P)."""
        h = offsets.flatten(0, -2)
        *hidden, last = (cast("KernelLinear", layer) for layer in self.layers)
        for layer, norm in zip(hidden, self.norms, strict=True):
            h = KERNEL_NET_ACTIVATIONS[self.activation](norm(self._scaled(layer, h)))
        return self.as_kernel(last.transposed(h), offsets.shape[:-1])

    def _scaled(self, layer: KernelLinear, h: Tensor) -> Tensor:
        if self.activation != "Sine":
            return layer(h)
        if self.scaled_bias or layer.bias is None:
            return self.omega_0 * layer(h)
        return torch.addmm(layer.bias.to(h.dtype), self.omega_0 * h, layer.matrix(h).T)


class _OverAll(nn.GroupNorm):
    """Normalisation of (P, units) over both, with a factor and a shift for each unit."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.T.unsqueeze(0)).squeeze(0).T


def _norm(norm: str, units: int, device: torch.device | str | None, dtype: torch.dtype | None) -> nn.Module:
    if norm == "LayerNorm":
        return _OverAll(1, units, eps=1e-12, device=device, dtype=dtype)
    return nn.BatchNorm1d(units, device=device, dtype=dtype) if norm else nn.Identity()
