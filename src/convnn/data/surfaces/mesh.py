"""Triangle meshes, and the level set of a function as one."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_positive
from convnn.ops.cloud import Cloud, check_rows
from convnn.packages import need

CHUNK = 1 << 16
"""Points at which a function is evaluated at once."""
MOST = 1 << 28
"""Points of a grid, beyond which it is refused: a billion bytes of float32."""

NEAR = 1e-4
"""Distance from a grid's point, in steps, within which a coordinate of a vertex is that of the point."""

Field = Callable[[Tensor], Tensor]
"""A function of points (N, 3) with values (N,)."""


@dataclass(frozen=True)
class Mesh:
    """A mesh of triangles.

    Attributes:
        vertices: (V, 3).
        faces: (F, 3) int64, the corners of each triangle, counter-clockwise from outside.
    """

    vertices: Tensor
    faces: Tensor

    @property
    def corners(self) -> Tensor:
        """(F, 3, 3) the corners of the triangles."""
        return self.vertices[self.faces]

    @property
    def face_vectors(self) -> Tensor:
        """(F, 3) outward, of the length of twice the area."""
        a, b, c = self.corners.unbind(1)
        return torch.linalg.cross(b - a, c - a)

    @property
    def vertex_normals(self) -> Tensor:
        """(V, 3) outward, of length 1: the mean of the triangles around a vertex, by area."""
        sums = torch.zeros_like(self.vertices)
        sums.index_add_(0, self.faces.flatten(), self.face_vectors.repeat_interleave(3, 0))
        return torch.nn.functional.normalize(sums)

    @property
    def areas(self) -> Tensor:
        """(F,) the areas of the triangles."""
        return self.face_vectors.norm(dim=1) / 2

    @property
    def volume(self) -> float:
        """The volume inside, if the mesh is closed; negative if its triangles face inward."""
        a, b, c = self.corners.unbind(1)
        return float((a * torch.linalg.cross(b, c)).sum() / 6)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Cloud:
        """Draw points evenly by area, with the normals of their triangles.

        Args:
            count: number of points, at least 1.
            generator: of the random numbers.

        Raises:
            InputError: the mesh has no area.
        """
        areas = self.areas
        if not self.faces.shape[0] or not bool(areas.sum() > 0):
            raise InputError(f"a mesh of {self.faces.shape[0]} triangles and no area has no points to draw")
        chosen = torch.multinomial(areas, count, replacement=True, generator=generator)
        u, v = torch.rand(2, count, 1, generator=generator, dtype=self.vertices.dtype)
        is_beyond = u + v > 1  # the other half of the parallelogram, turned onto the triangle
        u, v = torch.where(is_beyond, 1 - u, u), torch.where(is_beyond, 1 - v, v)
        a, b, c = self.corners[chosen].unbind(1)
        normals = torch.nn.functional.normalize(self.face_vectors[chosen])
        return Cloud(a + u * (b - a) + v * (c - a), normals)


def extract_mesh(
    field: Field,
    lower: Tensor,
    upper: Tensor,
    step: float,
    *,
    level: float = 0.0,
    inside: str = "positive",
    known: Callable[[Tensor], Tensor] | None = None,
    bisections: int = 0,
) -> Mesh:
    """Return the level set of a function in a box as a mesh, by marching cubes on a grid.

    Args:
        field: function of points (N, 3), called with a few ten thousand at a time.
        lower, upper: (3,) corners of the box; the grid begins at `lower`.
        step: distance of the grid's points.
        level: value of the function on the surface.
        inside: which side is inside, "positive" (above the level) or "negative" (as of a signed distance).
        known: function of points (N, 3) that says (N,) bool where the field means something. Cubes with a corner
            elsewhere are left out, and the field is not called there. None is everywhere.
        bisections: how often each crossed edge of the grid is halved by a new value of the function, before its
            vertex is placed in proportion to the values at both ends.

    Returns:
        The mesh, with outward triangles, in the type of `lower`.

    Raises:
        InputError: the box is empty, the grid too large, or the level is nowhere crossed.

    Reference:
        Lorensen and Cline, 1987, as scikit-image has it, in the form of Lewiner et al., 2003.
    """
    measure = need("skimage.measure", "a mesh", "surface")
    check_positive("step", step)
    check_choice("inside", inside, ("positive", "negative"))
    check_at_least("bisections", bisections, 0)
    sides = _sides(lower, upper, step)
    values, is_known = _evaluate(field, known, lower, step, sides)
    values = values - level
    try:
        places, faces, _, _ = measure.marching_cubes(
            values.numpy(),
            0.0,
            gradient_direction="ascent" if inside == "positive" else "descent",
            mask=None if known is None else _known_cubes(is_known).numpy(),
        )
    except (ValueError, RuntimeError):  # outside the range of the values, or in no cube that is known
        raise InputError(
            f"level={level} is crossed nowhere in the box; look elsewhere, or take a smaller step"
        ) from None
    places = torch.from_numpy(np.array(places)).to(lower)
    vertices = _place(lambda x: field(lower + step * x).to(lower) - level, values, places, bisections)
    return Mesh(lower + step * vertices, torch.from_numpy(np.array(faces)).long())


