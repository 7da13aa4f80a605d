r"""Sparse voxels: which cells of a grid hold something, and which of them are near a point.

A voxel :math:`(i, j, k)` of size h has its centre at :math:`h\,(i + 1/2, j + 1/2, k + 1/2)`. In the local coordinates
:math:`p = x / h - 1/2` of a point x the centres are whole numbers.
"""

from itertools import product

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops.rows import take_rows

SNAP = 1e-6
"""Distance from a whole number within which a local coordinate counts as it: rounding does not choose the side."""
FARTHEST = 1 << 40
"""The largest coordinate of a voxel, in either direction."""


def offsets(*steps: int) -> Tensor:
    """Return all triples of the steps, (n^3, 3) int64."""
    return torch.tensor(list(product(steps, repeat=3)), device="cpu")  # whatever device this is imported for


NEAREST, CORNERS = offsets(-1, 0, 1), offsets(0, 1)
"""Offsets of the 27 voxels around one, and of the 8 at the corners of a cell."""


class Voxels:
    """A set of voxels, which are found by their coordinates.

    Args:
        ijk: (V, 3) int64, V at least 1, each voxel once, in any order; rows of features follow that order.

    Raises:
        InputError: shape or type is wrong, or a voxel occurs twice.
    """

    def __init__(self, ijk: Tensor) -> None:
        if ijk.dim() != 2 or ijk.shape[1] != 3 or not ijk.shape[0] or ijk.is_floating_point():
            raise InputError(
                f"ijk of shape {tuple(ijk.shape)} and {ijk.dtype} must be (V, 3), V at least 1, of integers"
            )
        self.ijk = ijk.long()
        self._first = self.ijk.amin(0)
        self._sides = self.ijk.amax(0) - self._first + 1
        if float(self._sides.double().prod()) >= 2.0**63:
            sides = " x ".join(map(str, self._sides.tolist()))
            raise InputError(f"voxels spread over {sides} cells, too many to number; take a larger voxel_size")
        self._keys, self._order = self._number(self.ijk - self._first).sort()
        if bool((self._keys[1:] == self._keys[:-1]).any()):
            raise InputError("ijk must have each voxel once")

    def __len__(self) -> int:
        return self.ijk.shape[0]

    def _number(self, steps: Tensor) -> Tensor:
        _, wide, deep = self._sides
        return (steps[..., 0] * wide + steps[..., 1]) * deep + steps[..., 2]

    def find(self, ijk: Tensor) -> Tensor:
        """Return the rows (...) of voxels (..., 3), and -1 for those that are not in the set."""
        steps = ijk - self._first
        is_inside = ((steps >= 0) & (steps < self._sides)).all(-1)
        keys = self._number(steps.where(is_inside.unsqueeze(-1), 0))
        place = torch.searchsorted(self._keys, keys).clamp(max=len(self) - 1)
        return self._order[place].where(is_inside & (self._keys[place] == keys), -1)

    def around(self, cells: Tensor, steps: Tensor = NEAREST) -> tuple[Tensor, Tensor, Tensor]:
        """Select the voxels at given offsets from cells.

        Args:
            cells: (N, 3) int64.
            steps: (O, 3) int64 offsets.

        Returns:
            Rows of cells, rows of the set, and rows of `steps`, each (M,), ordered by cell and step.
        """
        found = self.find(cells.unsqueeze(1) + steps.to(cells.device))
        cell, step = (found >= 0).nonzero(as_tuple=True)
        return cell, found[cell, step], step

    def corners(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Select the voxels between whose centres places lie, up to eight for each, with their shares of it.

        Args:
            places: (N, 3) local coordinates.

        Returns:
            Rows of places and rows of the set, each (M,); (M, 3) bool, whether the voxel is at the far side of the cell
            along each axis; and (M, 3) the shares along each axis, whose product is the weight of linear interpolation.
        """
        cell = cell_of(places.detach())
        place, voxel, corner = self.around(cell, CORNERS)
        is_far = CORNERS.to(places.device)[corner] == 1
        share = take_rows(places - cell.to(places), place)
        return place, voxel, is_far, torch.where(is_far, share, 1 - share)

    def spread(self, steps: Tensor = NEAREST) -> "Voxels":
        """Return the set with everything at given offsets from it, in lexicographic order."""
        return unique((self.ijk.unsqueeze(1) + steps).flatten(0, 1))


def unique(ijk: Tensor) -> Voxels:
    """Return the set of voxels (N, 3) with each once, in lexicographic order."""
    return Voxels(ijk.unique(dim=0))


def local(points: Tensor, size: float) -> Tensor:
    """Return the local coordinates of points (N, 3), in which the centres of voxels of a size are whole numbers.

    Raises:
        InputError: a point is too far away for voxels of that size.
    """
    places = points / size - 0.5
    if not bool((places.abs() < FARTHEST).all()):
        raise InputError(f"voxel_size={size} is too small for points at {points.abs().max().item():.3g}")
    return places


def cell_of(places: Tensor) -> Tensor:
    """Return the first corner (N, 3) of the cell between eight centres in which local coordinates lie."""
    nearest = places.round()
    return torch.where((places - nearest).abs() < SNAP, nearest, places.floor()).long()


def voxel_of(places: Tensor) -> Tensor:
    """Return the voxel (N, 3) in which local coordinates lie; half goes up."""
    return (places + 0.5).floor().long()


def splat(points: Tensor, size: float) -> Voxels:
    """Return the voxels whose centres are the corners of the cells in which points (N, 3) lie, lexicographically."""
    return unique((cell_of(local(points, size)).unsqueeze(1) + CORNERS).flatten(0, 1))


def children(ijk: Tensor) -> Tensor:
    """Return the eight voxels of half the size (8 V, 3) in each of given ones (V, 3), in their order."""
    return (2 * ijk.unsqueeze(1) + CORNERS).flatten(0, 1)
