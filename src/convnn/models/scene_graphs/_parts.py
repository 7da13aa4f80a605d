"""Parts of the denoiser: maps (B, H, W, C) of pairs of nodes, scaled and shifted by the level of noise."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.nn import WindowAttention

SLOWEST = 10000
"""Ratio of the fastest to the slowest oscillation of the embedding of noise."""


class NoiseEmbedding(nn.Module):
    r"""Features of a level of noise c, :math:`\operatorname{silu}(W_1 \operatorname{silu}(W_0 e))`.

    .. math:: e = (\cos(c f_k), \sin(c f_k))_{k < d / 2}, \qquad f_k = 10000^{-2 k / d}
    """

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.dim = dim
        self.first, self.second = nn.Linear(dim, channels), nn.Linear(channels, channels)

    def forward(self, noise: Tensor) -> Tensor:
        """Map (B,) to (B, channels)."""
        half = self.dim // 2
        speeds = SLOWEST ** -(torch.arange(half, device=noise.device, dtype=noise.dtype) / half)
        angles = noise.unsqueeze(1) * speeds
        return F.silu(self.second(F.silu(self.first(torch.cat([angles.cos(), angles.sin()], dim=1)))))


class FiLM(nn.Module):
    r"""A scale and a shift of every channel by the level of noise: :math:`\operatorname{silu}(h (a + 1) + b)`."""

    def __init__(self, noise_channels: int, channels: int) -> None:
        super().__init__()
        self.affine = nn.Linear(noise_channels, 2 * channels)

    def forward(self, h: Tensor, noise: Tensor) -> Tensor:
        """Map (B, H, W, C) and the embedding (B, noise_channels) to (B, H, W, C)."""
        scale, shift = self.affine(noise)[:, None, None].chunk(2, dim=-1)
        return F.silu(h * (scale + 1) + shift)


def mlp(channels: int, hidden: int, out: int) -> nn.Sequential:
    """Create two linear layers with GELU between them."""
    parts = {"fc1": nn.Linear(channels, hidden), "activation": nn.GELU(), "fc2": nn.Linear(hidden, out)}
    return nn.Sequential(OrderedDict(parts))


class Block(nn.Module):
    """Attention in windows and an MLP, each with a shortcut, after `FiLM`."""

    def __init__(self, channels: int, heads: int, side: int, shift: int, mlp_ratio: float, noise_channels: int) -> None:
        super().__init__()
        self.film = FiLM(noise_channels, channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, heads, side, scope="local", shift=shift)
        self.mlp = mlp(channels, int(mlp_ratio * channels), channels)

    def forward(self, h: Tensor, noise: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C)."""
        h = self.film(h, noise)
        h = h + self.attention(self.norm1(h))
        return h + self.mlp(self.norm2(h))


class Merge(nn.Module):
    """Four neighbouring positions become one: (B, H, W, C) to (B, H / 2, W / 2, 2 C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduce = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H / 2, W / 2, 2 C)."""
        quarters = h.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))  # rows and columns each with their parity
        return self.reduce(self.norm(quarters.permute(0, 1, 3, 4, 2, 5).flatten(3)))


class Split(nn.Module):
    """One position becomes four, the reverse of `Merge`: (B, H, W, 4 C), with the skip, to (B, 2 H, 2 W, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Linear(4 * channels, 4 * channels, bias=False)
        self.norm, self.post_norm = nn.LayerNorm(4 * channels), nn.LayerNorm(channels)
        self.output = nn.Linear(channels, channels, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, H, W, 4 C) to (B, 2 H, 2 W, C)."""
        quarters = self.norm(self.mix(h)).unflatten(3, (2, 2, -1))  # column parity, row parity, channels
        whole = quarters.permute(0, 1, 4, 2, 3, 5).flatten(3, 4).flatten(1, 2)
        return self.output(self.post_norm(whole))


class Level(nn.Module):
    """Blocks at one resolution; what brings a map there, or on, is `resample`."""

    def __init__(self, blocks: Sequence[Block], resample: nn.Module | None) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.resample = resample

    def forward(self, h: Tensor, noise: Tensor) -> Tensor:
        """Map (B, H, W, C) to (B, H, W, C), without `resample`."""
        for block in self.blocks:
            h = block(h, noise)
        return h


def draw_linear(module: nn.Module) -> None:
    """Draw the weights of a linear layer from a normal distribution of deviation 0.02, truncated at 2."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
