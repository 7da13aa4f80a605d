"""Sparse linear systems whose solutions know their gradients, by the implicit function theorem."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.autograd.function import once_differentiable

from convnn.errors import InputError
from convnn.ops.iterative import Map, Solution, conjugate_gradients
from convnn.ops.rows import take_rows


@dataclass(frozen=True)
class Entries:
    """A sparse matrix by its entries; those at the same place add up. Values may have gradients.

    Attributes:
        rows, columns: (M,) int64.
        values: (M,).
        shape: numbers of rows and columns.
    """

    rows: Tensor
    columns: Tensor
    values: Tensor
    shape: tuple[int, int]

    @property
    def T(self) -> "Entries":
        """The transpose."""
        return Entries(self.columns, self.rows, self.values, self.shape[::-1])

    def __matmul__(self, vector: Tensor) -> Tensor:
        """Multiply by a vector."""
        out = self.values.new_zeros(self.shape[0])
        return out.index_add(0, self.rows, self.values * take_rows(vector, self.columns))

    def to_scipy(self) -> csr_matrix:
        """Return the values without their gradients."""
        rows, columns, values = (one.detach().cpu().numpy() for one in (self.rows, self.columns, self.values))
        return csr_matrix((values, (rows, columns)), shape=self.shape)


class SparseSolver:
    """Conjugate gradients for a sparse matrix, preconditioned by its diagonal.

    Args:
        matrix: symmetric and positive definite.
        tol: of the residual's length, as a share of that of the right side.
        max_iter: the most steps.

    Raises:
        InputError: an entry of the diagonal is not positive.
    """

    def __init__(self, matrix: csr_matrix, *, tol: float, max_iter: int) -> None:
        self.matrix, self.tol, self.max_iter = matrix, tol, max_iter
        diagonal = matrix.diagonal()
        if not (diagonal > 0).all():
            raise InputError(f"the matrix has {diagonal.min()} on its diagonal; it must be positive definite")
        self._inverse = torch.from_numpy(1 / diagonal).unsqueeze(1)

    def solve(self, b: Tensor) -> Solution:
        """Solve for one right side (n,); the solution is (n, 1)."""
        inverse = self._inverse.to(b)

        def apply(x: Tensor) -> Tensor:
            return torch.from_numpy(np.asarray(self.matrix @ x.cpu().numpy())).to(x)

        precondition: Map = lambda rest: inverse * rest  # noqa: E731
        return conjugate_gradients(
            apply, b.unsqueeze(1), precondition=precondition, tol=self.tol, max_iter=self.max_iter
        )


def attach_gradient(solution: Tensor, residual: Tensor, solver: SparseSolver) -> Tensor:
    r"""Return a solution of A x = b with the gradients of everything that A and b are made of.

    At a solution, :math:`dx = A^{-1}\,(db - dA\,x)`. So whoever computes the residual b - A x from parameters, with x
    held fixed, needs no derivative by hand: the gradient g of x becomes :math:`A^{-1} g` of the residual, by one more
    solve, and from there PyTorch goes on.

    Args:
        solution: x (n,), without gradients.
        residual: b - A x (n,), with gradients with respect to what A and b depend on.
        solver: of the symmetric matrix A.
    """
    return _Attach.apply(residual, solution, solver)


class _Attach(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, residual: Tensor, solution: Tensor, solver: SparseSolver) -> Tensor:
        ctx.solver = solver
        return solution.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.solver.solve(grad).x[:, 0], None, None
