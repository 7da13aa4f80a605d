"""What follows from an assignment of nodes to supernodes: matrices, the coarse graph, the plan of transport, bounds."""

from dataclasses import dataclass

import torch
from scipy.sparse import csr_array, issparse
from torch import Tensor

from convnn.errors import UnsupportedError
from convnn.graphs.adjacency import Matrix, scaled
from convnn.graphs.coarsen.sparse_kmeans import between


@dataclass(frozen=True)
class Coarsening:
    r"""What follows from an assignment of N nodes to n supernodes.

    With the shares m of the nodes' weights, and c of the supernodes':

    Attributes:
        labels: (N,) the supernode of each node, each of 0 to n - 1 at least once.
        weights: (N,) m, whose sum is 1.
    """

    labels: Tensor
    weights: Tensor

    @property
    def membership(self) -> Tensor:
        """Which node is in which supernode, C (n, N), 0 or 1."""
        return torch.nn.functional.one_hot(self.labels).T.double()

    @property
    def mass(self) -> Tensor:
        """The share of each supernode, c (n,)."""
        return self.weights.new_zeros(int(self.labels.max()) + 1).index_add(0, self.labels, self.weights)

    @property
    def shares(self) -> Tensor:
        """The share of each node in its supernode, m_i / c_p (N,)."""
        return self.weights / self.mass[self.labels]

    @property
    def mean(self) -> Tensor:
        r"""Weights of means over the nodes of each supernode, :math:`\bar C_{pi} = C_{pi} m_i / c_p`."""
        return self.membership * self.weights / self.mass[:, None]

    @property
    def projection(self) -> Tensor:
        r"""The same with :math:`\sqrt{m_i / c_p}`, C_w (n, N), whose rows are orthonormal."""
        return self.mean.sqrt()

    def adjacency(self, adjacency: Matrix) -> Matrix:
        """Return C A C^T (n, n): sums of the weights between nodes, inside a supernode over ordered pairs."""
        if issparse(adjacency):
            return self._between(adjacency, torch.ones_like(self.weights))
        return self.membership @ adjacency.double() @ self.membership.T

    def similarity(self, kernel: Matrix) -> Matrix:
        r"""Return :math:`\bar C S \bar C^T`, means of the kernel."""
        return self._between(kernel, self.shares) if issparse(kernel) else self.mean @ kernel @ self.mean.T

    def spectral(self, kernel: Matrix) -> Matrix:
        """Return C_w S C_w^T, whose eigenvalues stand for those of S."""
        if issparse(kernel):
            return self._between(kernel, self.shares.sqrt())
        return self.projection @ kernel @ self.projection.T

    def features(self, x: Tensor) -> Tensor:
        """Return the weighted means (n, C) of the features (N, C) of the nodes of each supernode."""
        rows = x * self.shares.to(x.dtype).unsqueeze(1)
        return x.new_zeros(self.mass.shape[0], x.shape[1]).index_add(0, self.labels, rows)

    def objective(self, kernel: Matrix) -> float:
        r"""Return what weighted k-means minimises, :math:`\sum_i m_i \|\phi_i - \mu\|^2 = tr U - tr C_w U C_w^T`.

        Here :math:`U = M^{1/2} S M^{1/2}`, with M = diag(m).
        """
        weighted = self._weighted(kernel)
        return float(weighted.diagonal().sum() - self.spectral(weighted).diagonal().sum())

    def plan_cost(self, kernel: Matrix) -> float:
        r"""Return a bound on the squared Gromov-Wasserstein distance: the cost of the plan T = C diag(m).

        .. math:: GW_2^2 \le \sum_{pqij} (\bar S_{pq} - S_{ij})^2 T_{pi} T_{qj} = \|U\|_F^2 - \|C_w U C_w^T\|_F^2
        """
        weighted = self._weighted(kernel)
        return float((weighted**2).sum() - (self.spectral(weighted) ** 2).sum())

    def spectral_bound(self, kernel: Matrix) -> float:
        r"""Return a bound on the cost of the plan from eigenvalues alone, of U and of C_w U C_w^T, in descending order.

        .. math::
            \lambda_{N-n+1} \sum_{i \le n} (\lambda_i - \lambda^c_i) + \sum_i \lambda_i^2
            - \sum_{i \le n} \lambda_i \lambda_{N-n+i}

        Raises:
            UnsupportedError: the kernel is sparse.
        """
        if issparse(kernel):
            raise UnsupportedError("kernel must be dense, because the bound needs all of its eigenvalues")
        weighted = self._weighted(kernel)
        all_, coarse = (torch.linalg.eigvalsh(one).flip(0) for one in (weighted, self.spectral(weighted)))
        nodes, n = len(all_), len(coarse)
        lost = all_[nodes - n] * (all_[:n] - coarse).sum()
        return float(lost + all_.square().sum() - (all_[:n] * all_[nodes - n :]).sum())

    def _weighted(self, kernel: Matrix) -> Matrix:
        roots = self.weights.sqrt()
        return scaled(kernel, roots.numpy()) if issparse(kernel) else roots[:, None] * kernel * roots

    def _between(self, matrix: csr_array, factors: Tensor) -> csr_array:
        return between(matrix, self.labels.numpy(), factors.numpy(), self.mass.shape[0])
