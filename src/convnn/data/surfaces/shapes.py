"""Surfaces without files: shapes whose distance is known exactly, and noisy points of them."""

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_not_negative, check_positive
from convnn.ops.cloud import Cloud

SHELL = 0.02
"""Half of the thickness of the shell in which points are drawn before they move to the surface."""


class Shape:
    """A solid around the origin, given by the signed distance to its surface.

    Attributes:
        reach: half of the sides (x, y, z) of a box around it.
    """

    reach: tuple[float, float, float]

    def distance(self, points: Tensor) -> Tensor:
        """Return the signed distances (N,) of points (N, 3), negative inside."""
        raise NotImplementedError

    def normals(self, points: Tensor) -> Tensor:
        """Return the outward normals (N, 3), the gradients of the distance."""
        with torch.enable_grad():
            leaves = points.detach().requires_grad_()
            (slopes,) = torch.autograd.grad(self.distance(leaves).sum(), leaves)
        return slopes

    def project(self, points: Tensor) -> Tensor:
        """Return the nearest points (N, 3) on the surface."""
        return points - self.distance(points).unsqueeze(1) * self.normals(points)

    def sample(
        self,
        count: int,
        generator: torch.Generator | None = None,
        *,
        noise: float = 0.0,
        normal_noise: float = 0.0,
        dtype: torch.dtype = torch.float64,
    ) -> Cloud:
        """Draw points of the surface, with their normals.

        Points are drawn evenly in a thin shell around the surface and moved to it, so that they are even by area but
        for the square of thickness times curvature.

        Args:
            count: number of points, at least 1.
            generator: of the random numbers.
            noise: deviation of each coordinate of a point.
            normal_noise: deviation of each coordinate of a normal, which then gets length 1 again.
            dtype: type of the numbers.

        Raises:
            InputError: an argument is out of range.
        """
        check_at_least("count", count, 1)
        check_not_negative("noise", noise)
        check_not_negative("normal_noise", normal_noise)
        shell = SHELL * min(self.reach)
        sides = 2 * (torch.tensor(self.reach, dtype=dtype) + shell)
        found: list[Tensor] = []
        while sum(map(len, found)) < count:
            draws = (torch.rand(1 << 15, 3, generator=generator, dtype=dtype) - 0.5) * sides
            found.append(draws[self.distance(draws).abs() < shell])
        points = self.project(torch.cat(found)[:count])
        normals = self.normals(points) + normal_noise * torch.randn(count, 3, generator=generator, dtype=dtype)
        points = points + noise * torch.randn(count, 3, generator=generator, dtype=dtype)
        return Cloud(points, torch.nn.functional.normalize(normals))


class Sphere(Shape):
    """A ball.

    Args:
        radius: its radius, positive.
    """

    def __init__(self, radius: float = 1.0) -> None:
        check_positive("radius", radius)
        self.radius = radius
        self.reach = (radius,) * 3

    def distance(self, points: Tensor) -> Tensor:
        """Return the length of a point, less the radius."""
        return points.norm(dim=1) - self.radius


class Torus(Shape):
    """A ring around the z axis.

    Args:
        radius: of the circle in its middle.
        tube: of the tube around that circle, less than `radius`.
    """

    def __init__(self, radius: float = 0.75, tube: float = 0.25) -> None:
        check_positive("tube", tube)
        if not radius > tube:
            raise InputError(f"radius={radius} must be above tube={tube}, or the ring has no hole")
        self.radius, self.tube = radius, tube
        self.reach = (radius + tube, radius + tube, tube)

    def distance(self, points: Tensor) -> Tensor:
        """Return the distance from the circle, less the radius of the tube."""
        return torch.hypot(points[:, :2].norm(dim=1) - self.radius, points[:, 2]) - self.tube


class Box(Shape):
    """A box.

    Args:
        sides: half of its sides along x, y and z, positive.
    """

    def __init__(self, sides: tuple[float, float, float] = (0.9, 0.6, 0.4)) -> None:
        for side in sides:
            check_positive("sides", side)
        self.reach = sides

    def distance(self, points: Tensor) -> Tensor:
        """Return the distance from the nearest corner, edge or side outside, and from the nearest side inside."""
        beyond = points.abs() - points.new_tensor(self.reach)
        deepest = beyond.amax(1)
        return torch.where(deepest > 0, beyond.clamp(min=0).norm(dim=1), deepest)


class Blend(Shape):
    r"""Two balls on the z axis and a fillet between them, which touches both smoothly.

    The shape is one of revolution. In the half plane of :math:`\rho` and :math:`|z|`, the fillet is the arc of a circle
    around :math:`F = (\sqrt{(r + s)^2 - a^2}, 0)` of radius s, which meets the circle around :math:`C = (0, a)` of
    radius r on the line CF. Below that line the nearest point lies on the arc, elsewhere on the ball.

    Args:
        radius: r of the balls.
        apart: a, the distance of their centres from the origin.
        fillet: s, the radius of the fillet, so large that it closes the gap: :math:`(r + s)^2 > a^2 + s^2`.
    """

    def __init__(self, radius: float = 0.5, apart: float = 0.55, fillet: float = 0.4) -> None:
        for name, value in (("radius", radius), ("apart", apart), ("fillet", fillet)):
            check_positive(name, value)
        if not (radius + fillet) ** 2 > apart**2 + fillet**2:
            raise InputError(f"fillet={fillet} leaves a gap between balls of radius={radius} at apart={apart}")
        self.radius, self.apart, self.fillet = radius, apart, fillet
        self.reach = (radius, radius, apart + radius)

    def distance(self, points: Tensor) -> Tensor:
        """Return the distance from the ball, or below the line CF from the fillet."""
        across, height = points[:, :2].norm(dim=1), points[:, 2].abs()
        center = ((self.radius + self.fillet) ** 2 - self.apart**2) ** 0.5
        to_ball = torch.hypot(across, height - self.apart) - self.radius
        to_fillet = self.fillet - torch.hypot(across - center, height)
        return torch.where(across / center + height / self.apart < 1, to_fillet, to_ball)


SHAPES: dict[str, type[Shape]] = {"sphere": Sphere, "torus": Torus, "box": Box, "blend": Blend}
"""The shapes by name, each with sizes of its own that fit into a box of about 2."""


def make_shape(name: str) -> Shape:
    """Return the shape of a name, in its own sizes.

    Raises:
        InputError: no shape has that name.
    """
    check_choice("shape", name, SHAPES)
    return SHAPES[name]()
