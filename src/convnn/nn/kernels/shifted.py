"""A large sparse kernel put together from shifted small ones: a wide band, a tall band, and a square."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_fraction, check_odd
from convnn.nn._depthwise import convolve_depthwise
from convnn.nn._reset import reset_as_conv
from convnn.nn.kernels.convolution import BATCH_NORMS, ConvMaker, check_can_normalise
from convnn.nn.kernels.merging import Mergeable
from convnn.nn.kernels.taps import Kernel, added, as_convolution, identity, normalised

EXCHANGED = 0.3
"""Share of the small kernels kept that one pruning exchanges for others."""


class ShiftedSum2d(Mergeable):
    r"""Every channel under a wide band, a tall band and a square of the same small kernels, or as it is.

    .. math:: y = \operatorname{norm}_1(h * x) + \operatorname{norm}_2(v * x) + \operatorname{norm}_3(d * x) + x

    n = ceil(M / s) small kernels of side s stand side by side in the band h, in the order of N_rep permutations that
    are summed, and one above the other in v, in other orders; d is one of them for each permutation. That is what comes
    of shifting n convolved maps and adding them. Some channels, the ghosts, pass unchanged, and come last.

    Each small kernel is the sum of N_path, which are trained apart; with a sparsity, whole small kernels are left out,
    which `prune` chooses and the buffer `kept` (R, n) tells. `convnn.merge` makes one wide and one tall
    convolution of all.

    Args:
        channels: number of channels.
        ghosts: number of channels that pass unchanged.
        big_kernel: M, the length that the bands should have; they are longer and off the middle where s does not
            divide it.
        small_kernel: s, an odd number.
        N_path: number of kernels that are summed to a small one.
        N_rep: number of permutations.
        band_norm: normalise the three parts.
        sparsity: share of the small kernels of all channels that `prune` sets to 0.
        backend: backend of the kernels of single channels: "auto" (the fastest), "cpu" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input and output (B, C, H, W), with the channels in the order of the buffer `channels`; weight
        (N_path, R, n, s, s) for R = C - ghosts; buffers `wide` and `tall` (N_rep, R, n), and `square` (N_rep, R).

    Raises:
        InputError: an argument is out of range, or no channel is left for the kernels.
    """

    channels: Tensor
    kept: Tensor
    wide: Tensor
    tall: Tensor
    square: Tensor

    def __init__(
        self,
        channels: int,
        *,
        ghosts: int = 0,
        big_kernel: int = 51,
        small_kernel: int = 3,
        N_path: int = 2,
        N_rep: int = 4,
        band_norm: bool = True,
        sparsity: float = 0.0,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_odd("small_kernel", small_kernel)
        check_at_least("big_kernel", big_kernel, small_kernel)
        check_at_least("N_path", N_path, 1)
        check_at_least("N_rep", N_rep, 1)
        check_fraction("sparsity", sparsity)
        moved = channels - ghosts
        if not 0 < moved <= channels:
            raise InputError(f"ghosts={ghosts} must leave at least one of {channels} channels for the kernels")
        self.moved, self.big_kernel, self.sparsity, self.backend = moved, big_kernel, sparsity, backend
        number = -(-big_kernel // small_kernel)
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        self.weight = nn.Parameter(torch.empty(N_path, moved, number, small_kernel, small_kernel, **where))
        make = ConvMaker(2, **where, backend=backend)
        self.norms = nn.ModuleList(make.norm(moved) if band_norm else nn.Identity() for _ in range(3))
        for name, size in (("channels", (channels,)), ("square", (N_rep, moved))):
            self.register_buffer(name, torch.empty(size, dtype=torch.long, device=device))
        for name in ("wide", "tall"):
            self.register_buffer(name, torch.empty(N_rep, moved, number, dtype=torch.long, device=device))
        if sparsity:
            self.register_buffer("kept", torch.empty(moved, number, dtype=torch.bool, device=device))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw weights as `torch.nn.Conv2d` does, and ghosts and orders of the small kernels at random."""
        reset_as_conv(self.weight.flatten(0, 2).unsqueeze(1), None)
        drawn = torch.randperm(len(self.channels))
        self.channels.copy_(torch.cat([drawn[: self.moved].sort().values, drawn[self.moved :].sort().values]))
        for orders in (self.wide, self.tall):
            orders.copy_(torch.rand(orders.shape).argsort(-1))
        self.square.copy_(torch.randint(self.wide.shape[-1], self.square.shape))
        if self.sparsity:
            self.kept.fill_(True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        x = x[:, self.channels]
        moved, ghosts = x.split((self.moved, x.shape[1] - self.moved), dim=1)
        out = moved
        for weight, norm in zip(self.kernels(), self.norms, strict=True):
            part = convolve_depthwise(moved, weight, None, padding="same", backend=self.backend)
            check_can_normalise(norm, part)
            out = out + norm(part)
        return torch.cat([out, ghosts], dim=1)

    def kernels(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the wide band (R, 1, s, L), the tall one (R, 1, L, s) and the square (R, 1, s, s)."""
        small = self.weight.sum(0)
        if self.sparsity:
            small = small * self.kept[..., None, None]
        rows = torch.arange(self.moved, device=small.device)
        wide = small[rows.unsqueeze(1), self.wide].sum(0).transpose(1, 2).flatten(2)
        tall = small[rows.unsqueeze(1), self.tall].sum(0).flatten(1, 2)
        square = small[rows, self.square].sum(0)
        before, after = self._margins()
        return (
            F.pad(wide, [before, after]).unsqueeze(1),
            F.pad(tall, [0, 0, before, after]).unsqueeze(1),
            square.unsqueeze(1),
        )

    @torch.no_grad()
    def prune(self, generator: torch.Generator | None = None) -> None:
        """Choose the small kernels that are kept; the others are 0.

        Args:
            generator: None keeps those whose product with their gradient is largest, at the start of training.
                Otherwise those of the smallest magnitude, a share `EXCHANGED` of those kept but at most as many as are
                pruned, make room for pruned ones that this generator draws, and which begin at 0.
        """
        pruned = round(self.sparsity * self.kept.numel())
        if generator is None:
            if self.weight.grad is None:
                raise InputError("prune() without a generator needs the gradient of a batch; call backward() first")
            scores = (self.weight * self.weight.grad).abs().sum((0, 3, 4))
            kept = torch.ones_like(self.kept).flatten()
            kept[scores.flatten().argsort(stable=True)[:pruned]] = False
        else:
            kept = self.kept.flatten()
            exchanged = min(pruned, round(EXCHANGED * (kept.numel() - pruned)))
            sizes = self.weight.sum(0).abs().sum((2, 3)).flatten().masked_fill(~kept, torch.inf)
            candidates = (~kept).nonzero().flatten()
            drawn = torch.randperm(len(candidates), generator=generator)[:exchanged].to(candidates.device)
            kept[sizes.argsort(stable=True)[:exchanged]] = False
            kept[candidates[drawn]] = True
        grown = kept.view_as(self.kept) & ~self.kept
        self.kept.copy_(kept.view_as(self.kept))
        self.weight.masked_fill_((grown | ~self.kept)[..., None, None], 0)

    def _margins(self) -> tuple[int, int]:
        """Return the zeros before and after the small kernels that bring the middle of a band into the middle."""
        first = self.big_kernel // 2
        last = self.wide.shape[-1] * self.weight.shape[-1] - 1 - first
        return max(last - first, 0), max(first - last, 0)

    def bands(self) -> tuple[Kernel, Kernel]:
        """Return the kernels, one wide and one tall, of all that is done to the channels under them."""
        none = self.weight.new_zeros(self.moved, dtype=torch.double)
        kernels = [Kernel(weight.detach().double(), none) for weight in self.kernels()]
        wide, tall, square = (
            normalised(kernel, norm) if isinstance(norm, BATCH_NORMS) else kernel
            for kernel, norm in zip(kernels, self.norms, strict=True)
        )
        return added([wide, square, identity(wide)]), tall

    def merge(self) -> "TwoBands2d":
        """Return a module with these two kernels."""
        return TwoBands2d(self.channels, *self.bands(), like=self.weight, backend=self.backend)


class TwoBands2d(nn.Module):
    """What `ShiftedSum2d` merges into: a wide and a tall convolution of some of the channels."""

    channels: Tensor

    def __init__(self, channels: Tensor, wide: Kernel, tall: Kernel, *, like: Tensor, backend: str) -> None:
        super().__init__()
        single = ConvMaker(2, like.device, like.dtype, backend).depthwise(len(wide.bias), 1)
        self.register_buffer("channels", channels.clone())
        self.wide, self.tall = as_convolution(wide, single), as_convolution(tall, single)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, H, W)."""
        x = x[:, self.channels]
        moved, ghosts = x.split((self.wide.out_channels, x.shape[1] - self.wide.out_channels), dim=1)
        return torch.cat([self.wide(moved) + self.tall(moved), ghosts], dim=1)
