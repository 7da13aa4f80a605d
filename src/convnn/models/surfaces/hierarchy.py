"""Voxels of several sizes: fine ones where a surface bends, coarse ones around it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_not_negative, check_positive
from convnn.ops.cloud import check_rows
from convnn.ops.voxels import Voxels, local, offsets, splat, unique, voxel_of


@dataclass(frozen=True)
class Hierarchy:
    r"""Voxels of sizes h, 2h, 4h and so on.

    Attributes:
        voxel_size: h, of the finest.
        grids: the voxels of each depth, the finest first; None where a depth has none.

    Raises:
        InputError: the size is not positive, or no depth has voxels.
    """

    voxel_size: float
    grids: tuple[Voxels | None, ...]

    def __post_init__(self) -> None:
        check_positive("voxel_size", self.voxel_size)
        if not any(self.grids):
            raise InputError(f"grids={self.grids} must have voxels at one depth at least")

    @property
    def depth(self) -> int:
        """The number of depths."""
        return len(self.grids)

    @property
    def sizes(self) -> tuple[float, ...]:
        """The size of the voxels of each depth."""
        return tuple(self.voxel_size * 2**depth for depth in range(self.depth))

    @property
    def centers(self) -> tuple[Tensor | None, ...]:
        """The centres (V, 3) of the voxels of each depth, float64, or None."""
        pairs = zip(self.grids, self.sizes, strict=True)
        return tuple(None if one is None else size * (one.ijk.double() + 0.5) for one, size in pairs)

    def near(self, depths: int = 1) -> Voxels:
        """Return voxels of the finest size that are in or beside one of the first depths, where a surface may be."""
        found = []
        for level, voxels in enumerate(self.grids[:depths]):
            if voxels is not None:
                inside = offsets(*range(2**level))
                found.append((voxels.spread().ijk.unsqueeze(1) * 2**level + inside).flatten(0, 1))
        if not found:
            raise InputError(f"depths={depths} has no voxels; take more")
        return unique(torch.cat(found))

    @classmethod
    def of_points(cls, points: Tensor, voxel_size: float, depth: int) -> "Hierarchy":
        """Return at every depth the eight voxels around each of the points (N, 3).

        Raises:
            InputError: points, size or depth are out of range.
        """
        check_rows("points", points)
        check_positive("voxel_size", voxel_size)
        check_at_least("depth", depth, 1)
        return cls(voxel_size, tuple(splat(points, voxel_size * 2**level) for level in range(depth)))

    @classmethod
    def adaptive(
        cls, points: Tensor, normals: Tensor, voxel_size: float, depth: int, *, adaptive_depth: int, tau: float
    ) -> "Hierarchy":
        """Return fine voxels only where normals vary.

        From the coarsest depth down, the eight voxels around each remaining point are taken. On the way from a depth d
        with 0 < d < adaptive_depth to d - 1, points remain only in voxels in which the absolute coordinates of the
        normals have standard deviations that add up to more than tau.

        Args:
            points, normals: (N, 3) each.
            voxel_size: of depth 0.
            depth: number of depths, at least 1.
            adaptive_depth: depths from this one on are full.
            tau: smallest variation at which voxels are divided, at least 0.

        Raises:
            InputError: an argument is out of range.
        """
        check_rows("points", points)
        check_rows("normals", normals, like=points)
        check_positive("voxel_size", voxel_size)
        check_at_least("depth", depth, 1)
        check_at_least("adaptive_depth", adaptive_depth, 1)
        check_not_negative("tau", tau)
        grids: list[Voxels | None] = [None] * depth
        for level in reversed(range(depth)):
            size = voxel_size * 2**level
            grids[level] = splat(points, size)
            if 0 < level < adaptive_depth:
                remains = _variation(points, normals, size) > tau
                points, normals = points[remains], normals[remains]
                if not points.shape[0]:
                    break
        return cls(voxel_size, tuple(grids))


def _variation(points: Tensor, normals: Tensor, size: float) -> Tensor:
    """Return for each point (N,) the summed deviations of the absolute normals in its voxel."""
    _, group, counts = voxel_of(local(points, size)).unique(dim=0, return_inverse=True, return_counts=True)
    values = normals.abs()
    sums = values.new_zeros(len(counts), 3).index_add(0, group, values)
    spread = (values - (sums / counts.unsqueeze(1))[group]).square()
    squares = values.new_zeros(len(counts), 3).index_add(0, group, spread)
    freedom = (counts - 1).clamp(min=1).to(values) + 1e-6
    return (squares / freedom.unsqueeze(1)).sqrt().sum(1)[group]


def choose_voxel_size(points: Tensor, points_per_voxel: float) -> float:
    """Return the size at which the voxels that hold points hold so many on average, by halving an interval.

    Args:
        points: (N, 3).
        points_per_voxel: more than 1 and less than N.

    Raises:
        InputError: an argument is out of range, or all points are at one place.
    """
    check_rows("points", points)
    if not 1 < points_per_voxel < points.shape[0]:
        raise InputError(f"points_per_voxel={points_per_voxel} must be above 1 and below the {points.shape[0]} points")
    reach = float((points - points.mean(0)).abs().amax())
    if bool((points == points[0]).all()):  # the mean of equal numbers may be another
        raise InputError("points must not all be at one place")
    lower, upper = reach * 1e-6, 4 * reach
    for _ in range(40):
        middle = (lower * upper) ** 0.5
        held = points.shape[0] / len(voxel_of(local(points, middle)).unique(dim=0))
        lower, upper = (middle, upper) if held < points_per_voxel else (lower, middle)
    return upper
