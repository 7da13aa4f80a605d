"""A surface from points with normals, in the form of scikit-learn."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from convnn.data.surfaces.mesh import Mesh, extract_mesh
from convnn.errors import InputError, check_at_least, check_choice, check_positive
from convnn.models.surfaces.field import KernelField
from convnn.models.surfaces.hierarchy import Hierarchy, choose_voxel_size
from convnn.ops.cloud import check_rows
from convnn.ops.voxels import local, voxel_of


class NeuralKernelSurface(BaseEstimator):
    r"""Reconstruct a surface from points and normals, with the kernel that needs no training.

    Select: of voxels of several sizes, the 27 of each size around a place. Weigh: by a B-spline of the distance.
    Aggregate: a sum with coefficients for which a sparse linear system is solved, so that the function is 0 at the
    points and its gradient is minus the normal. Its level 0 is the surface, and it is positive inside.

    Args:
        voxel_size: side h of the finest voxels; None takes the one at which voxels hold `points_per_voxel` on average.
        points_per_voxel: detail where no size is given: fewer points see more, and more noise.
        depth: sizes h, 2h, 4h and so on; coarse ones close gaps.
        adaptive_depth: 1 has the finest voxels everywhere; d divides the voxels of the first d sizes only where normals
            vary by more than `tau`.
        tau: see `Hierarchy.adaptive`.
        normals_at: where the gradient is asked for: "voxels" at the centres of the voxels of the first `adaptive_depth`
            sizes, at which the normals of the points around are averaged; "points" at the points themselves, which is
            nearer to smooth surfaces, but may leave false ones beside edges.
        pos_weight: weight of the values at all points together.
        normal_weight: weight of all gradients together, in units of 1 / h^2.
        reg_weight: weight of the function's own smoothness.
        tol, max_iter: of conjugate gradients.

    Attributes:
        field_: the `KernelField`, fitted; `field_.solved` says how it went.

    Raises:
        InputError: in `fit`, an argument is out of range.

    Reference:
        Huang et al., "Neural Kernel Surface Reconstruction", arXiv 2305.19590. There features of the kernel are
        learned, and a network predicts the normals at the centres of voxels.
    """

    def __init__(
        self,
        voxel_size: float | None = None,
        *,
        points_per_voxel: float = 2.0,
        depth: int = 4,
        adaptive_depth: int = 1,
        tau: float = 0.2,
        normals_at: str = "voxels",
        pos_weight: float = 1e4,
        normal_weight: float = 1e4,
        reg_weight: float = 1.0,
        tol: float = 1e-5,
        max_iter: int = 2000,
    ) -> None:
        self.voxel_size = voxel_size
        self.points_per_voxel = points_per_voxel
        self.depth = depth
        self.adaptive_depth = adaptive_depth
        self.tau = tau
        self.normals_at = normals_at
        self.pos_weight = pos_weight
        self.normal_weight = normal_weight
        self.reg_weight = reg_weight
        self.tol = tol
        self.max_iter = max_iter

    def fit(self, X: Any, normals: Any) -> "NeuralKernelSurface":
        """Solve for the field.

        Args:
            X: points (N, 3), a tensor or array; integers become float64.
            normals: (N, 3) outward, of length 1.

        Raises:
            InputError: an argument is out of range.
        """
        points, normals = _tensor(X), _tensor(normals)
        check_rows("X", points)
        check_rows("normals", normals, like=points)
        for name in ("pos_weight", "normal_weight", "reg_weight"):
            check_positive(name, getattr(self, name))
        check_choice("normals_at", self.normals_at, ("voxels", "points"))
        size = choose_voxel_size(points, self.points_per_voxel) if self.voxel_size is None else self.voxel_size
        hierarchy = self._hierarchy(points, normals, size)
        places, targets = points, normals.to(points)
        if self.normals_at == "voxels":
            places, targets = splat_normals(hierarchy, points, targets, self.adaptive_depth)
        if not targets.any():
            raise InputError("normals are 0, or cancel each other in every voxel; they must be outward, of length 1")
        with torch.no_grad():
            self.field_ = KernelField(hierarchy).fit(
                points,
                places,
                targets,
                pos_weight=self.pos_weight / len(points),
                normal_weight=self.normal_weight / len(places) * size**2,
                reg_weight=self.reg_weight,
                tol=self.tol,
                max_iter=self.max_iter,
            )
        return self

    def predict(self, X: Any) -> NDArray[np.floating]:
        """Return the field (n,) at points (n, 3): positive inside, negative outside, 0 far from all points."""
        check_is_fitted(self)
        with torch.no_grad():
            return self.field_(_tensor(X))[0].numpy()

    def mesh(self, resolution: int = 2) -> Mesh:
        """Return the surface as a mesh, by marching cubes in and beside the finest voxels.

        Args:
            resolution: cubes along a side of the finest voxels, at least 1.

        Raises:
            InputError: the field is nowhere 0 near the points; or scikit-image is not installed.
        """
        check_is_fitted(self)
        return mesh_of(self.field_, resolution, self.adaptive_depth)

    def _hierarchy(self, points: Tensor, normals: Tensor, size: float) -> Hierarchy:
        if self.adaptive_depth == 1:
            return Hierarchy.of_points(points, size, self.depth)
        return Hierarchy.adaptive(points, normals, size, self.depth, adaptive_depth=self.adaptive_depth, tau=self.tau)


@torch.no_grad()
def mesh_of(field: KernelField, resolution: int = 2, depths: int = 1) -> Mesh:
    """Return the level 0 of a fitted field as a mesh, by marching cubes in and beside its finest voxels.

    Args:
        field: the field.
        resolution: cubes along a side of the finest voxels, at least 1.
        depths: in and beside the voxels of how many first depths the surface may be.

    Raises:
        InputError: the field is nowhere 0 near the voxels; or scikit-image is not installed.
    """
    check_at_least("resolution", resolution, 1)
    hierarchy = field.hierarchy
    size, near = hierarchy.voxel_size, hierarchy.near(depths)
    lower, upper = near.ijk.amin(0).double() * size, (near.ijk.amax(0) + 1).double() * size
    is_near = lambda x: near.find(voxel_of(x / size - 0.5)) >= 0  # noqa: E731
    return extract_mesh(lambda x: field(x)[0], lower, upper, size / resolution, known=is_near, bisections=1)


def splat_normals(hierarchy: Hierarchy, points: Tensor, normals: Tensor, depths: int) -> tuple[Tensor, Tensor]:
    """Return the centres (V, 3) of the voxels of the first depths, and the normals (V, 3) of the points around them.

    A point counts at the eight centres around it by the weights of linear interpolation. Centres that have none around
    them, or opposite ones that cancel, are left out.
    """
    centers, found = [], []
    for size, voxels in list(zip(hierarchy.sizes, hierarchy.grids, strict=True))[:depths]:
        if voxels is None:
            continue
        point, voxel, _, shares = voxels.corners(local(points, size))
        weight = shares.prod(1, keepdim=True)
        sums = normals.new_zeros(len(voxels), 3).index_add(0, voxel, weight * normals[point])
        has_some = sums.norm(dim=1) > 1e-6
        centers.append(size * (voxels.ijk[has_some].to(points) + 0.5))
        found.append(torch.nn.functional.normalize(sums[has_some]))
    return torch.cat(centers), torch.cat(found)


def _tensor(array: Any) -> Tensor:
    """Return an array as a tensor of floats."""
    if not isinstance(array, Tensor):
        array = torch.from_numpy(np.require(np.asarray(array), requirements=["C", "W"]))
    return array.detach() if array.is_floating_point() else array.double()
