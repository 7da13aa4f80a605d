r"""A field of opacity around Gaussians: kernel regression along the rays of cameras."""

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops.gaussians import Gaussians, View, cross
from convnn.ops.projection import Rig, in_frame
from convnn.ops.splatting import FAINTEST, NEAR, check_cameras, chunks, gaussians_on_rays

SHIFT = 0.15
FREE, SOLID = 20.0, -20.0
"""The values of opacity 0 and 1."""
UNSEEN, NEVER_SEEN = -19.0, -10.0
"""The value that a camera gives to what it does not see, and the least value of the field."""


def seen_opacities(gaussians: Gaussians, rig: Rig, points: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return how opaque the way from each camera to each point is.

    With the ray d through a point at depth z, and the densest place of a Gaussian on it at depth :math:`t_i`,

    .. math:: \rho(x) = 1 - \prod_i (1 - \alpha_i(\min(t_i, z))), \qquad
        \alpha_i(z) = \min(0.99, o_i \, e^{-|A_i (z d - m_i)|^2 / 2})

    over the Gaussians that the ray meets; values below 1/255 count as 0. So the kernel of a Gaussian is one-sided: it
    grows towards its middle, and stays behind it. :math:`\rho` never falls along a ray, and ends as the opacity that
    `splat` renders, but for its end before opaque.

    Args:
        gaussians: N of them.
        rig: one rig of n cameras.
        points: (Q, 3).

    Returns:
        (n, Q) opacities, 0 where a camera does not see the point, and (n, Q) bool whether it does: it is deeper than
        0.2, and inside the image.

    Raises:
        InputError: the Gaussians, the calibration or the points are none.

    Reference:
        Song et al., arXiv 2411.01853.
    """
    gaussians.check()
    rig = check_cameras(rig, gaussians.means)
    if points.dim() != 2 or points.shape[1] != 3:
        raise InputError(f"points of shape {tuple(points.shape)} must be (Q, 3)")
    opacities, seen = [], []
    for intrinsics, extrinsics in zip(rig.intrinsics[0], rig.extrinsics[0], strict=True):
        places = in_frame(points, extrinsics)
        seen.append(_is_seen(places, intrinsics, rig.image_size))
        view = View.of(gaussians, extrinsics)
        found = [_regress(view, piece) for piece in chunks(places[seen[-1]], gaussians.means.shape[0])]
        opacities.append(torch.zeros_like(places[:, 0]).masked_scatter(seen[-1], torch.cat(found)))
    return torch.stack(opacities), torch.stack(seen)


def _is_seen(places: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Tensor:
    """Return which places (Q, 3) in the frame of a camera are in front of it and in its image: (Q,) bool."""
    pixels = places @ intrinsics.T
    x, y = (pixels[:, :2] / pixels[:, 2:].clamp(min=NEAR)).unbind(-1)
    height, width = size
    return (places[:, 2] > NEAR) & (x >= 0) & (x < width) & (y >= 0) & (y < height)


def _regress(view: View, places: Tensor) -> Tensor:
    """Return the opacities (P,) on the ways to places (P, 3) in the frame of the camera."""
    depths = places[:, 2:]
    rays = places / depths
    found = gaussians_on_rays(view, rays, until_opaque=False)
    crossing = cross(view.take(found.indices[0]), rays)
    alpha = crossing.opacity_at(torch.minimum(crossing.depths, depths))
    absent = (alpha < FAINTEST) if found.absent is None else (alpha < FAINTEST) | found.absent[0]
    return -torch.expm1(torch.log1p(-alpha.masked_fill(absent, 0)).sum(-1))


def signed_opacity(opacities: Tensor, shift: float = SHIFT) -> Tensor:
    r"""Return the logistic map of opacities: positive in free space, negative in what is solid.

    .. math:: s(\rho) = \ln(1 / \rho - 1) - \text{shift}, \qquad s(0) = 20, \qquad s(1) = -20

    It is 0 at :math:`\rho = 1 / (1 + e^{\text{shift}})`, which is 0.4626 for a shift of 0.15.
    """
    inside = opacities.clamp(torch.finfo(opacities.dtype).tiny, 1 - torch.finfo(opacities.dtype).eps)
    values = torch.log1p(-inside) - inside.log() - shift
    return torch.where(opacities <= 0, FREE, torch.where(opacities >= 1, SOLID, values))


def opacity_field(gaussians: Gaussians, rig: Rig, points: Tensor, *, shift: float = SHIFT) -> Tensor:
    r"""Return the opacity field at points: positive in free space, 0 on the surface, negative behind it.

    A point is as free as the camera that sees it best finds it: the field is the maximum over cameras of
    :math:`s(\rho(x))` (`seen_opacities`, `signed_opacity`), with -19 for a camera that does not see the point, and at
    least -10.

    Args:
        gaussians: N of them.
        rig: one rig of n cameras.
        points: (Q, 3).
        shift: by how much the surface lies before half of the opacity.

    Returns:
        (Q,).

    Raises:
        InputError: the Gaussians, the calibration or the points are none.

    Reference:
        Song et al., arXiv 2411.01853.
    """
    opacities, seen = seen_opacities(gaussians, rig, points)
    values = torch.where(seen, signed_opacity(opacities, shift), UNSEEN)
    return values.amax(0).clamp(min=NEVER_SEEN)
