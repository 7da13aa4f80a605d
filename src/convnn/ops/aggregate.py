r"""How the neighbours are put together."""

import torch
from torch import Tensor

from convnn.ops import _library
from convnn.ops._dispatch import check_backend
from convnn.ops._validate import check_kernel, check_neighbors, check_rows
from convnn.ops.neighbors import Neighbors


def convolve(
    values: Tensor,
    neighbors: Neighbors,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    groups: int = 1,
    backend: str = "auto",
) -> Tensor:
    r"""A learned kernel over the ordered neighbours.

    .. math:: y_{io} = b_o + \sum_{c} \sum_{k=1}^{K} W_{ock} \, s_{ik} \, v_{j_{ik} c}

    With the k x k window in raster order as neighbours this is a convolution; with one weight a slot it is attention.

    Args:
        values: (B, T, C) what the neighbours bring.
        neighbors: indices (B, N, K) into the T positions; scores, where there are any, multiply the values.
        weight: (C_out, C / groups, K).
        bias: (C_out,) or None.
        groups: blocks of channels that do not mix; groups = C = C_out is a depthwise kernel.
        backend: what computes it, as in `select.nearest`.

    Returns:
        (B, N, C_out), in the type of the values; under autocast in its type, as any convolution.

    Raises:
        InputError: the neighbours do not fit the values, the weight or bias does not fit the channels, the neighbours
            or the groups; the backend is unknown.
        UnsupportedError: the named backend cannot compute this.

    Reference:
        arXiv 2511.14137, the aggregation of ConvNN as a 1-d convolution of kernel and stride K.
    """
    check_rows("values", values)
    check_neighbors(values, neighbors)
    check_kernel(values, neighbors.K, weight, bias, groups)
    check_backend(backend)
    values, weight = _as_autocast_would(values, weight)
    return _library.convolve(values, neighbors.indices, _counts(values, neighbors), weight, bias, groups, backend)


def weighted_sum(values: Tensor, neighbors: Neighbors, *, backend: str = "auto") -> Tensor:
    r"""What attention does with its neighbours, :math:`y_i = \sum_{k=1}^{K} s_{ik} \, v_{j_{ik}}`.

    It is `convolve` with a kernel of ones.

    Args:
        values: (B, T, C).
        neighbors: indices (B, N, K) into the T positions; scores, where there are any, multiply the values.
        backend: as in `convolve`.

    Returns:
        (B, N, C)

    Raises:
        InputError: the neighbours do not fit the values; the backend is unknown.
        UnsupportedError: the named backend cannot compute this.
    """
    check_rows("values", values)
    channels = values.shape[-1]
    return convolve(values, neighbors, values.new_ones(channels, 1, neighbors.K), groups=channels, backend=backend)


def _counts(values: Tensor, neighbors: Neighbors) -> Tensor | None:
    """How much each neighbour counts; nothing where it is absent."""
    indices, scores, absent = neighbors
    if absent is None:
        return scores
    scores = values.new_ones(()).expand(indices.shape) if scores is None else scores
    return scores.masked_fill(absent, 0)


def _as_autocast_would(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Autocast does not know our op: what it does to a convolution is done here."""
    kind = values.device.type
    if not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return values, weight
    dtype = torch.get_autocast_dtype(kind)
    return values.to(dtype), weight.to(dtype)
