"""The network of kernel fields with a loss of its own, for the Trainer and the command line."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_most
from convnn.models._own_loss import Answer, OwnLoss
from convnn.models._registry import register_model
from convnn.nn import LayerFactory
from convnn.ops.cloud import Cloud

if TYPE_CHECKING:
    from convnn.models.surfaces.field import KernelField

FEWEST_PER_VOXEL = 1.0
PARTS = ("structure", "normal", "value", "slope")


class KernelFieldNetwork(OwnLoss):
    r"""A `SurfaceNetwork` that learns from clouds of points and the surfaces they are of.

    The loss of a cloud is that of `surface_loss`, with one term for each of its parts: the classes of voxels, the
    normals at their centres, and the value and the slope of the fitted field at points of the true surface. Gradients
    pass through the solution of the sparse system. The finest voxels of each cloud have the size at which they hold
    `points_per_voxel` points on average, so that scale and density of a cloud do not matter.

    In evaluation the terms are the same, and the figures are of the field that the network finds by itself, without the
    true voxels: `distance`, the mean of :math:`\min(|f| / |\nabla f|, h) / h` at points of the true surface, 1 where
    there is no voxel; and `normal_consistency`, the mean cosine of the outward slope and the true normal, or 0 if that
    is negative. In training they are those of the field with the true voxels.

    Args:
        layer: not read.
        in_channels: 6, of points and normals.
        num_classes: not read.
        width: factor on d_hidden.
        d_hidden: width of the network.
        num_layers: sizes of voxels, each twice the one before.
        kernel_dim: features that the kernel compares.
        points_per_voxel: what a finest voxel holds on average, more than 1.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Huang et al., "Neural Kernel Surface Reconstruction", arXiv 2305.19590.
    """

    default_layer: ClassVar[str] = "Conv2d"
    built_of: ClassVar[tuple[str, ...] | None] = ()
    data: ClassVar[str] = "clouds"
    defaults: ClassVar[Mapping[str, Any]] = {
        "dataset": "clouds",
        "optimizer": "adam",
        "lr": 5e-3,
        "scheduler": "cosine",
        "weight_decay": 0.0,
        "batch_size": 4,
        "num_epochs": 20,
    }
    terms = PARTS
    figures = ("distance", "normal_consistency")

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 6,
        num_classes: int = 0,
        width: float = 1.0,
        d_hidden: int = 16,
        num_layers: int = 3,
        kernel_dim: int = 4,
        points_per_voxel: float = 2.0,
    ) -> None:
        from convnn.models.surfaces.network import SurfaceNetwork  # brings SciPy

        super().__init__(in_channels, num_classes, width)
        if not points_per_voxel > FEWEST_PER_VOXEL:
            raise InputError(f"points_per_voxel={points_per_voxel} must be above {FEWEST_PER_VOXEL:g}")
        check_at_most("num_layers", num_layers, 8)
        self.points_per_voxel = points_per_voxel
        self.surface = SurfaceNetwork(num_layers, channels=self.scaled(d_hidden), kernel_dim=kernel_dim)

    def forward(self, x: Tensor) -> Answer:  # type: ignore[override]
        """Return the loss of clouds (B, 6, 1 + R, N): N points with normals, and R N of the true surface.

        Raises:
            InputError: they have another shape, or points that are all at one place.
        """
        if x.dim() != 4 or x.shape[1] != 6 or x.shape[2] < 2 or not x.shape[3]:
            raise InputError(f"x of shape {tuple(x.shape)} must be clouds (B, 6, 1 + R, N), with R at least 1")
        if not x.shape[0]:
            return self.answer_to_none(x)
        terms, distances, cosines = zip(*map(self._of_one, x), strict=True)
        sums = {name: torch.stack([one[name] for one in terms]).sum() for name in PARTS}
        return Answer(sums, {"distance": torch.stack(distances), "normal_consistency": torch.stack(cosines)})

    def _of_one(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return the terms of one cloud (6, 1 + R, N), and its figures."""
        from convnn.models.surfaces.hierarchy import Hierarchy
        from convnn.models.surfaces.network import surface_loss

        cloud, true = (Cloud(rows[:, :3], rows[:, 3:]) for rows in (x[:, 0].T, x[:, 1:].flatten(1).T))
        size = self.voxel_size(cloud.points)
        structure = Hierarchy.of_points(true.points, size, self.surface.depth)
        terms, field = surface_loss(self.surface, cloud, true, size, structure)
        with torch.no_grad():
            distance, cosine = _figures(field if self.training else self._found(cloud, size), true)
        return terms, distance, cosine

    def voxel_size(self, points: Tensor) -> float:
        """Return the size of the finest voxels for points (N, 3)."""
        from convnn.models.surfaces.hierarchy import choose_voxel_size

        return choose_voxel_size(points, self.points_per_voxel)

    def field_of(self, cloud: Cloud, voxel_size: float | None = None) -> "KernelField":
        """Return the fitted field of points with normals, without gradients.

        Args:
            cloud: points and normals.
            voxel_size: of the finest voxels; None takes that of `points_per_voxel`.

        Raises:
            InputError: the points have no normals, or are too few for the size; or the network predicts no voxels.
        """
        from convnn.models.surfaces.network import fit_field

        with torch.no_grad():
            return fit_field(self.surface, cloud, self.voxel_size(cloud.points) if voxel_size is None else voxel_size)

    def _found(self, cloud: Cloud, voxel_size: float) -> "KernelField | None":
        """Return the field that the network finds for points with normals, or None if it predicts no voxels."""
        from convnn.models.surfaces.network import NoVoxelError, fit_field

        try:
            return fit_field(self.surface, cloud, voxel_size)
        except NoVoxelError:
            return None

    def example(self, shape: tuple[int, ...], count: int = 1, device: torch.device | str = "cpu") -> Tensor:
        """Return clouds of points of a ball, of the shape (6, 1 + R, N)."""
        _, copies, number = shape
        turn = torch.arange(copies * number, device=device) + 0.5
        z, angle = 1 - 2 * turn / (copies * number), 2.399963 * turn
        across = (1 - z.square()).sqrt()
        places = torch.stack([across * angle.cos(), across * angle.sin(), z])
        return torch.cat([places, places]).view(6, number, copies).mT.repeat(count, 1, 1, 1)


def _figures(field: "KernelField | None", true: Cloud) -> tuple[Tensor, Tensor]:
    """Return the mean distance of true points from the level of a field, in voxels, and the mean cosine there."""
    if field is None:
        return true.points.new_ones(()), true.points.new_zeros(())
    size = field.hierarchy.voxel_size
    value, slope = field(true.points, grad=True)
    steps = slope.norm(dim=1)
    away = torch.where(steps > 0, value.abs() / steps.clamp(min=1e-12) / size, 1.0).clamp(max=1)
    assert true.normals is not None
    return away.mean(), -F.cosine_similarity(slope, true.normals).mean().clamp(-1, 0)


@register_model(KernelFieldNetwork)
def kernel_field(layer: LayerFactory, **settings: Any) -> KernelFieldNetwork:
    """Learned kernel field, whose level is the surface of points with normals; it learns from clouds without labels."""
    return KernelFieldNetwork(layer, **settings)
