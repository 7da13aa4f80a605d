r"""Attention between blocks: blocks of queries choose blocks of keys, and attend to all keys in them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.backends import reference
from convnn.errors import InputError, check_at_least, check_choice, check_fraction
from convnn.ops import _attend
from convnn.ops._dispatch import check_backend
from convnn.ops._transforms import is_transformed
from convnn.ops._validate import check_rows, check_same_width

POOLS = ("mean", "max")
_SLACK = 1e-5  # in the published comparison of cumulative sums with the mass


def check_block(block: tuple[int, int]) -> None:
    """Check the sizes of the blocks of queries and of keys.

    Raises:
        InputError: they are not two numbers of at least 1.
    """
    if not isinstance(block, tuple | list) or len(block) != 2:
        raise InputError(f"block={block!r} must be two numbers, the queries and the keys of a block")
    for size in block:
        check_at_least("block", size, 1)


def pooled_scores(queries: Tensor, keys: Tensor, block: tuple[int, int], *, pool: str = "mean") -> Tensor:
    r"""Return how much attention each block of queries is expected to pay to each block of keys.

    .. math:: p_{ij} = \operatorname{softmax}_j \frac{\bar q_i \cdot \bar k_j}{\sqrt{d}}

    with the mean, or the largest number in each channel, of the rows of a block. A last block may be short.

    Args:
        queries: (B, N, d).
        keys: (B, T, d).
        block: queries and keys of a block.
        pool: "mean" or "max".

    Returns:
        (B, ceil(N / queries of a block), ceil(T / keys of a block)), in float32 or better, without a gradient.

    Raises:
        InputError: shapes do not agree, or an argument is out of range.
    """
    check_choice("pool", pool, POOLS)
    check_block(block)
    check_same_width(queries, keys)
    with torch.no_grad(), reference.full_precision(queries):
        rows, columns = (_pooled(one, size, pool) for one, size in zip((queries, keys), block, strict=True))
        return (rows * queries.shape[2] ** -0.5 @ columns.mT).softmax(-1)


def choose(
    queries: Tensor,
    keys: Tensor,
    block: tuple[int, int] = (128, 64),
    *,
    keep: float = 0.25,
    mass: float | None = None,
    pool: str = "mean",
) -> Tensor:
    r"""Return which blocks of keys each block of queries opens: those with the highest pooled scores.

    Of the scores :math:`p_{i1} \ge p_{i2} \ge \dots` in descending order, the first

    .. math:: m_i = \max \left(1,\; \lfloor \text{keep} \cdot J \rfloor,\;
        \left| \{ j : p_{i1} + \dots + p_{ij} \le \text{mass} + 10^{-5} \} \right| \right)

    of all J are opened; the block with which the sum exceeds `mass` is not. Of equal scores the first block is taken.

    Args:
        queries: (B, N, d).
        keys: (B, T, d).
        block: queries and keys of a block; the last one may be short.
        keep: smallest share of the blocks that is opened, 0 to 1.
        mass: share of the pooled attention up to which more are opened, 0 to 1; None opens no more.
        pool: how the rows of a block are pooled, "mean" or "max".

    Returns:
        (B, ceil(N / queries of a block), ceil(T / keys of a block)) bool, for `attend`.

    Raises:
        InputError: shapes do not agree, or an argument is out of range.

    Reference:
        Wang et al., "Faster VGGT with Block-Sparse Global Attention", arXiv 2509.07120.
    """
    check_fraction("keep", keep)
    if mass is not None:
        check_fraction("mass", mass)
    scores = pooled_scores(queries, keys, block, pool=pool)
    scores, order = scores.sort(dim=-1, descending=True, stable=True)
    ranks = torch.arange(scores.shape[2], device=scores.device)
    is_chosen = (ranks < max(1, int(scores.shape[2] * keep))).expand(scores.shape)
    if mass is not None:
        is_chosen = is_chosen | (scores.cumsum(-1) <= mass + _SLACK)
    return torch.zeros_like(is_chosen).scatter(-1, order, is_chosen)


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    is_open: Tensor,
    block: tuple[int, int] = (128, 64),
    *,
    backend: str = "auto",
) -> Tensor:
    r"""Return the attention of each query to the keys in the blocks that its own block opens.

    .. math:: y_i = \sum_{j \in O(i)} \operatorname{softmax}_{j \in O(i)}
        \left( \frac{q_i \cdot k_j}{\sqrt{d}} \right) v_j

    With every block open, this is `torch.nn.functional.scaled_dot_product_attention`. No (N, T) matrix is written,
    except by the backend "reference"; for the gradients, weights are computed again from the logarithms of their sums.
    Queries and keys are converted to the type of the values.

    Args:
        queries: (B, N, d); heads are part of the batch.
        keys: (B, T, d).
        values: (B, T, E).
        is_open: (B, ceil(N / queries of a block), ceil(T / keys of a block)) bool: which blocks of keys each block of
            queries opens, at least one each. It has no gradient.
        block: queries and keys of a block; the last one may be short.
        backend: backend that computes it, as in `select.nearest`.

    Returns:
        (B, N, E), in the type of the values.

    Raises:
        InputError: shapes do not agree, or an argument is out of range.
        UnsupportedError: the named backend cannot compute this; the message gives every reason.

    Example:
        >>> q, k, v = torch.randn(3, 2, 100, 8).unbind()
        >>> attend(q, k, v, choose(q, k, (16, 8), keep=0.5), (16, 8)).shape
        torch.Size([2, 100, 8])
    """
    check_block(block)
    check_backend(backend)
    check_same_width(queries, keys)
    check_rows("values", values)
    if values.shape[:2] != keys.shape[:2]:
        raise InputError(f"values {tuple(values.shape)} and keys {tuple(keys.shape)} must agree in batch and length")
    expected = (queries.shape[0], -(-queries.shape[1] // block[0]), -(-keys.shape[1] // block[1]))
    if is_open.dtype != torch.bool or tuple(is_open.shape) != expected:
        raise InputError(
            f"is_open of shape {tuple(is_open.shape)} and {is_open.dtype} must be {expected} bool for block={block}"
        )
    queries, keys = queries.to(values.dtype), keys.to(values.dtype)
    if is_transformed():
        return reference.attend_to_blocks(queries, keys, values, is_open, *block)[0]
    return _attend.attend_to_blocks(queries, keys, values, is_open, *block, backend)[0]


def _pooled(rows: Tensor, size: int, pool: str) -> Tensor:
    """Return the mean or the largest numbers of each block of rows (B, N, C)."""
    rows = rows.to(torch.promote_types(rows.dtype, torch.float32))
    lacking = -rows.shape[1] % size
    blocks = F.pad(rows, (0, 0, 0, lacking), value=-torch.inf if pool == "max" else 0.0).unflatten(1, (-1, size))
    if pool == "max":
        return blocks.amax(2)
    starts = torch.arange(0, rows.shape[1], size, device=rows.device)
    return blocks.sum(2) / (rows.shape[1] - starts).clamp_max(size)[:, None]
