r"""Aggregation: the functions that combine the values of the neighbours."""

import torch
from torch import Tensor

from convnn.backends import reference
from convnn.errors import InputError
from convnn.ops import _library, _transforms
from convnn.ops._dispatch import check_backend
from convnn.ops._validate import check_kernel, check_neighbors, check_rows
from convnn.ops.neighbors import Neighbors


def gather(values: Tensor, neighbors: Neighbors) -> Tensor:
    r"""Return the value of each neighbour, :math:`v_{j_{ik}}`, for an aggregation of your own.

    Plain PyTorch computes it on every backend, and the result is K times as large as the values. The other functions
    of this module do not materialize it.

    Args:
        values: (B, T, C) values to gather.
        neighbors: indices (B, N, K) into the T positions; scores are not applied.

    Returns:
        (B, N, K, C).

    Raises:
        InputError: shapes do not agree.
    """
    check_rows("values", values)
    check_neighbors(values, neighbors)
    return reference.gather(values, neighbors.indices)


def convolve(
    values: Tensor,
    neighbors: Neighbors,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    groups: int = 1,
    backend: str = "auto",
) -> Tensor:
    r"""Apply a learned kernel to the ordered neighbours.

    .. math:: y_{io} = b_o + \sum_{c} \sum_{k=1}^{K} W_{ock} \, s_{ik} \, v_{j_{ik} c}

    With the k x k window in raster order as neighbours this is a convolution; with a kernel of ones it is attention.

    Args:
        values: (B, T, C) values of the positions.
        neighbors: indices (B, N, K) into the T positions; scores, if not None, multiply the values.
        weight: (C_out, C / groups, K).
        bias: (C_out,) or None.
        groups: blocks of channels that do not mix; groups = C = C_out is a depthwise kernel.
        backend: backend that computes it, as in `select.nearest`.

    Returns:
        (B, N, C_out), in the type of the values; under autocast in the autocast type, like any convolution.

    Raises:
        InputError: the neighbours do not fit the values, the weight or bias does not fit the channels, the neighbours
            or the groups, or the backend is unknown.
        UnsupportedError: the named backend cannot compute this.

    Reference:
        arXiv 2511.14137, the aggregation of ConvNN as a 1-d convolution with kernel size and stride K.
    """
    check_rows("values", values)
    check_neighbors(values, neighbors)
    check_kernel(values, neighbors.K, weight, bias, groups)
    check_backend(backend)
    values, weight = _autocast(values, weight)
    return _transforms.convolve(values, neighbors.indices, _factors(values, neighbors), weight, bias, groups, backend)


def weighted_sum(values: Tensor, neighbors: Neighbors, *, backend: str = "auto") -> Tensor:
    r"""Return the weighted sum of attention, :math:`y_i = \sum_{k=1}^{K} s_{ik} \, v_{j_{ik}}`.

    This is `convolve` with a depthwise kernel of ones.

    Args:
        values: (B, T, C) values of the positions.
        neighbors: indices (B, N, K) into the T positions; scores, if not None, multiply the values.
        backend: as in `convolve`.

    Returns:
        (B, N, C)

    Raises:
        InputError: the neighbours do not fit the values, or the backend is unknown.
        UnsupportedError: the named backend cannot compute this.
    """
    check_rows("values", values)
    channels = values.shape[-1]
    return convolve(values, neighbors, values.new_ones(channels, 1, neighbors.K), groups=channels, backend=backend)


def maximum(values: Tensor, neighbors: Neighbors, centers: Tensor | None = None, *, backend: str = "auto") -> Tensor:
    r"""Return the maximum over the neighbours in every channel, of their values or of differences from centers.

    .. math:: y_{ic} = \max_{k=1}^{K} \, s_{ik} \, (v_{j_{ik} c} - u_{ic})

    Each channel chooses its own neighbour, and the gradient goes to that neighbour alone; of equal values the first
    slot wins. NaN counts as the largest value.

    Args:
        values: (B, T, C) values of the positions.
        neighbors: indices (B, N, K) into the T positions; scores, if not None, multiply the values; absent neighbours
            are left out, and the first must not be absent.
        centers: (B, N, C) u, subtracted from the values; None subtracts nothing.
        backend: backend that finds the maximum, as in `select.nearest`.

    Returns:
        (B, N, C), in the type of the values. The extra memory is one index per element, independent of K.

    Raises:
        InputError: the neighbours or the centers do not fit the values, or the backend is unknown.
        UnsupportedError: the named backend cannot compute this.

    Reference:
        Li et al., "DeepGCNs", arXiv 1904.03751, the max-relative aggregation.
    """
    check_rows("values", values)
    check_neighbors(values, neighbors)
    check_backend(backend)
    shape = (*neighbors.indices.shape[:2], values.shape[-1])
    if centers is not None and centers.shape != shape:
        raise InputError(f"centers of shape {tuple(centers.shape)} must be {shape}, a row for each query")
    indices, scores, absent = neighbors
    detached_values, detached_scores, detached_centers = (
        None if tensor is None else tensor.detach() for tensor in (values, scores, centers)
    )
    slots = _library.largest(detached_values, indices, detached_scores, absent, detached_centers, backend)
    largest = torch.gather(values, 1, torch.gather(indices, 2, slots))
    largest = largest if centers is None else largest - centers
    return largest if scores is None else largest * torch.gather(scores, 2, slots).to(largest.dtype)


def _factors(values: Tensor, neighbors: Neighbors) -> Tensor | None:
    """Return the factor of each neighbour, 0 where it is absent; None where every factor is 1."""
    indices, scores, absent = neighbors
    if absent is None:
        return scores
    scores = values.new_ones(()).expand(indices.shape) if scores is None else scores
    return scores.masked_fill(absent, 0)


def _autocast(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Cast values and weight as autocast does for a convolution: it does not know our custom op."""
    device_type = values.device.type
    if not torch.amp.is_autocast_available(device_type) or not torch.is_autocast_enabled(device_type):
        return values, weight
    dtype = torch.get_autocast_dtype(device_type)
    return values.to(dtype), weight.to(dtype)
