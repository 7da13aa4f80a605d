"""A function in space, made of kernels on sparse voxels, whose level 0 is a surface."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_positive
from convnn.models.surfaces.hierarchy import Hierarchy
from convnn.models.surfaces.spline_kernel import SplineKernel
from convnn.ops.cloud import check_rows
from convnn.ops.implicit import Entries, SparseSolver, attach_gradient
from convnn.ops.rows import take_rows


class Fit(NamedTuple):
    """How a field was solved for.

    Attributes:
        unknowns: number of voxels of all depths.
        entries: of the matrix that are not 0.
        steps: of conjugate gradients.
        residual: length of what is left, as a share of the right side.
        converged: whether that is within the tolerance.
    """

    unknowns: int
    entries: int
    steps: int
    residual: float
    converged: bool


class KernelField(nn.Module):
    r"""A sum of kernels around the voxels of a hierarchy; positive inside of the surface, negative outside.

    .. math:: f(x) = \sum_d \sum_v \alpha_{dv} K_d(x, v)

    Only voxels near x count, so that far from all of them f is 0, which is no surface: ask `Hierarchy.near`.

    Args:
        hierarchy: the voxels.
        features: for each depth (V, C), or None; without any, the kernel is a B-spline.
        interpolators: a module for each depth, which maps interpolated features; None compares them as they are.

    Attributes:
        alpha: (V,) for each depth, or None where it has no voxels; None before `fit`.
        solved: how `fit` went; absent before.

    Raises:
        InputError: features or interpolators do not fit the hierarchy.

    Reference:
        Huang et al., "Neural Kernel Surface Reconstruction", arXiv 2305.19590.
    """

    solved: Fit

    def __init__(
        self,
        hierarchy: Hierarchy,
        features: Sequence[Tensor | None] | None = None,
        interpolators: Sequence[nn.Module] | nn.ModuleList | None = None,
    ) -> None:
        super().__init__()
        for name, given in (("features", features), ("interpolators", interpolators)):
            if given is not None and len(given) != hierarchy.depth:
                raise InputError(f"{name} of {len(given)} depths must have one for each of {hierarchy.depth}")
        self.hierarchy = hierarchy
        self.interpolators = None if interpolators is None else nn.ModuleList(interpolators)
        self.kernels: list[SplineKernel | None] = []
        self.starts = [0]  # the first unknown of each depth, and the number of all
        for depth, (size, voxels) in enumerate(zip(hierarchy.sizes, hierarchy.grids, strict=True)):
            z = None if features is None else features[depth]
            mapped = None if self.interpolators is None else self.interpolators[depth]
            self.kernels.append(None if voxels is None else SplineKernel(voxels, size, z, mapped))
            self.starts.append(self.starts[-1] + (0 if voxels is None else len(voxels)))
        self.alpha: list[Tensor | None] | None = None

    def fit(
        self,
        points: Tensor,
        normal_points: Tensor,
        normals: Tensor,
        *,
        pos_weight: float,
        normal_weight: float,
        reg_weight: float = 1.0,
        tol: float = 1e-5,
        max_iter: int = 2000,
    ) -> "KernelField":
        r"""Solve for the field that is 0 at points, and whose gradient at others is minus the outward normal.

        .. math:: (w_p G^T G + w_n Q^T Q + w_r R)\, \alpha = - w_n Q^T n

        G has the kernels at the points, Q their gradients at the others, and R the products of the voxels of each
        depth. What depends on features, interpolators and normals has gradients, by one more solve.

        Args:
            points: (N, 3) where the field should be 0.
            normal_points: (P, 3) where its gradient is asked for.
            normals: (P, 3) outward.
            pos_weight, normal_weight, reg_weight: :math:`w_p, w_n, w_r`, positive.
            tol: of the residual, as a share of the right side.
            max_iter: the most steps of conjugate gradients. If they do not suffice, `solved` says so.

        Raises:
            InputError: an argument is out of range.
        """
        check_rows("points", points)
        check_rows("normal_points", normal_points)
        check_rows("normals", normals, like=normal_points)
        weights = {"pos_weight": pos_weight, "normal_weight": normal_weight, "reg_weight": reg_weight, "tol": tol}
        for name, value in weights.items():
            check_positive(name, value)
        check_at_least("max_iter", max_iter, 1)
        targets = -normals.flatten()
        parts = [self.values(points), self.slopes(normal_points), self.gram(points)]
        at, slope, gram = (part.to_scipy() for part in parts)
        matrix = pos_weight * (at.T @ at) + normal_weight * (slope.T @ slope) + reg_weight * gram
        solver = SparseSolver(matrix.tocsr(), tol=tol, max_iter=max_iter)
        right = normal_weight * (parts[1].T @ targets)
        found = solver.solve(right.detach())
        alpha = found.x[:, 0]
        if right.requires_grad or parts[2].values.requires_grad:
            at, slope, gram = parts
            left = pos_weight * (at.T @ (at @ alpha)) + normal_weight * (slope.T @ (slope @ alpha))
            alpha = attach_gradient(alpha, right - left - reg_weight * (gram @ alpha), solver)
        self.solved = Fit(len(alpha), matrix.nnz, found.n_iter, found.residual, found.converged)
        ends = zip(self.kernels, self.starts[:-1], self.starts[1:], strict=True)
        self.alpha = [None if kernel is None else alpha[first:end] for kernel, first, end in ends]
        return self

    def forward(self, points: Tensor, *, grad: bool = False) -> tuple[Tensor, Tensor]:
        """Return the field (N,) at points (N, 3) and its gradient (N, 3), or (N, 0); both are 0 far from all voxels.

        Raises:
            InputError: the field is not fitted, or points are no (N, 3).
        """
        check_rows("points", points)
        if self.alpha is None:
            raise InputError("the field has no alpha; call fit first")
        value, slope = points.new_zeros(points.shape[0]), points.new_zeros(points.shape[0], 3 if grad else 0)
        for kernel, alpha in zip(self.kernels, self.alpha, strict=True):
            if kernel is None or alpha is None:
                continue
            rows = kernel.rows(points, slopes=grad)
            value = value.index_add(0, rows.points, rows.values * take_rows(alpha, rows.voxels))
            if grad:
                slope = slope.index_add(0, rows.points, rows.slopes * take_rows(alpha, rows.voxels).unsqueeze(1))
        return value, slope

    def _joined(self, parts: Iterable[tuple[Tensor, Tensor, Tensor]], rows: int) -> Entries:
        """Put the entries (row, column, value) of the depths side by side."""
        row, column, value = (torch.cat(part) for part in zip(*parts, strict=True))
        return Entries(row, column, value, (rows, self.starts[-1]))

    def _active(self) -> list[tuple[int, SplineKernel]]:
        """Return the kernels of the depths that have voxels, and the numbers of their first unknowns."""
        return [(start, kernel) for start, kernel in zip(self.starts, self.kernels, strict=False) if kernel is not None]

    def values(self, points: Tensor) -> Entries:
        """Return the kernels at points (N, 3): N rows, and a column for each unknown."""
        found = ((start, kernel.rows(points)) for start, kernel in self._active())
        return self._joined(((one.points, start + one.voxels, one.values) for start, one in found), points.shape[0])

    def slopes(self, points: Tensor) -> Entries:
        """Return the gradients of the kernels at points (N, 3): three rows for each."""
        axes = torch.arange(3, device=points.device)
        parts = []
        for start, kernel in self._active():
            one = kernel.rows(points, slopes=True)
            rows = (3 * one.points.unsqueeze(1) + axes).flatten()
            parts.append((rows, (start + one.voxels).repeat_interleave(3), one.slopes.flatten()))
        return self._joined(parts, 3 * points.shape[0])

    def gram(self, like: Tensor) -> Entries:
        """Return the products of the voxels of each depth, in the type of a tensor."""
        found = ((start, kernel.gram()) for start, kernel in self._active())
        return self._joined(
            ((start + one.points, start + one.voxels, one.values.to(like)) for start, one in found), self.starts[-1]
        )
