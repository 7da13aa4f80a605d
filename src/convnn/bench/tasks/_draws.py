"""Inputs that several tasks draw."""

import torch
from torch import Tensor


def rows(generator: torch.Generator, *shape: int) -> Tensor:
    """Return normal numbers in float64."""
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def indices(generator: torch.Generator, positions: int, *shape: int) -> Tensor:
    """Return positions, repetitions among them."""
    return torch.randint(positions, shape, generator=generator)


def gathered(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the rows of values (B, T, C) at indices (B, N, K), as (B, N, K, C)."""
    images = torch.arange(values.shape[0], device=values.device)[:, None, None]
    return values[images, chosen]
