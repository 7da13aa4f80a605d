r"""Splatting Gaussians onto images along rays: select those on a ray, weigh by what reaches them, and composite."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from convnn.errors import InputError
from convnn.ops.compositing import composite, distortion, median_depth
from convnn.ops.gaussians import Gaussians, View, cross
from convnn.ops.neighbors import Neighbors
from convnn.ops.projection import Rig, pixel_rays
from convnn.ops.rows import take_rows

NEAR, FAR = 0.2, 100.0
"""Depths: nothing nearer is seen; the scale of distances between surfaces ends at the other."""
FAINTEST = 1 / 255
"""An opacity below this counts as none: it would not change a pixel of eight bits."""
OPAQUE = 1e-4
"""A ray ends before less light than this would pass."""
NUMBERS = 2**22
"""Numbers in the largest tensor while Gaussians are selected; rays are processed in chunks of that size."""


class Splats(NamedTuple):
    """What n cameras see.

    Attributes:
        colors: (n, C, H, W).
        normals: (n, 3, H, W) of surfaces, in the frame of each camera, times the opacities.
        depths: (n, H, W) where half of the light is stopped; 0 where nothing is seen.
        opacities: (n, H, W).
        distortion: (n, H, W) how far surfaces are spread along the ray.
    """

    colors: Tensor
    normals: Tensor
    depths: Tensor
    opacities: Tensor
    distortion: Tensor


@torch.no_grad()
def gaussians_on_rays(view: View, directions: Tensor, *, until_opaque: bool = True) -> Neighbors:
    """Select, for each ray, the Gaussians that it meets, nearest middle first.

    A ray meets a Gaussian if its middle and its densest place on the ray are deeper than 0.2, and its opacity there is
    at least 1/255.

    Args:
        view: N Gaussians in the frame of the camera.
        directions: (P, 3).
        until_opaque: whether to end before the first Gaussian after which less than 1e-4 of the light would pass.

    Returns:
        Neighbors with indices (1, P, K), K as many as the fullest ray has; shorter lists have absent slots at the end.
    """
    count = view.means.shape[0]
    order = view.means[:, 2].argsort(stable=True)
    crossing = cross(view.take(order), directions)
    alpha = crossing.opacity_at(crossing.depths)
    met = (crossing.depths > NEAR) & (alpha >= FAINTEST) & (view.means[order, 2] > NEAR)
    if until_opaque:
        met &= (1 - alpha.masked_fill(~met, 0)).cumprod(-1) >= OPAQUE
    lengths = met.sum(-1, keepdim=True)
    most = int(lengths.max()) if lengths.numel() and count else 0
    ranks = torch.where(met, torch.arange(count, 0, -1, device=met.device), 0)
    indices = order[ranks.topk(most, dim=-1).indices]
    absent = torch.arange(most, device=met.device) >= lengths
    return Neighbors(indices.unsqueeze(0), absent=absent.unsqueeze(0))


def splat(gaussians: Gaussians, colors: Tensor, rig: Rig, background: Tensor | None = None) -> Splats:
    r"""Render Gaussians as n cameras see them, with gradients.

    For each pixel, Gaussians on its ray d are selected by `gaussians_on_rays`. With the densest place of each at depth
    :math:`t_i` and its opacity there :math:`\alpha_i`,

    .. math:: w_i = \alpha_i \prod_{j < i} (1 - \alpha_j), \qquad
        c = \sum_i w_i c_i + T \, b, \qquad n = -\sum_i w_i \frac{P_i d}{\sqrt{|P_i d|^2 + 10^{-7}}}

    with the inverse covariances :math:`P_i` and what passes all of them, T. Depths are those of `median_depth`,
    and `distortion` is that of :math:`(F t - F N) / ((F - N) t)` with N = 0.2 and F = 100.

    Gaussians that no ray meets have gradient 0. Memory grows with the pixels times the Gaussians of the fullest ray; it
    is not that of all pairs, which are looked through in chunks. Chunks are computed again in the backward pass.

    Args:
        gaussians: N of them; N may be 0.
        colors: (N, C).
        rig: one rig of n cameras.
        background: (C,); None is black.

    Raises:
        InputError: the Gaussians, colours, background or calibration are none.

    Reference:
        Rays through Gaussians: Yu, Sattler and Geiger, "Gaussian Opacity Fields", SIGGRAPH Asia 2024; as in Song et
        al., "GVKF: Gaussian Voxel Kernel Functions for Highly Efficient Surface Reconstruction in Open Scenes",
        arXiv 2411.01853. Without the tiles of the published code, which cut Gaussians off at three deviations.
    """
    gaussians.check()
    rig = check_cameras(rig, gaussians.means)
    count = gaussians.means.shape[0]
    if colors.dim() != 2 or colors.shape[0] != count:
        raise InputError(f"colors of shape {tuple(colors.shape)} must be ({count}, C)")
    if background is None:
        background = colors.new_zeros(colors.shape[1])
    if background.shape != colors.shape[1:]:
        raise InputError(f"background of shape {tuple(background.shape)} must be ({colors.shape[1]},)")
    views = []
    for extrinsics, directions in zip(rig.extrinsics[0], pixel_rays(rig)[0], strict=True):
        view = View.of(gaussians, extrinsics)
        pieces = [_piece(view, colors, background, rays) for rays in chunks(directions, count)]
        views.append([torch.cat(parts) for parts in zip(*pieces, strict=True)])
    flat = (torch.stack(parts) for parts in zip(*views, strict=True))
    return Splats(*(_as_map(values, rig.image_size) for values in flat))


def check_cameras(rig: Rig, like: Tensor) -> Rig:
    """Return one rig, with at least one camera, with the type and on the device of `like`.

    Raises:
        InputError: it is not so.
    """
    rig.check()
    if rig.extrinsics.shape[0] != 1 or rig.extrinsics.shape[1] == 0:
        raise InputError(
            f"extrinsics of shape {tuple(rig.extrinsics.shape)} must be (1, n, 4, 4): one rig, with cameras"
        )
    return rig.to(like.device, like.dtype)


def chunks(rays: Tensor, count: int) -> Iterator[Tensor]:
    """Yield rays in chunks whose pairs with `count` Gaussians fit into the memory for them; one chunk at least."""
    yield from rays.split(max(1, NUMBERS // (3 * max(1, count))))


def _as_map(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring (n, P) into (n, H, W), and (n, P, C) into (n, C, H, W)."""
    maps = values.unflatten(1, size)
    return maps.movedim(-1, 1) if maps.dim() == 4 else maps


