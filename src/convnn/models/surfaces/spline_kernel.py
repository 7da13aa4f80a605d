"""The kernel of a sparse field: a B-spline of the distance from a voxel's centre, times a learned inner product."""

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.ops.rows import take_rows
from convnn.ops.voxels import Voxels, local, voxel_of


def bspline(t: Tensor) -> Tensor:
    r"""Return twice the quadratic B-spline: its values at all whole distances add up to 2.

    .. math:: B(t) = \tfrac{3}{2} - 2 t^2 \ (|t| < \tfrac{1}{2}), \qquad (\tfrac{3}{2} - |t|)^2 \ (|t| < \tfrac{3}{2}),
        \qquad 0 \text{ elsewhere}
    """
    size = t.abs()
    return torch.where(size < 0.5, 1.5 - 2 * t.square(), (1.5 - size).clamp(min=0).square())


def bspline_slope(t: Tensor) -> Tensor:
    """Return the derivative of `bspline`."""
    size = t.abs()
    return torch.where(size < 0.5, -4 * t, -2 * t.sign() * (1.5 - size).clamp(min=0))


class Interpolator(nn.Module):
    """Map features at a point to those that the kernel compares: linear maps with ReLU between them.

    Args:
        channels: C of the features.
        hidden: width of the layers between.
        layers: number of maps from `hidden` to `hidden`.
    """

    def __init__(self, channels: int, hidden: int = 16, layers: int = 2) -> None:
        super().__init__()
        for name, value, least in (("channels", channels, 1), ("hidden", hidden, 1), ("layers", layers, 0)):
            check_at_least(name, value, least)
        widths = [channels, *[hidden] * (layers + 1), channels]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))

    def forward(self, features: Tensor, slopes: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Map features (N, C), and their derivatives (N, C, 3) with respect to the point by the chain rule.

        The derivative of ReLU at 0 is 0.
        """
        for number, layer in enumerate(self.layers):
            if number:
                if slopes is not None:
                    slopes = slopes * (features > 0).unsqueeze(-1)
                features = features.relu()
            features = layer(features)
            if slopes is not None:
                slopes = torch.einsum("oc,nca->noa", layer.weight, slopes)
        return features, slopes


class Rows(NamedTuple):
    """Kernel values of points and the voxels near them.

    Attributes:
        points, voxels: (M,) the pairs.
        values: (M,) the kernel.
        slopes: (M, 3) its gradient with respect to the point; (M, 0) where that was not asked for.
    """

    points: Tensor
    voxels: Tensor
    values: Tensor
    slopes: Tensor


class SplineKernel:
    r"""The kernel between points and the voxels of one size.

    .. math:: K(x, v) = B(p_1 - i)\, B(p_2 - j)\, B(p_3 - k)\, \langle \phi(x), z_v \rangle, \qquad p = x / h - 1/2

    The features :math:`\phi(x)` are those of the eight voxels around x, interpolated linearly, missing ones as 0, and
    mapped by an `Interpolator`. Without features the inner product is 1. It is not symmetric: z goes through no map.
    Only the 27 voxels around x count.

    Args:
        voxels: the voxels, of size `size`.
        size: h.
        features: z (V, C), or None.
        interpolator: of the features, or None to compare them as they are.

    Raises:
        InputError: features are not those of the voxels.

    Reference:
        Huang et al., "Neural Kernel Surface Reconstruction", arXiv 2305.19590.
    """

    def __init__(
        self, voxels: Voxels, size: float, features: Tensor | None = None, interpolator: nn.Module | None = None
    ) -> None:
        if features is not None and (features.dim() != 2 or features.shape[0] != len(voxels)):
            raise InputError(
                f"features of shape {tuple(features.shape)} must be ({len(voxels)}, C), a row for each voxel"
            )
        self.voxels, self.size, self.features, self.interpolator = voxels, size, features, interpolator

    def rows(self, points: Tensor, *, slopes: bool = False) -> Rows:
        """Return the kernel values of points (N, 3), and if wanted their gradients."""
        places = local(points, self.size)
        point, voxel, _ = self.voxels.around(voxel_of(places.detach()))
        from_center = take_rows(places, point) - self.voxels.ijk[voxel].to(places)
        sides = bspline(from_center)
        spline = sides.prod(1)
        turned = bspline_slope(from_center) * _others(sides) / self.size if slopes else sides[:, :0]
        if self.features is None:
            return Rows(point, voxel, spline, turned)
        seen, moved = self._features_at(self.features, places, slopes)
        beside = take_rows(self.features, voxel)
        similar = (take_rows(seen, point) * beside).sum(1)
        if moved is not None:
            change = torch.einsum("mca,mc->ma", take_rows(moved, point), beside)
            turned = turned * similar.unsqueeze(1) + spline.unsqueeze(1) * change
        return Rows(point, voxel, spline * similar, turned)

    def _features_at(self, z: Tensor, places: Tensor, slopes: bool) -> tuple[Tensor, Tensor | None]:
        """Return the features (N, C) at local coordinates, and if wanted their derivatives (N, C, 3)."""
        point, voxel, is_far, sides = self.voxels.corners(places)
        found = z.new_zeros(places.shape[0], z.shape[1]).index_add(
            0, point, sides.prod(1, keepdim=True) * take_rows(z, voxel)
        )
        moved = None
        if slopes:
            slope = torch.where(is_far, 1.0, -1.0).to(places) * _others(sides) / self.size
            moved = z.new_zeros(*found.shape, 3)
            moved = moved.index_add(0, point, slope.unsqueeze(1) * take_rows(z, voxel).unsqueeze(2))
        return (found, moved) if self.interpolator is None else self.interpolator(found, moved)

    def gram(self) -> Rows:
        """Return the products of the voxels themselves: splines of their distances times their inner products."""
        one, other, _ = self.voxels.around(self.voxels.ijk)
        values = bspline((self.voxels.ijk[one] - self.voxels.ijk[other]).double()).prod(1)
        if self.features is not None:
            values = values.to(self.features) * (take_rows(self.features, one) * take_rows(self.features, other)).sum(1)
        return Rows(one, other, values, values.new_zeros(len(one), 0))


def _others(sides: Tensor) -> Tensor:
    """Return for each axis (M, 3) the product of the other two."""
    a, b, c = sides.unbind(1)
    return torch.stack([b * c, a * c, a * b], 1)
