"""Mixtures that are fitted to images and points, by expectation maximisation."""

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least, check_positive
from convnn.ops.mixtures.mixture import PACKED, Mixture, log_density

PIXEL = 1 / 12
"""Variance of a square of side 1, along each axis."""


@torch.no_grad()
def fit_points(
    points: Tensor,
    components: int,
    *,
    mass: Tensor | None = None,
    steps: int = 20,
    variance: float = 1e-4,
    start: Mixture | None = None,
    generator: torch.Generator | None = None,
) -> Mixture:
    r"""Return the mixtures to which points with masses are most likely, after some steps of expectation maximisation.

    A step shares each point among the components by :math:`w_k \mathcal{N}(x_p; \mu_k, \Sigma_k)`, and gives each the
    mass, mean and covariance of its shares. The total weight is the total mass. Without a start, means are points drawn
    by their masses, all different if that many have mass, and covariances are circular.

    Args:
        points: (B, P, D), or (P, D) the same for all, in 2 or 3 dimensions.
        components: K, at least 1.
        mass: (B, P), at least 0, with a positive sum; None: each point has 1 / P.
        steps: number of steps, at least 0.
        variance: what is added to every covariance along each axis, positive: the extent of a point.
        start: mixtures (B, 1, K) to begin with, instead of draws; their weights need no scale.
        generator: of the draws.

    Returns:
        Mixtures (B, 1, K).

    Raises:
        InputError: an argument is out of range, or shapes do not agree.

    Reference:
        Dempster, Laird and Rubin, 1977. scikit-learn's GaussianMixture is the same with equal masses.
    """
    check_at_least("components", components, 1)
    check_at_least("steps", steps, 0)
    check_positive("variance", variance)
    points, mass = _checked(points, mass)
    share = mass / mass.sum(1, keepdim=True)
    found = _drawn(points, share, components, variance, generator) if start is None else start
    if found.weight.shape != (points.shape[0], 1, components):
        raise InputError(f"start of shape {tuple(found.weight.shape)} must be ({points.shape[0]}, 1, {components})")
    for _ in range(steps):
        found = _step(points.unsqueeze(1), share.unsqueeze(1), found, variance)
    total = found.weight.sum(2, keepdim=True)
    return Mixture(found.weight / total * mass.sum(1)[:, None, None], found.mean, found.cov)


def fit_images(
    images: Tensor, components: int, *, steps: int = 20, generator: torch.Generator | None = None
) -> Mixture:
    """Return mixtures whose values at the pixels are near those of images: `fit_points` of pixels, by their values.

    Coordinates are in pixels from the middle of the image, x to the right and then y down, so that the integral of a
    field is the sum of the pixels. A pixel is a square, whose variance is part of every covariance.

    Args:
        images: (B, C, H, W), at least 0; a channel of zeros has weights 0.
        components: K, at least 1.
        steps: number of steps of expectation maximisation, at least 0.
        generator: of the pixels to start from.

    Returns:
        Mixtures (B, C, K).

    Raises:
        InputError: images have another number of axes, or a value below 0, or an argument is out of range.

    Example:
        >>> image = torch.zeros(1, 1, 5, 5)
        >>> image[..., 2, 4] = 3.0
        >>> fit_images(image, 1).mean, fit_images(image, 1).weight
        (tensor([[[[2., 0.]]]]), tensor([[[3.]]]))
    """
    if images.dim() != 4 or not images.is_floating_point() or 0 in images.shape or not (images >= 0).all():
        raise InputError(f"images of shape {tuple(images.shape)} must be (B, C, H, W) of floating values, at least 0")
    points = pixel_places(images)
    mass = images.flatten(2).flatten(0, 1)
    is_blank = mass.sum(1, keepdim=True) == 0
    found = fit_points(
        points, components, mass=mass + is_blank.to(mass), steps=steps, variance=PIXEL, generator=generator
    )
    weight = found.weight.masked_fill(is_blank.unsqueeze(2), 0)
    parts = (one.squeeze(1).unflatten(0, images.shape[:2]) for one in (weight, found.mean, found.cov))
    return Mixture(*parts)


def pixel_places(images: Tensor) -> Tensor:
    """Return x and y (H W, 2) of the pixels of images (..., H, W), from the middle, row after row."""
    y, x = (torch.arange(n, dtype=images.dtype, device=images.device) - (n - 1) / 2 for n in images.shape[-2:])
    return torch.cartesian_prod(y, x).flip(1)


def _checked(points: Tensor, mass: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return points (B, P, D) and masses (B, P)."""
    if points.dim() == 2:
        points = points.unsqueeze(0) if mass is None else points.expand(mass.shape[0], -1, -1)
    if points.dim() != 3 or points.shape[2] not in PACKED.values() or 0 in points.shape:
        raise InputError(f"points of shape {tuple(points.shape)} must be (B, P, D) in 2 or 3 dimensions")
    if mass is None:
        mass = points.new_full(points.shape[:2], 1 / points.shape[1])
    if mass.shape != points.shape[:2] or not (mass >= 0).all() or not (mass.sum(1) > 0).all():
        raise InputError(
            f"mass of shape {tuple(mass.shape)} must be {tuple(points.shape[:2])}, at least 0 with a positive sum"
        )
    return points, mass


def _drawn(
    points: Tensor, share: Tensor, components: int, variance: float, generator: torch.Generator | None
) -> Mixture:
    """Return circular components at points that are drawn by their masses, different ones as far as there are."""
    draws = torch.empty_like(share).exponential_(generator=generator) / share  # the least are a draw without return
    order = draws.argsort(1)
    have_mass = (share > 0).sum(1, keepdim=True)
    rank = torch.arange(components, device=points.device) % have_mass
    mean = points.gather(1, order.gather(1, rank).unsqueeze(-1).expand(-1, -1, points.shape[2]))
    middle = (share.unsqueeze(-1) * points).sum(1, keepdim=True)
    spread = (share.unsqueeze(-1) * (points - middle).square()).sum(1).mean(1) / components + variance
    cov = spread[:, None, None, None] * torch.eye(points.shape[2], dtype=points.dtype, device=points.device)
    weight = points.new_full((points.shape[0], 1, components), 1 / components)
    return Mixture(weight, mean.unsqueeze(1), cov.expand(-1, components, -1, -1).unsqueeze(1))


def _step(points: Tensor, share: Tensor, mixture: Mixture, variance: float) -> Mixture:
    """Share points (B, 1, P, D) with masses (B, 1, P) among the components, and move these."""
    part = (log_density(points, mixture.mean, mixture.cov) + mixture.weight.log().unsqueeze(2)).softmax(3)
    part = part * share.unsqueeze(3)
    weight = part.sum(2)
    part = (part / weight.clamp_min(torch.finfo(weight.dtype).tiny).unsqueeze(2)).mT
    mean = part @ points
    offset = points.unsqueeze(2) - mean.unsqueeze(3)
    cov = (part.unsqueeze(-1) * offset).mT @ offset
    unit = torch.eye(points.shape[3], dtype=points.dtype, device=points.device)
    return Mixture(weight, mean, cov + variance * unit)
