"""Training of Gaussians on photographs, their images, and the field of their opacity."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from convnn.errors import check_at_least, check_not_negative, check_positive
from convnn.ops.opacity_field import NEVER_SEEN, SHIFT, opacity_field
from convnn.ops.projection import Rig
from convnn.ops.splatting import Splats, splat
from convnn.tasks.surface.splats.anchors import NeuralGaussians
from convnn.tasks.surface.splats.losses import splat_loss
from convnn.tasks.surface.splats.scenes import Photographs

RATES = {
    "anchors": 0.0,
    "features": 1.5,
    "offsets": 2.0,
    "log_scales": 1.0,
    "means": 0.4,
    "rotations": 1.0,
    "logits": 5.0,
    "colors": 3.0,
}
"""Learning rates of parameters, as multiples of that of the networks."""


def centre_of(extrinsics: Tensor) -> Tensor:
    """Return the place (3,) of a camera with the extrinsics (4, 4)."""
    return torch.linalg.inv(extrinsics)[:3, 3]


def one_of(rig: Rig) -> list[Rig]:
    """Return each camera as a rig of its own."""
    pairs = zip(rig.intrinsics[0], rig.extrinsics[0], strict=True)
    return [Rig(lens[None, None], pose[None, None], rig.image_size) for lens, pose in pairs]


def look(model: nn.Module, rig: Rig, background: Tensor) -> tuple[Splats, NeuralGaussians]:
    """Return what one camera sees of the Gaussians that a model shows it, and these."""
    found: NeuralGaussians = model(centre_of(rig.extrinsics[0, 0]).to(background))
    return splat(found.gaussians, found.colors, rig, background), found


@torch.no_grad()
def render(model: nn.Module, rig: Rig, background: Tensor) -> Splats:
    """Return what all cameras see, each of the Gaussians that the model shows it."""
    return Splats(*map(torch.cat, zip(*(look(model, one, background)[0] for one in one_of(rig)), strict=True)))


def train(
    model: nn.Module,
    scene: Photographs,
    *,
    steps: int,
    seed: int = 0,
    rate: float = 5e-3,
    dissimilarity: float = 0.2,
    volume: float = 0.01,
    distortion: float = 0.0,
    normals: float = 0.0,
    surface_from: float = 0.5,
) -> list[float]:
    """Train by Adam on one photograph a step, in random order, each once before any again; return the losses.

    Learning rates fall to a tenth, evenly in their logarithm. The anchors stay.

    Args:
        model: `AnchorGaussians` or `FreeGaussians`.
        scene: the photographs.
        steps: their number.
        seed: of the order.
        rate: learning rate of the networks; those of other parameters are multiples of it.
        dissimilarity, volume, distortion, normals: weights of the loss, as of `splat_loss`.
        surface_from: after which share of the steps the last two count.

    Raises:
        InputError: a setting is out of its range.
    """
    check_at_least("steps", steps, 1)
    check_positive("rate", rate)
    for name, weight in (("volume", volume), ("distortion", distortion), ("normals", normals)):
        check_not_negative(name, weight)
    groups = [
        {"params": [p], "lr": rate * RATES.get(name, 1.0)} for name, p in model.named_parameters() if RATES.get(name, 1)
    ]
    optimizer = torch.optim.Adam(groups, eps=1e-15)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.1 ** (1 / steps))
    generator, views = torch.Generator().manual_seed(seed), len(scene.images)
    losses: list[float] = []
    order: list[int] = []
    for step in range(steps):
        order = order or torch.randperm(views, generator=generator).tolist()
        one = scene.camera(order.pop())
        seen, found = look(model, one.rig, scene.background)
        late = step >= surface_from * steps
        weights = {"distortion": distortion * late, "normals": normals * late}
        loss = splat_loss(
            seen, one.images, found.gaussians.scales, one.rig, dissimilarity=dissimilarity, volume=volume, **weights
        ).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses


@torch.no_grad()
def signal_to_noise(model: nn.Module, scene: Photographs) -> float:
    r"""Return the peak signal-to-noise ratio of rendered images, :math:`-10 \log_{10}` of the mean squared error."""
    error = (render(model, scene.rig, scene.background).colors - scene.images).square().mean()
    return -10 * error.log10().item()


def model_field(model: nn.Module, rig: Rig, *, shift: float = SHIFT) -> Callable[[Tensor], Tensor]:
    """Return the opacity field of a model as a function of points (Q, 3), positive in free space.

    Each camera finds the opacity of the Gaussians that it is shown; the field is the maximum over cameras, as of
    `opacity_field`.

    Args:
        model: `AnchorGaussians` or `FreeGaussians`.
        rig: the cameras of the photographs.
        shift: by how much the surface lies before half of the opacity.
    """
    like = next(model.parameters())
    with torch.no_grad():
        shown = [(model(centre_of(one.extrinsics[0, 0]).to(like)).gaussians, one) for one in one_of(rig)]

    @torch.no_grad()
    def field(points: Tensor) -> Tensor:
        values = points.new_full(points.shape[:1], NEVER_SEEN)
        for gaussians, one in shown:
            found = opacity_field(gaussians, one, points.to(like), shift=shift)
            values = torch.maximum(values, found.to(values))
        return values

    return field
