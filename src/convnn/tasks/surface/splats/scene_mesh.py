"""The surface of a scene of Gaussians as a mesh."""

import torch
from torch import nn

from convnn.data.surfaces.mesh import Mesh, extract_mesh
from convnn.errors import check_at_least
from convnn.models.splats.rendering import model_field
from convnn.ops.projection import Rig, centres

OPAQUE = 0.1
"""Opacity from which a Gaussian is part of the scene."""
LEFT_OUT = 0.01
"""Share of the Gaussians on either side of each axis beyond which the box of the scene ends, but for its margin."""
MARGIN = 0.15


@torch.no_grad()
def scene_mesh(model: nn.Module, rig: Rig, resolution: int = 48) -> Mesh:
    """Return the level of the opacity field of Gaussians as a mesh, in a box around those that cameras see.

    Args:
        model: `AnchorGaussians` or `FreeGaussians`.
        rig: the cameras of the photographs.
        resolution: cubes along the longest side of the box, at least 2.

    Raises:
        InputError: the resolution is too low, or the level is nowhere crossed; or scikit-image is not installed.
    """
    check_at_least("resolution", resolution, 2)
    like = next(model.parameters())
    seen = [model(centre.to(like)).gaussians for centre in centres(rig.extrinsics[0])]
    means = torch.cat([one.means[one.opacities > OPAQUE] for one in seen]).double()
    means = torch.cat([one.means for one in seen]).double() if len(means) < 2 else means
    ends = means.quantile(torch.tensor([LEFT_OUT, 1 - LEFT_OUT], dtype=torch.double), dim=0)
    wide = float((ends[1] - ends[0]).amax())
    lower, upper = ends[0] - MARGIN * wide, ends[1] + MARGIN * wide
    step = float((upper - lower).amax()) / resolution
    return extract_mesh(model_field(model, rig), lower, upper, step, inside="negative", bisections=1)
