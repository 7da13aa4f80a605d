"""Checks of arguments that come without an operator around them."""

from torch import Tensor

from convnn.backends import triton
from convnn.backends.request import Request
from convnn.errors import InputError, UnsupportedError


def check_block(block: int) -> None:
    """Check that tiles of this side can be multiplied.

    Raises:
        InputError: it is not a power of two of at least 16.
    """
    if not isinstance(block, int) or block < 16 or block & (block - 1):
        raise InputError(f"block={block!r} must be a power of two of at least 16, the least that tensor cores multiply")


def check_rows(queries: Tensor, keys: Tensor, values: Tensor) -> None:
    """Check that queries (B, N, d), keys (B, T, d) and values (B, T, E) fit together.

    Raises:
        InputError: they do not; the message gives all shapes.
    """
    shapes = ", ".join(
        f"{name} {tuple(one.shape)}" for name, one in (("queries", queries), ("keys", keys), ("values", values))
    )
    if not all(one.ndim == 3 for one in (queries, keys, values)):
        raise InputError(f"{shapes}: all three must be (B, T, C)")
    same = queries.shape[0] == keys.shape[0] == values.shape[0]
    if not same or queries.shape[2] != keys.shape[2] or keys.shape[1] != values.shape[1]:
        raise InputError(f"{shapes}: queries and keys must share their width, keys and values their length, all B")
    if not queries.dtype == keys.dtype == values.dtype:
        raise InputError(f"queries are {queries.dtype}, keys {keys.dtype}, values {values.dtype}; use one type")


def check_runs(operator: str, values: Tensor, channels: int) -> None:
    """Check that kernels of an operator can run on these values.

    Raises:
        UnsupportedError: they cannot; the message gives every reason.
    """
    reasons = triton.unsupported_reasons(Request(operator, values.device, values.dtype, 0, channels))
    if reasons:
        raise UnsupportedError(f"triton cannot compute {operator}: {'; '.join(reasons)}")


def check_indices(indices: Tensor, length: int) -> None:
    """Check neighbours, of which -1 is none.

    Raises:
        InputError: an index is below -1, or not that of a row.
    """
    if indices.numel() and not (indices.amin() >= -1 and indices.amax() < length):
        least, most = indices.amin().item(), indices.amax().item()
        raise InputError(f"indices from {least} to {most} must be those of {length} rows, or -1 for none")