def _piece(view: View, colors: Tensor, background: Tensor, rays: Tensor) -> Splats:
    found = gaussians_on_rays(view, rays)
    if not torch.is_grad_enabled():
        return _shade(view, colors, background, rays, found)
    return checkpoint(_shade, view, colors, background, rays, found, use_reentrant=False)


def _shade(view: View, colors: Tensor, background: Tensor, rays: Tensor, found: Neighbors) -> Splats:
    """Return what some rays see: colours (P, C), normals (P, 3), depths, opacities and distortion (P,)."""
    indices = found.indices[0]
    absent = torch.zeros_like(indices, dtype=torch.bool) if found.absent is None else found.absent[0]
    met = view.take(indices)
    crossing = cross(met, rays)
    alpha = crossing.opacity_at(crossing.depths).masked_fill(absent, 0)
    seen = composite(alpha)
    normals = -torch.einsum("pkij,pki->pkj", met.whitening, crossing.along)
    normals = normals / (normals.square().sum(-1, keepdim=True) + 1e-7).sqrt()
    depths = crossing.depths.masked_fill(absent, FAR)
    return Splats(
        torch.einsum("pk,pkc->pc", seen.weights, take_rows(colors, indices)) + seen.rest.unsqueeze(-1) * background,
        torch.einsum("pk,pkc->pc", seen.weights, normals),
        median_depth(depths, seen),
        seen.weights.sum(-1),
        distortion(FAR * (depths - NEAR) / ((FAR - NEAR) * depths), seen),
    )
