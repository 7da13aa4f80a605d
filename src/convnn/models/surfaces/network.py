"""A network that reads points and predicts voxels, normals and features of the kernel for a field.

It is small: the encoder and the U-Net of the paper with one convolution at each place of several.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_positive
from convnn.models.surfaces.field import KernelField
from convnn.models.surfaces.hierarchy import Hierarchy
from convnn.models.surfaces.spline_kernel import Interpolator
from convnn.ops.cloud import Cloud
from convnn.ops.rows import take_rows
from convnn.ops.voxels import NEAREST, Voxels, children, local, unique, voxel_of

ABSENT, STOP, DIVIDE = range(3)
"""Classes of a voxel: it does not belong to the hierarchy, does without smaller ones, or has some."""


class VoxelConv(nn.Module):
    r"""Convolve features of sparse voxels, :math:`y_v = b + \sum_o W_o x_{v+o}`, over 27 offsets; absent ones are 0.

    Args:
        in_channels, out_channels: numbers of features, at least 1.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        check_at_least("out_channels", out_channels, 1)
        bound = (27 * in_channels) ** -0.5
        self.weight = nn.Parameter(torch.empty(len(NEAREST), in_channels, out_channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(out_channels))

    def forward(self, features: Tensor, voxels: Voxels) -> Tensor:
        """Map features (V, C_in) of voxels to (V, C_out)."""
        row, near, step = voxels.around(voxels.ijk)
        out = self.bias.expand(len(voxels), -1)
        for offset in range(len(NEAREST)):
            chosen = step == offset
            out = out.index_add(0, row[chosen], take_rows(features, near[chosen]) @ self.weight[offset])
        return out


class NoVoxelError(InputError):
    """The network has predicted that no voxel belongs to the surface."""


class Predicted(NamedTuple):
    """What the network says of points.

    Attributes:
        field: the field of the predicted hierarchy and features, not yet fitted.
        centers, normals: (V, 3) centres of the voxels of the first depths, and the outward normals there.
        candidates: the voxels that were asked for their class, by depth.
        classes: (V, 3) logits of absent, stop and divide, by depth.
    """

    field: KernelField
    centers: Tensor
    normals: Tensor
    candidates: dict[int, Voxels]
    classes: dict[int, Tensor]


class Level(NamedTuple):
    """What one depth says: of the voxels asked, their logits; of those kept, features and normals."""

    asked: Voxels
    logits: Tensor
    voxels: Voxels | None
    features: Tensor
    normals: Tensor


class SurfaceNetwork(nn.Module):
    """Predict a field from points and normals.

    Each point is described by its place in its voxel and its normal; the voxel takes the largest of its points'
    features. They are convolved, and averaged over eight voxels, depth by depth; on the way back each depth says of its
    voxels whether they stay and have smaller ones, what the normal is at their centre, and what the kernel compares.

    Args:
        depth: number of sizes of voxels, at least 1.
        adaptive_depth: at the voxels of so many depths the field follows the predicted normals.
        channels: width of the network.
        kernel_dim: number of features that the kernel compares.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Huang et al., "Neural Kernel Surface Reconstruction", arXiv 2305.19590.
    """

    def __init__(self, depth: int = 3, *, adaptive_depth: int = 1, channels: int = 16, kernel_dim: int = 4) -> None:
        super().__init__()
        arguments = {"depth": depth, "adaptive_depth": adaptive_depth, "channels": channels, "kernel_dim": kernel_dim}
        for name, value in arguments.items():
            check_at_least(name, value, 1)
        self.depth, self.adaptive_depth, self.kernel_dim = depth, adaptive_depth, kernel_dim
        self.point = nn.Sequential(nn.Linear(6, channels), nn.ReLU(), nn.Linear(channels, channels))
        self.down = nn.ModuleList(VoxelConv(channels, channels) for _ in range(depth))
        self.up = nn.ModuleList(VoxelConv(2 * channels, channels) for _ in range(depth))
        self.head = nn.ModuleList(nn.Linear(channels, 3 + 3 + kernel_dim) for _ in range(depth))
        self.interpolators = nn.ModuleList(Interpolator(kernel_dim) for _ in range(depth))

    def forward(self, cloud: Cloud, voxel_size: float, structure: Hierarchy | None = None) -> Predicted:
        """Predict the field of points with normals.

        Args:
            cloud: N points and normals.
            voxel_size: of the finest voxels.
            structure: the true hierarchy, which training follows instead of the predicted one.

        Raises:
            InputError: the points have no normals.
            NoVoxelError: no voxel is predicted; an `InputError`.
        """
        if cloud.normals is None:
            raise InputError("points need normals, from which the network predicts those of the surface")
        check_positive("voxel_size", voxel_size)
        found = self._decode(self._encode(cloud.points, cloud.normals, voxel_size), structure)
        near = [(level, one) for level, one in found.items() if level < self.adaptive_depth and one.voxels is not None]
        if not near:
            raise NoVoxelError(
                f"no voxel of the first {self.adaptive_depth} depths is predicted; train the network first"
            )
        grids = tuple(found[level].voxels if level in found else None for level in range(self.depth))
        features = [found[level].features if level in found else None for level in range(self.depth)]
        hierarchy = Hierarchy(voxel_size, grids)
        centers = torch.cat([one for level, _ in near if (one := hierarchy.centers[level]) is not None])
        return Predicted(
            KernelField(hierarchy, features, self.interpolators),
            centers.to(cloud.points),
            F.normalize(torch.cat([one.normals for _, one in near])),
            {level: one.asked for level, one in found.items()},
            {level: one.logits for level, one in found.items()},
        )

    def _decode(self, levels: list[tuple[Voxels, Tensor]], structure: Hierarchy | None) -> dict[int, "Level"]:
        """Return what each depth says, from the coarsest down, until nothing is divided."""
        found: dict[int, Level] = {}
        voxels, state = levels[-1][0].spread(), None
        for level in reversed(range(self.depth)):
            out = self.up[level](self._joined(voxels, state, levels[level]), voxels).relu()
            logits, normals, z = self.head[level](out).split([3, 3, self.kernel_dim], 1)
            kind = logits.argmax(1) if structure is None else classes_of(voxels, structure, level)
            stays, divided = kind != ABSENT, kind == DIVIDE
            kept = Voxels(voxels.ijk[stays]) if bool(stays.any()) else None
            # of length 1: if a voxel's product with itself were near 0, the system would be singular
            found[level] = Level(voxels, logits, kept, F.normalize(z[stays]), normals[stays])
            if not level or not bool(divided.any()):
                break
            voxels, state = Voxels(children(voxels.ijk[divided])), out[divided].repeat_interleave(8, 0)
        return found

    def _encode(self, points: Tensor, normals: Tensor, size: float) -> list[tuple[Voxels, Tensor]]:
        """Return the voxels that hold points, at each depth, and their features."""
        places = local(points, size)
        cell = voxel_of(places)
        voxels = unique(cell)
        row = voxels.find(cell)
        each = self.point(torch.cat([places - cell, normals], 1))
        found = each.new_zeros(len(voxels), each.shape[1])
        found = found.scatter_reduce(0, row.unsqueeze(1).expand_as(each), each, "amax", include_self=False)
        levels = []
        for level, conv in enumerate(self.down):
            if level:
                parents = voxels.ijk.div(2, rounding_mode="floor")
                voxels = unique(parents)
                row = voxels.find(parents)
                count = torch.bincount(row, minlength=len(voxels)).unsqueeze(1)
                found = found.new_zeros(len(voxels), found.shape[1]).index_add(0, row, found) / count
            found = conv(found, voxels).relu()
            levels.append((voxels, found))
        return levels

    @staticmethod
    def _joined(voxels: Voxels, state: Tensor | None, level: tuple[Voxels, Tensor]) -> Tensor:
        """Return what came from above, and beside it what the encoder knows of the same voxels, or 0."""
        held, seen = level
        row = held.find(voxels.ijk)
        beside = torch.where((row >= 0).unsqueeze(1), seen[row.clamp(min=0)], 0)
        return torch.cat([torch.zeros_like(beside) if state is None else state, beside], 1)


def classes_of(voxels: Voxels, structure: Hierarchy, level: int) -> Tensor:
    """Return the true class (V,) of voxels of a depth: absent, stop, or divide."""
    grid, finer = structure.grids[level], structure.grids[level - 1] if level else None
    if grid is None:
        return torch.full((len(voxels),), ABSENT)
    has_some = torch.zeros(len(voxels), dtype=torch.bool)
    if finer is not None:
        has_some = (finer.find(children(voxels.ijk)) >= 0).view(-1, 8).any(1)
    kind = torch.where(has_some, DIVIDE, STOP)
    return torch.where(grid.find(voxels.ijk) >= 0, kind, ABSENT)


def surface_loss(
    network: SurfaceNetwork, cloud: Cloud, true: Cloud, voxel_size: float, structure: Hierarchy
) -> tuple[dict[str, Tensor], KernelField]:
    """Return the parts of the loss of one shape, each a mean, and the field that was fitted.

    Args:
        network: the network.
        cloud: what it reads.
        true: points and normals of the true surface.
        voxel_size: of the finest voxels.
        structure: the true hierarchy.

    Returns:
        `structure`: cross entropy of the classes; `normal`: 1 less the cosine of normals at centres and those of the
        nearest true points; `value`: the field at true points, in voxels; `slope`: 1 less the cosine of its gradient
        there and the inward normal.
    """
    found = network(cloud, voxel_size, structure)
    truth = [classes_of(voxels, structure, level) for level, voxels in found.candidates.items()]
    logits = torch.cat(list(found.classes.values()))
    nearest = torch.cdist(found.centers, true.points).argmin(1)
    value, slope = _fitted(found, cloud)(true.points, grad=True)
    parts = {
        "structure": F.cross_entropy(logits, torch.cat(truth)),
        "normal": 1 - F.cosine_similarity(found.normals, _normals(true)[nearest]).mean(),
        "value": value.abs().mean() / voxel_size,
        "slope": 1 + F.cosine_similarity(slope, _normals(true)).mean(),
    }
    return parts, found.field


def _fitted(found: Predicted, cloud: Cloud) -> KernelField:
    """Fit the predicted field to points, with the published weights, and return it."""
    pos_weight = 1e4 / len(cloud)
    normal_weight = 1e4 / len(found.centers) * found.field.hierarchy.voxel_size**2
    return found.field.fit(
        cloud.points, found.centers, found.normals, pos_weight=pos_weight, normal_weight=normal_weight
    )


def _normals(cloud: Cloud) -> Tensor:
    if cloud.normals is None:
        raise InputError("points of the true surface need normals")
    return cloud.normals


def fit_field(network: SurfaceNetwork, cloud: Cloud, voxel_size: float) -> KernelField:
    """Return the field that a trained network finds for points with normals."""
    return _fitted(network(cloud, voxel_size), cloud)
