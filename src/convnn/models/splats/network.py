"""Gaussians of one scene as a network with a loss of its own, for the Trainer and the command line."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_choice, check_not_negative
from convnn.models._own_loss import Answer, OwnLoss
from convnn.models._registry import register_model
from convnn.nn import LayerFactory
from convnn.ops.photographs import Photographs
from convnn.ops.projection import centres, look_at, pinhole

if TYPE_CHECKING:
    from convnn.models.splats.anchors import AnchorGaussians
    from convnn.models.splats.free import FreeGaussians

SPLAT_KINDS = ("voxels", "free")
REACH = 1 / 3
"""Half of the side of the cube in which Gaussians begin, as a share of the distance of the cameras from its middle."""
PARTS = ("distance", "similarity", "volume", "distortion", "normals")


class SplatNetwork(OwnLoss):
    r"""Gaussians that learn to look like the photographs of a scene.

    The loss of a photograph is that of `splat_loss`, with one term for each of its parts times its weight. Distortion
    and normals join from the epoch `surface_from` on; evaluation has the first two terms only, of the images. The
    figures are `psnr`, :math:`-10 \log_{10}` of the mean squared error, and `ssim`, the structural similarity.

    Before training, the Gaussians are put at points of the scene, drawn without repetition, if the data have some; or
    else evenly at random into a cube around the origin, whose half side is a third of the distance of the first
    cameras. They are as many at the end: none are added or taken away.

    Args:
        layer: not read.
        in_channels: 3.
        num_classes: not read.
        width: factor on d_hidden.
        splat_kind: "voxels", `AnchorGaussians`, which networks make for each camera from features; or "free",
            `FreeGaussians`, plain splatting.
        num_gaussians: how many voxels, or free Gaussians, there are; at least 4.
        slots: Gaussians of a voxel.
        d_hidden: features of a voxel.
        distortion, normals: weights of these terms, at least 0.
        surface_from: epoch, from 1, in which these two join.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Song et al., "GVKF", arXiv 2411.01853; Kerbl et al., SIGGRAPH 2023.
    """

    default_layer: ClassVar[str] = "Conv2d"
    built_of: ClassVar[tuple[str, ...] | None] = ()
    data: ClassVar[str] = "photographs"
    defaults: ClassVar[Mapping[str, Any]] = {
        "dataset": "scene",
        "optimizer": "adam",
        "lr": 1e-2,
        "scheduler": "cosine",
        "weight_decay": 0.0,
        "batch_size": 1,
        "num_epochs": 20,
    }
    terms = PARTS
    figures = ("psnr", "ssim")
    gaussians: "AnchorGaussians | FreeGaussians"

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 3,
        num_classes: int = 0,
        width: float = 1.0,
        splat_kind: str = "voxels",
        num_gaussians: int = 400,
        slots: int = 4,
        d_hidden: int = 8,
        distortion: float = 1.0,
        normals: float = 0.02,
        surface_from: int = 11,
    ) -> None:
        from convnn.models.splats.anchors import AnchorGaussians  # brings SciPy
        from convnn.models.splats.free import FreeGaussians

        super().__init__(in_channels, num_classes, width)
        check_choice("splat_kind", splat_kind, SPLAT_KINDS)
        check_at_least("num_gaussians", num_gaussians, 4)
        check_at_least("surface_from", surface_from, 1)
        check_not_negative("distortion", distortion)
        check_not_negative("normals", normals)
        self.distortion, self.normals, self.surface_from = distortion, normals, surface_from
        places = 2 * torch.rand(num_gaussians, 3) - 1
        self.gaussians = (
            FreeGaussians(places)
            if splat_kind == "free"
            else AnchorGaussians(places, channels=self.scaled(d_hidden), slots=slots, hidden=2 * self.scaled(d_hidden))
        )
        self.epoch = 1

    def prepare(self, x: Photographs) -> None:
        """Put the Gaussians where the scene is."""
        count, points = len(next(self.gaussians.parameters())), x.points
        places = 2 * torch.rand(count, 3) - 1
        if points is None:
            places = REACH * float(centres(x.rig.extrinsics[0]).norm(dim=1).mean()) * places
        else:
            lower, upper = points.amin(0), points.amax(0)
            places = (lower + upper + (upper - lower) * places.to(points)) / 2  # where there are too few points
            chosen = points[torch.randperm(len(points))[:count]]
            places[: len(chosen)] = chosen
        self.gaussians.place(places)

    def begin_epoch(self, epoch: int) -> None:
        """Remember the epoch, by which terms join."""
        self.epoch = epoch

    def forward(self, x: Any) -> Answer:  # type: ignore[override]
        """Return the loss of B photographs.

        Raises:
            InputError: they are no photographs in three colours.
        """
        if not isinstance(x, Photographs) or x.images.dim() != 4 or x.images.shape[1] != 3:
            shape = tuple(x.images.shape) if isinstance(x, Photographs) else tuple(x.shape)
            raise InputError(f"x of shape {shape} must be photographs of shape (B, 3, H, W), with their cameras")
        count = x.images.shape[0]
        if not count:
            return self.answer_to_none(x.images)
        losses, psnr, ssim = zip(*(self._of_one(x.camera(number)) for number in range(count)), strict=True)
        terms = {name: torch.stack([loss[name] for loss in losses]).sum() for name in PARTS}
        return Answer(terms, {"psnr": torch.stack(psnr), "ssim": torch.stack(ssim)})

    def _of_one(self, x: Photographs) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return the terms of one photograph, and its figures."""
        from convnn.models.splats.losses import splat_loss
        from convnn.models.splats.rendering import look

        seen, found = look(self.gaussians, x.rig, x.background)
        is_late = self.training and self.epoch >= self.surface_from
        weights = {
            "dissimilarity": 0.2,
            "volume": 0.01 * self.training,
            "distortion": self.distortion * is_late,
            "normals": self.normals * is_late,
        }
        loss = splat_loss(seen, x.images, found.gaussians.scales, x.rig, **weights)
        similarity = weights.pop("dissimilarity")
        terms = {"distance": (1 - similarity) * loss.distance, "similarity": similarity * (1 - loss.similarity)}
        terms |= {name: weight * getattr(loss, name) for name, weight in weights.items()}
        with torch.no_grad():
            error = (seen.colors - x.images).square().mean().clamp(min=1e-10)
            return terms, -10 * error.log10(), loss.similarity.detach()

    def example(self, shape: tuple[int, ...], count: int = 1, device: torch.device | str = "cpu") -> Photographs:
        """Return black photographs of the shape (3, H, W), from one place."""
        height, width = shape[1:]
        pose = look_at(torch.tensor([[3.0, 0, 0]]), torch.zeros(3), torch.tensor([0.0, 0, 1]))
        rig = pinhole(pose.repeat(max(count, 1), 1, 1), float(width), (height, width)).to(device)
        black = torch.zeros(max(count, 1), *shape, device=device)
        return Photographs(rig, black, None, torch.zeros(3, device=device)).select(slice(count))


@register_model(SplatNetwork)
def splats(layer: LayerFactory, **settings: Any) -> SplatNetwork:
    """Gaussians of one scene, which learn from photographs without labels; their opacity is a field with a surface."""
    return SplatNetwork(layer, **settings)
