"""Checks that every operator shares; shapes are part of an operator's contract, whatever computes it."""

import torch
from torch import Tensor

from convnn.errors import InputError


def check_rows(argument: str, rows: Tensor) -> None:
    """A list of positions is (B, T, C) and floating."""
    if rows.dim() != 3 or not rows.is_floating_point():
        raise InputError(f"{argument} of shape {tuple(rows.shape)} and {rows.dtype} must be floating and (B, T, C)")


def check_same_width(queries: Tensor, keys: Tensor) -> None:
    """Queries and keys can be compared."""
    check_rows("queries", queries)
    check_rows("keys", keys)
    if queries.shape[0] != keys.shape[0] or queries.shape[2] != keys.shape[2]:
        raise InputError(
            f"queries {tuple(queries.shape)} and keys {tuple(keys.shape)} must agree in batch and channels"
        )


def check_indices(argument: str, indices: Tensor | None, length: int | None = None) -> None:
    """A list of positions is (length,) and int64."""
    if indices is not None and (
        indices.dim() != 1 or indices.dtype != torch.long or (length is not None and len(indices) != length)
    ):
        expected = "(M,)" if length is None else f"({length},)"
        raise InputError(f"{argument} of shape {tuple(indices.shape)} and {indices.dtype} must be {expected} int64")


def check_kernel(values: Tensor, K: int, weight: Tensor, groups: int) -> None:
    """The kernel (C_out, C / groups, K) fits the values and the neighbours."""
    channels = values.shape[-1]
    if groups < 1 or channels % groups or weight.shape[0] % groups:
        raise InputError(f"groups={groups} must divide the {channels} input and {weight.shape[0]} output channels")
    if weight.shape[1:] != (channels // groups, K):
        raise InputError(
            f"weight of shape {tuple(weight.shape)} must be (C_out, {channels // groups}, {K})"
            f" for {channels} channels, {K} neighbours and groups={groups}"
        )
