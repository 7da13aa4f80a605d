"""Kernels of growing blocks: each is interpolated from as few values, twice as far apart as in the one before."""

from math import ceil, log2
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.nn._training import Training
from convnn.nn.kernels.lags import TapsOfLags

JOINS, FIRST_VALUES, VARIANTS = ("cat", "sum"), ("randn", "cos"), ("learnable", "fixed", "nearest")
"""How blocks are joined, what their first values are, and further words of a mode."""


def check_mode(name: str, mode: str) -> None:
    """Refuse a mode that is not one word of `JOINS`, one of `FIRST_VALUES` and any of `VARIANTS`, joined by "_".

    Raises:
        InputError: the mode is refused; the message names the argument.
    """
    words = mode.split("_")
    counts = [sum(word in of_kind for word in words) for of_kind in (JOINS, FIRST_VALUES, VARIANTS)]
    if counts[:2] != [1, 1] or sum(counts) != len(words) or ("fixed" in words and "learnable" not in words):
        raise InputError(
            f"{name}={mode!r} must be cat or sum, then randn or cos, then any of learnable, learnable_fixed and"
            " nearest, such as 'cat_randn'"
        )


class PyramidKernel(TapsOfLags):
    r"""A long kernel from few values: blocks of lengths d, d, 2 d, 4 d, ..., each from d values, the far ones smaller.

    .. math:: k = \frac1Z \operatorname{cat}_{i = 0}^{S - 1} \left( \alpha_h^{S - 1 - i}
        \operatorname{up}_{2^{\max(0, i - 1)}}(w_i) \right)

    with linear interpolation between the values of a block, and Z the norm of each initial kernel.

    Args:
        channels: number of channels h.
        heads: kernels for each channel.
        l_max: number of lags that the blocks cover at least.
        kernel_dim: d, the number of values of a block.
        n_scales: S, the number of blocks; None: as many as cover `l_max`.
        decay_min, decay_max: :math:`\alpha` of the first and of the last channel.
        bidirectional: kernels for the positions to come too.
        mode: "cat_randn", or with other words: "sum", blocks that all begin at lag 0; "cos", first values from cosines;
            "learnable", the factor :math:`(n + 1)^{-a_h}` at lag n with learned a instead of :math:`\alpha`, which
            "fixed" freezes; "nearest", steps instead of lines.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        offsets (\*P, 1) in positions; kernel (channels heads, 1, \*P).

    Raises:
        InputError: an argument is out of range, or d is greater than `l_max`.

    Reference:
        Li et al., "What Makes Convolutional Models Great on Long Sequence Modeling?", arXiv 2210.09298, section 3.2.
    """

    kernel_norm: Tensor
    multiplier: Tensor

    trained: ClassVar[dict[str, Training]] = {"blocks": Training(rate="kernel")}

    def __init__(
        self,
        channels: int,
        *,
        heads: int = 1,
        l_max: int = 1024,
        kernel_dim: int = 32,
        n_scales: int | None = None,
        decay_min: float = 2.0,
        decay_max: float = 2.0,
        bidirectional: bool = True,
        mode: str = "cat_randn",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        check_at_least("channels", channels, 1)
        check_at_least("l_max", l_max, 1)
        check_at_least("kernel_dim", kernel_dim, 1)
        check_mode("kernel_mode", mode)
        if kernel_dim > l_max:
            raise InputError(f"kernel_dim={kernel_dim} must be at most l_max={l_max}, the longest map")
        if n_scales is None:
            n_scales = 1 + ceil(log2(l_max / kernel_dim))
        check_at_least("n_scales", n_scales, 1)
        self.mode, self.n_scales, self.kernel_dim = mode, n_scales, kernel_dim
        super().__init__(channels, heads, kernel_dim * 2 ** (n_scales - 1), bidirectional=bidirectional)
        shape = (heads * (2 if bidirectional else 1), channels, kernel_dim)
        blank = torch.empty(shape, device=device, dtype=dtype)
        self.blocks = nn.ParameterList(nn.Parameter(torch.empty_like(blank)) for _ in range(n_scales))
        self.decays = decay_min, decay_max
        if "learnable" in mode:
            self.decay = nn.Parameter(blank.new_empty(channels), requires_grad="fixed" not in mode)
        else:
            decays = torch.linspace(decay_min, decay_max, channels).view(1, -1, 1)
            self.register_buffer("multiplier", decays.to(blank))
        self.register_buffer("kernel_norm", blank.new_ones(*shape[:2], 1))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw the values, and take the norm of the kernel."""
        for block in self.blocks:
            if "cos" in self.mode:
                block.copy_(self._cosines().to(block))
            else:
                nn.init.normal_(block)
        if "learnable" in self.mode:
            nn.init.uniform_(self.decay, *self.decays)
        self.kernel_norm.fill_(1)
        self.kernel_norm.copy_(self.values().norm(dim=-1, keepdim=True))

    def _cosines(self) -> Tensor:
        turns = 2 * torch.pi * torch.arange(self.channels)[torch.randperm(self.channels)]
        return torch.cos(torch.linspace(0, 1, self.kernel_dim) * turns.unsqueeze(1))

    def values(self) -> Tensor:
        """Return the values (heads, channels, length) at the lags 0, 1, ...; after them, heads for -1, -2, ..."""
        is_sum = self.mode.startswith("sum")
        parts = []
        for i, block in enumerate(self.blocks):
            weight = block if "learnable" in self.mode else block * self.multiplier ** (self.n_scales - 1 - i)
            part = _upsampled(weight, 2 ** (i if is_sum else max(0, i - 1)), "nearest" in self.mode)
            parts.append(F.pad(part, (0, self.length - part.shape[-1])) if is_sum else part)
        values = torch.stack(parts).sum(0) if is_sum else torch.cat(parts, dim=-1)
        if "learnable" in self.mode:
            lags = torch.arange(1, self.length + 1, device=values.device, dtype=values.dtype)
            values = values * lags ** -self.decay.unsqueeze(-1)
        return values / self.kernel_norm


def _upsampled(block: Tensor, factor: int, by_steps: bool) -> Tensor:
    if factor == 1:
        return block
    return F.interpolate(block, scale_factor=factor, mode="nearest" if by_steps else "linear")
