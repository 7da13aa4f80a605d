"""What the caches check of their inputs."""

import torch
from torch import Tensor

from convnn.errors import InputError


def check_heads(keys: Tensor, values: Tensor) -> None:
    """Check that keys and values are (B, H, T, D) of the same tokens.

    Raises:
        InputError: they are not, or a key is not finite.
    """
    if keys.dim() != 4 or values.dim() != 4 or keys.shape[:3] != values.shape[:3] or not keys.shape[2]:
        raise InputError(
            f"keys {tuple(keys.shape)} and values {tuple(values.shape)} must be (B, H, T, D) of the same tokens"
        )
    if not bool(keys.isfinite().all()):
        raise InputError("keys must be finite")


def check_queries(queries: Tensor, keys: Tensor) -> None:
    """Check that queries are (B, H G, M, D), for keys (B, H, T, D).

    Raises:
        InputError: they are not.
    """
    if (
        queries.dim() != 4
        or queries.shape[0] != keys.shape[0]
        or queries.shape[3] != keys.shape[3]
        or queries.shape[1] % keys.shape[1]
    ):
        raise InputError(
            f"queries {tuple(queries.shape)} must be (B, H G, M, D) for keys {tuple(keys.shape)}: with a multiple of"
            " their heads"
        )


def check_present(present: Tensor | None, keys: Tensor) -> None:
    """Check that the mask of a prompt (B, T) has padding on the left alone, and a token in every row.

    Raises:
        InputError: it does not.
    """
    if present is None:
        return
    if present.dtype != torch.bool or present.shape != (keys.shape[0], keys.shape[2]):
        raise InputError(
            f"present of shape {tuple(present.shape)} and {present.dtype} must be bool of shape"
            f" {(keys.shape[0], keys.shape[2])}"
        )
    if not bool((present[:, 1:] >= present[:, :-1]).all() and present[:, -1].all()):
        raise InputError("present must have its padding on the left of each prompt")
