r"""How the neighbours are put together."""

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops import _library, _transforms
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
    return _transforms.convolve(values, neighbors.indices, _counts(values, neighbors), weight, bias, groups, backend)


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


def maximum(values: Tensor, neighbors: Neighbors, centers: Tensor | None = None, *, backend: str = "auto") -> Tensor:
    r"""Of every channel the largest that a neighbour brings, or, beside centers, the largest difference from them.

    .. math:: y_{ic} = \max_{k=1}^{K} \, s_{ik} \, (v_{j_{ik} c} - u_{ic})

    Each channel chooses its own neighbour; the gradient goes to the one chosen, the first of equals. NaN is largest.

    Args:
        values: (B, T, C) what the neighbours bring.
        neighbors: indices (B, N, K) into the T positions; scores, where there are any, multiply; absent ones are left
            out, and the first must not be absent.
        centers: (B, N, C) what is subtracted, u; nothing when None.
        backend: what finds the largest, as in `select.nearest`.

    Returns:
        (B, N, C), in the type of the values. Memory beyond it is that of one index for every element, whatever K.

    Raises:
        InputError: the neighbours or the centers do not fit the values; the backend is unknown.
        UnsupportedError: the named backend cannot compute this.

    Reference:
        Li et al., "DeepGCNs", arXiv 1904.03751, the max-relative aggregation.
    """
    check_rows("values", values)
    check_neighbors(values, neighbors)
    check_backend(backend)
    shape = (*neighbors.indices.shape[:2], values.shape[-1])
    if centers is not None and centers.shape != shape:
        raise InputError(f"centers of shape {tuple(centers.shape)} must be {shape}: a row for each that has neighbours")
    indices, scores, absent = neighbors
    detached = (None if one is None else one.detach() for one in (values, scores, centers))
    of_values, of_scores, of_centers = detached
    slots = _library.largest(of_values, indices, of_scores, absent, of_centers, backend)
    chosen = torch.gather(values, 1, torch.gather(indices, 2, slots))
    chosen = chosen if centers is None else chosen - centers
    return chosen if scores is None else chosen * torch.gather(scores, 2, slots).to(chosen.dtype)


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