def _known_cubes(is_known: Tensor) -> Tensor:
    """Return which cubes have eight known corners, at the last corner of each, where scikit-image looks."""
    for axis in range(3):
        is_known = is_known & is_known.roll(1, axis)  # cubes that begin before the first point are never asked for
    return is_known


def _place(field: Field, values: Tensor, places: Tensor, bisections: int) -> Tensor:
    """Return where the function is 0 on the edges of the grid that have the vertices, in units of the grid.

    scikit-image computes in float32. The few vertices that it puts inside of cubes stay as they are.
    """
    first, last = (places + NEAR).floor(), (places - NEAR).ceil()
    is_on_edge = (first != last).sum(1) == 1
    a, b = first[is_on_edge], last[is_on_edge]
    at_a, at_b = (values[end.long().unbind(1)] for end in (a, b))
    for _ in range(bisections):
        middle = (a + b) / 2
        value = torch.cat([field(part) for part in middle.split(CHUNK)])
        is_beyond = ((value > 0) == (at_a > 0)).unsqueeze(1)
        a, b = torch.where(is_beyond, middle, a), torch.where(is_beyond, b, middle)
        is_beyond = is_beyond[:, 0]
        at_a, at_b = torch.where(is_beyond, value, at_a), torch.where(is_beyond, at_b, value)
    share = torch.where(at_a == at_b, 0.5, at_a / (at_a - at_b)).unsqueeze(1)
    placed = places.clone()
    placed[is_on_edge] = a + share * (b - a)
    return placed


def _sides(lower: Tensor, upper: Tensor, step: float) -> list[int]:
    """Return the number of points along each axis of a grid that covers a box."""
    check_rows("lower", lower.reshape(1, -1))
    check_rows("upper", upper.reshape(1, -1))
    if not bool((upper > lower).all()):
        raise InputError(f"upper={upper.tolist()} must be above lower={lower.tolist()} along each axis")
    sides = [int(side) + 1 for side in ((upper - lower) / step).ceil().tolist()]
    if sides[0] * sides[1] * sides[2] > MOST:
        raise InputError(f"step={step} makes a grid of {' x '.join(map(str, sides))} points; take a larger step")
    return sides


def _evaluate(
    field: Field, known: Callable[[Tensor], Tensor] | None, lower: Tensor, step: float, sides: list[int]
) -> tuple[Tensor, Tensor]:
    """Return the values on a grid, 0 where they are not known, and where they are."""
    values = torch.zeros(sides[0] * sides[1] * sides[2], dtype=lower.dtype)
    is_known = torch.ones(len(values), dtype=torch.bool)
    for first in range(0, len(values), CHUNK):
        index = torch.arange(first, min(first + CHUNK, len(values)))
        points = lower + step * torch.stack(torch.unravel_index(index, sides), 1).to(lower)
        if known is not None:
            is_known[index] = known(points)
            index, points = index[is_known[index]], points[is_known[index]]
        if len(index):
            values[index] = field(points).to(lower)
    return values.reshape(sides), is_known.reshape(sides)
