"""Kernels of graphs, in whose features coarsening compares nodes."""

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array, eye_array
from torch import Tensor

from convnn.errors import check_choice
from convnn.graphs.adjacency import Matrix, checked, scaled

KERNELS = ("normalized", "unnormalized")


def graph_kernel(adjacency: Matrix, kind: str = "normalized") -> Matrix:
    r"""Return a positive semidefinite kernel S (N, N) of nodes, sparse if the adjacency is.

    .. math:: \text{normalized:}\ I + D^{-1/2} A D^{-1/2}, \qquad \text{unnormalized:}\ D + A

    Args:
        adjacency: A (N, N), symmetric, at least 0; a self-loop counts once in the degree, and an isolated node has 1 on
            the diagonal of the normalized kernel.
        kind: "normalized", whose eigenvalues lie in [0, 2], or "unnormalized".

    Raises:
        InputError: the kind is unknown, or the adjacency not as above.
    """
    check_choice("kernel", kind, KERNELS)
    return kernel_of(checked(adjacency), kind)


def kernel_of(adjacency: Matrix, kind: str) -> Matrix:
    """Return the kernel (N, N) of a checked adjacency; see `graph_kernel`."""
    degrees = adjacency.sum(1)
    if isinstance(adjacency, Tensor):
        if kind == "unnormalized":
            return adjacency + degrees.diag()
        scale = degrees.rsqrt().masked_fill(degrees == 0, 0)
        return torch.eye(len(degrees), dtype=torch.float64) + scale[:, None] * adjacency * scale
    if kind == "unnormalized":
        return csr_array(diags_array(degrees) + adjacency)
    roots = np.divide(1, np.sqrt(degrees), out=np.zeros_like(degrees), where=degrees > 0)
    return csr_array(eye_array(len(roots)) + scaled(adjacency, roots))
