"""What cameras see of Gaussians, and the field of their opacity."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from convnn.models.splats.anchors import NeuralGaussians
from convnn.ops.opacity_field import NEVER_SEEN, SHIFT, opacity_field
from convnn.ops.photographs import Photographs
from convnn.ops.projection import Rig, centres
from convnn.ops.splatting import Splats, splat


def one_by_one(rig: Rig) -> list[Rig]:
    """Return each camera as a rig of its own."""
    return [rig.select(slice(number, number + 1)) for number in range(rig.extrinsics.shape[1])]


def look(model: nn.Module, rig: Rig, background: Tensor) -> tuple[Splats, NeuralGaussians]:
    """Return what one camera sees of the Gaussians that a model shows it, and these."""
    found: NeuralGaussians = model(centres(rig.extrinsics[0, 0]).to(background))
    return splat(found.gaussians, found.colors, rig, background), found


@torch.no_grad()
def render(model: nn.Module, rig: Rig, background: Tensor) -> Splats:
    """Return what all cameras see, each of the Gaussians that the model shows it."""
    return Splats(*map(torch.cat, zip(*(look(model, one, background)[0] for one in one_by_one(rig)), strict=True)))


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
        shown = [(model(centres(one.extrinsics[0, 0]).to(like)).gaussians, one) for one in one_by_one(rig)]

    @torch.no_grad()
    def field(points: Tensor) -> Tensor:
        values = points.new_full(points.shape[:1], NEVER_SEEN)
        for gaussians, one in shown:
            found = opacity_field(gaussians, one, points.to(like), shift=shift)
            values = torch.maximum(values, found.to(values))
        return values

    return field
