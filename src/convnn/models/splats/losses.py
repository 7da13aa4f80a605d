r"""Losses of rendered images, normals and depths."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_odd
from convnn.ops.projection import Rig, pixel_rays
from convnn.ops.splatting import Splats


def structural_similarity(x: Tensor, y: Tensor, *, window: int = 11, sigma: float = 1.5) -> Tensor:
    r"""Return the mean structural similarity of images with values from 0 to 1: 1 if they are equal.

    .. math:: \frac{(2 \mu_x \mu_y + 10^{-4}) (2 \sigma_{xy} + 9 \cdot 10^{-4})}
        {(\mu_x^2 + \mu_y^2 + 10^{-4}) (\sigma_x^2 + \sigma_y^2 + 9 \cdot 10^{-4})}

    with means, variances and the covariance under a Gaussian window, and zeros outside the image.

    Args:
        x, y: (n, C, H, W).
        window: side of the window, odd.
        sigma: its standard deviation, in pixels.

    Raises:
        InputError: the shapes differ or are others, or the window is even.

    Reference:
        Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", 2004.
    """
    check_odd("window", window)
    if x.dim() != 4 or x.shape != y.shape:
        raise InputError(f"x of shape {tuple(x.shape)} and y of shape {tuple(y.shape)} must both be (n, C, H, W)")
    offsets = torch.arange(window, dtype=x.dtype, device=x.device) - window // 2
    taps = (-offsets.square() / (2 * sigma**2)).exp()
    taps = taps / taps.sum()
    kernel = (taps[:, None] * taps).expand(x.shape[1], 1, window, window)
    moments = torch.cat([x, y, x * x, y * y, x * y])
    mean_x, mean_y, xx, yy, xy = F.conv2d(moments, kernel, padding=window // 2, groups=x.shape[1]).chunk(5)
    likeness = (2 * mean_x * mean_y + 1e-4) * (2 * (xy - mean_x * mean_y) + 9e-4)
    spread = (xx - mean_x.square()) + (yy - mean_y.square())
    return (likeness / ((mean_x.square() + mean_y.square() + 1e-4) * (spread + 9e-4))).mean()


def depth_normals(depths: Tensor, rig: Rig) -> Tensor:
    """Return the normals of the surfaces that depths describe, in the frame of the world, 0 at the border.

    They are the cross product of the differences between the points of the next pixels along rows and along columns.

    Args:
        depths: (n, H, W).
        rig: one rig of n cameras with images of that size.

    Returns:
        (n, 3, H, W) unit vectors towards the cameras.

    Raises:
        InputError: the depths do not fit the cameras, or the calibration is none.
    """
    rays = pixel_rays(rig)[0].unflatten(1, rig.image_size).to(depths)  # (n, H, W, 3)
    if depths.shape != rays.shape[:3]:
        raise InputError(f"depths of shape {tuple(depths.shape)} must be {tuple(rays.shape[:3])}, those of the cameras")
    points = rays * depths.unsqueeze(-1)
    down = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
    right = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
    normals = F.normalize(torch.linalg.cross(down, right), dim=-1)
    return to_world(F.pad(normals, (0, 0, 1, 1, 1, 1)).movedim(-1, 1), rig)


def to_world(directions: Tensor, rig: Rig) -> Tensor:
    """Turn directions (n, 3, H, W) from the frames of n cameras, one rig of them, into that of the world."""
    turns = torch.linalg.inv(rig.extrinsics[0])[:, :3, :3].to(directions)
    return torch.einsum("nij,njhw->nihw", turns, directions)


def edge_weights(images: Tensor) -> Tensor:
    r"""Return weights that fall where an image changes: the exponential of minus the largest of four differences.

    Args:
        images: (n, C, H, W).

    Returns:
        (n, H, W); the differences to the pixels above, below, left and right are means over channels; 0 at the border.
    """
    middle = images[..., 1:-1, 1:-1]
    around = (images[..., 1:-1, :-2], images[..., 1:-1, 2:], images[..., :-2, 1:-1], images[..., 2:, 1:-1])
    largest = torch.stack([(middle - one).abs().mean(1) for one in around]).amax(0)
    return F.pad((-largest).exp(), (1, 1, 1, 1))


class SplatLoss(NamedTuple):
    """The parts of the loss, each before its weight, and their weighted sum."""

    total: Tensor
    distance: Tensor
    similarity: Tensor
    volume: Tensor
    distortion: Tensor
    normals: Tensor


def splat_loss(
    seen: Splats,
    images: Tensor,
    scales: Tensor,
    rig: Rig,
    *,
    dissimilarity: float = 0.2,
    volume: float = 0.01,
    distortion: float = 100.0,
    normals: float = 0.05,
) -> SplatLoss:
    r"""Return the loss of rendered images against those of the cameras.

    .. math:: (1 - \lambda) \, |I - I^*| + \lambda \, (1 - \mathrm{SSIM}) + \lambda_v \, \overline{s_1 s_2 s_3}
        + \lambda_d \, \overline{e \, L} + \lambda_n \, \overline{1 - n \cdot n_{\text{depth}}}

    with the volumes of the Gaussians, the distortion L weighted by `edge_weights` e of the true images, and the
    rendered normals n, at length 1, against `depth_normals`. At the border the latter are 0, so that a pixel costs 1.

    Args:
        seen: what was rendered, for n cameras.
        images: (n, C, H, W) the true ones.
        scales: (N, 3) of the Gaussians.
        rig: the cameras.
        dissimilarity: :math:`\lambda`, from 0 to 1.
        volume, distortion, normals: :math:`\lambda_v, \lambda_d, \lambda_n`. Where a weight is 0, that part is 0. The
            published training leaves out the last two before step 15,000 of 30,000.

    Raises:
        InputError: the images do not fit those rendered.

    Reference:
        Song et al., arXiv 2411.01853, and its published code.
    """
    if images.shape != seen.colors.shape:
        raise InputError(f"images of shape {tuple(images.shape)} must be {tuple(seen.colors.shape)}, as those rendered")
    none = seen.colors.new_zeros(())
    distance = (seen.colors - images).abs().mean()
    similarity = structural_similarity(seen.colors, images) if dissimilarity else none
    size = scales.prod(-1).mean() if volume and scales.shape[0] else none
    spread = (seen.distortion * edge_weights(images)).mean() if distortion else none
    bent = none
    if normals:
        rendered = to_world(F.normalize(seen.normals, dim=1), rig)
        bent = (1 - (rendered * depth_normals(seen.depths, rig)).sum(1)).mean()
    total = (1 - dissimilarity) * distance + dissimilarity * (1 - similarity)
    total = total + volume * size + distortion * spread + normals * bent
    return SplatLoss(total, distance, similarity, size, spread, bent)
