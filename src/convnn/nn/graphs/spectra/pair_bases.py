"""Bases of a graph: entries of several matrices of it, for every pair of nodes that a filter may connect."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn.graphs.spectra.choices import SUPPORTS
from convnn.ops.ragged import check_edges

Powers = int | tuple[int, int]
"""r for the powers 1 to r of a matrix, or (l, r) for l to r."""


@torch.compiler.disable  # type: ignore[untyped-decorator]  # NumPy and SciPy compute them
def pdf_bases(
    edge_index: Tensor,
    nodes: int,
    exponents: Sequence[float],
    powers: Powers | list[Powers],
    *,
    degree_exponents: Sequence[float] = (),
    support: str = "dense",
    hops: int | None = None,
    normalize: bool = False,
    self_loops: bool = True,
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:
    r"""Return pairs of nodes and, for each pair, the entries there of the bases of a graph.

    With :math:`A_{uv} = 1` where an edge leads from u to v and :math:`D` the degrees of the rows, the bases are, in
    this order, the identity; for each exponent :math:`\epsilon` the powers l to r of
    :math:`D^\epsilon A D^\epsilon`; and for each degree exponent :math:`D^\epsilon` itself.

    Args:
        edge_index: (2, E) int64; an edge that is given twice counts once.
        nodes: n.
        exponents: an exponent for each matrix.
        powers: r, for the powers 1 to r, or (l, r) with 1 <= l <= r; one for all exponents, or a list with one of each.
        degree_exponents: exponents of the degrees.
        support: "dense" for all n^2 pairs, or "sparse" for the pairs that a walk of `hops` edges connects; either by
            rows.
        hops: of the sparse support, at least 1; None is the largest power.
        normalize: bring each basis to mean 0 and deviation 1 over the pairs; 1e-5 is added to the deviation.
        self_loops: add a loop at every node that has none. Otherwise a node without edges has the degree 0, which has
            no negative power.
        dtype: data type of the bases, which are computed in float64; None is torch's default.

    Returns:
        edge_index (2, E') of the pairs (u, v), and bases (E', B).

    Raises:
        InputError: an argument is out of range, a node lies outside the graph, or a degree of 0 has a negative
            exponent.

    Reference:
        Yang et al., "Towards Better Graph Representation Learning with Parameterized Decomposition & Filtering",
        arXiv 2305.06102.

    Example:
        >>> pairs, bases = pdf_bases(torch.tensor([[0, 1], [1, 2]]), 3, [-0.5], 2)
        >>> pairs.shape, bases.shape
        (torch.Size([2, 9]), torch.Size([9, 3]))
    """
    check_choice("support", support, SUPPORTS)
    check_edges(edge_index, nodes)
    ranges = _ranges(exponents, powers)
    if hops is not None:
        check_at_least("hops", hops, 1)
    u, v = edge_index.cpu().numpy()
    if self_loops:
        u, v = (np.concatenate([end, np.arange(nodes)]) for end in (u, v))
    adjacency = sparse.csr_array((np.ones(u.shape), (u, v)), shape=(nodes, nodes))
    adjacency.data[:] = 1  # edges that are given twice
    degrees = adjacency.sum(1)
    least = min((*exponents, *degree_exponents), default=0.0)
    if (degrees == 0).any() and least < 0:
        raise InputError(f"node {degrees.argmin()} has the degree 0, which has no power {least}; set self_loops=True")
    if support == "dense":
        rows, columns = np.divmod(np.arange(nodes**2), max(nodes, 1))
    else:
        rows, columns = _walks(adjacency, hops or max((last for _, last in ranges), default=1))
    matrices = _matrices(adjacency, degrees, list(zip(exponents, ranges, strict=True)), degree_exponents)
    bases = np.stack([np.asarray(matrix[rows, columns]).ravel() for matrix in matrices], axis=1)
    if normalize:
        bases = (bases - bases.mean(0)) / (bases.std(0) + 1e-5)
    pairs = torch.from_numpy(np.stack([rows, columns])).long()
    entries = torch.from_numpy(bases).to(edge_index.device, dtype or torch.get_default_dtype())
    return pairs.to(edge_index.device), entries


def _ranges(exponents: Sequence[float], powers: Powers | list[Powers]) -> list[tuple[int, int]]:
    """Return the first and the last power of each matrix."""
    each = powers if isinstance(powers, list) else [powers] * len(exponents)
    if len(each) != len(exponents):
        raise InputError(f"powers={powers} must be one for each of the {len(exponents)} exponents, or one for all")
    ranges = [(1, one) if isinstance(one, int) else one for one in each]
    if not all(1 <= first <= last for first, last in ranges):
        raise InputError(f"powers={powers} must be r of at least 1, or (l, r) with 1 <= l <= r")
    return ranges


def _walks(adjacency: Any, hops: int) -> tuple[Any, Any]:
    """Return the pairs that walks of a length connect, by rows."""
    walks = adjacency
    for _ in range(hops - 1):
        walks = walks @ adjacency
    walks.sort_indices()
    return walks.nonzero()


def _matrices(
    adjacency: Any, degrees: Any, powers: list[tuple[float, tuple[int, int]]], degree_exponents: Sequence[float]
) -> Iterator[Any]:
    """Yield the bases as sparse matrices."""
    yield sparse.eye(len(degrees), format="csr")
    for exponent, (first, last) in powers:
        ends = sparse.diags(degrees**exponent, format="csr")
        matrix = power = ends @ adjacency @ ends
        for k in range(1, last + 1):
            power = power @ matrix if k > 1 else matrix
            if k >= first:
                yield power
    for exponent in degree_exponents:
        yield sparse.diags(degrees**exponent, format="csr")


def as_exponents(argument: str, value: Sequence[float] | str) -> tuple[float, ...]:
    """Return exponents given as numbers or as text such as "-0.3,-0.4".

    Raises:
        InputError: they are no finite numbers; the message names the argument.
    """
    try:
        exponents = tuple(float(one) for one in (value.split(",") if isinstance(value, str) else value))
    except ValueError:
        exponents = (math.nan,)
    if not all(map(math.isfinite, exponents)):
        raise InputError(f"{argument}={value!r} must be finite numbers, such as -0.3,-0.4")
    return exponents
