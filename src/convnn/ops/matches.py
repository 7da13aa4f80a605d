"""The space of matches, in which a cell of one map meets a cell of another: similarities, resizing, convolution."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_odd, check_positive

CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
"""What PyTorch has, by the number of axes."""


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    r"""Convolve along any number of axes, with zeros outside.

    .. math:: y_{op} = b_o + \sum_{c, k} W_{ock} \, x_{c, p + k - r}, \qquad r = \lfloor K / 2 \rfloor

    PyTorch convolves along three axes. Here a tap of the first axis is a convolution along the others, of all positions
    whose neighbour at that tap is on the map; so four axes are K calls along three, and six are K^3.

    Args:
        x: (B, C, \*S) along one axis or more.
        weight: (O, C, \*K) with as many axes, each K odd.
        bias: (O,) or None.

    Returns:
        (B, O, \*S).

    Raises:
        InputError: the weight or bias does not fit x, or a side of the weight is even.
    """
    if x.dim() < 3 or weight.dim() != x.dim() or weight.shape[1] != x.shape[1] or 0 in weight.shape:
        raise InputError(
            f"weight of shape {tuple(weight.shape)} must be (O, C, *K) with as many axes as x (B, C, *S), which has"
            f" shape {tuple(x.shape)}"
        )
    for side in weight.shape[2:]:
        check_odd("side of the weight", side)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InputError(f"bias of shape {tuple(bias.shape)} must be ({weight.shape[0]},)")
    found = _convolve(x, weight)
    return found if bias is None else found + bias.reshape(-1, *[1] * (x.dim() - 2))


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    axes = x.dim() - 2
    if axes in CONVOLUTIONS:
        return CONVOLUTIONS[axes](x, weight, padding=tuple(side // 2 for side in weight.shape[2:]))
    side, taps = x.shape[2], weight.shape[2]
    total = x.new_zeros(x.shape[0], weight.shape[0], *x.shape[2:])
    for tap in range(taps):
        shift = tap - taps // 2
        first, end = max(0, -shift), min(side, side - shift)  # the positions whose neighbour is on the map
        if first < end:
            rows = x[:, :, first + shift : end + shift].transpose(1, 2)
            found = _convolve(rows.flatten(0, 1), weight[:, :, tap])
            total[:, :, first:end] += found.unflatten(0, rows.shape[:2]).transpose(1, 2)
    return total


def cosine_matches(source: Tensor, target: Tensor) -> Tensor:
    """Return the cosine of every cell of one map with every cell of another.

    Args:
        source: (B, C, H, W).
        target: (B, C, H', W').

    Returns:
        (B, H, W, H', W'); cells of zeros have cosine 0.

    Raises:
        InputError: the maps differ in batch or channels.
    """
    check_maps(source, target)
    rows, columns = (F.normalize(one.flatten(2), dim=1) for one in (source, target))
    return (rows.mT @ columns).unflatten(2, target.shape[2:]).unflatten(1, source.shape[2:])


def resize_matches(matches: Tensor, size: Sequence[int]) -> Tensor:
    """Resize (B, H, W, H', W') to (B, *size) bilinearly, corners on corners: first the source axes, then the target's.

    Raises:
        InputError: there are not four axes, or not four positive sides.
    """
    if matches.dim() != 5 or len(size) != 4:
        raise InputError(
            f"matches of shape {tuple(matches.shape)} must be (B, H, W, H', W'), and size={tuple(size)} have four sides"
        )
    for side in size:
        check_at_least("size", side, 1)
    return _resize_first(_resize_first(matches, size[:2]), size[2:])


def _resize_first(matches: Tensor, size: Sequence[int]) -> Tensor:
    """Resize the first pair of axes of (B, H, W, H', W'), and put it last: (B, H', W', h, w)."""
    maps = matches.flatten(3).permute(0, 3, 1, 2)
    resized = F.interpolate(maps, tuple(size), mode="bilinear", align_corners=True)
    return resized.unflatten(1, matches.shape[3:])


def match_space(
    source: Tensor,
    target: Tensor,
    scales: Sequence[float] = (0.5, 1, 2),
    project: Sequence[Callable[[Tensor], Tensor]] | None = None,
) -> Tensor:
    r"""Return how similar two maps are, cell by cell, at all pairs of scales.

    At scale q a side H becomes :math:`\operatorname{round}(H \sqrt q)`, bilinearly, corners on corners. The cosines of
    each pair of scales are resized to the sides of the maps; those below 0 become 0.

    Args:
        source: (B, C, H, W).
        target: (B, C, H', W').
        scales: S areas, each positive, where 1 is that of the maps.
        project: S functions that the maps of each scale pass, such as convolutions.

    Returns:
        (B, 1, S, S, H, W, H', W').

    Raises:
        InputError: the maps differ in batch or channels, a scale is not positive, or there is not one projection for
            each scale.

    Reference:
        Min and Cho, "Convolutional Hough Matching Networks", arXiv 2103.16831.
    """
    check_maps(source, target)
    for scale in scales:
        check_positive("scales", scale)
    if project is not None and len(project) != len(scales):
        raise InputError(f"project has {len(project)} functions, and scales={tuple(scales)} asks for {len(scales)}")
    pyramids = []
    for one in (source, target):
        sizes = [[max(1, round(side * scale**0.5)) for side in one.shape[2:]] for scale in scales]
        maps = [F.interpolate(one, size, mode="bilinear", align_corners=True) for size in sizes]
        pyramids.append(maps if project is None else [to(at) for to, at in zip(project, maps, strict=True)])
    size = [*source.shape[2:], *target.shape[2:]]
    pairs = [[resize_matches(cosine_matches(a, b), size) for b in pyramids[1]] for a in pyramids[0]]
    return torch.stack([torch.stack(row, 1) for row in pairs], 1).clamp_min(0).unsqueeze(1)


def mutual_filter(matches: Tensor) -> Tensor:
    r"""Keep matches that are the best of both their cells: :math:`c_{ij}^3 / (\max_k c_{ik} \max_k c_{kj})`.

    Args:
        matches: (..., N, M), at least 0; a row or column of zeros stays so.

    Returns:
        (..., N, M).

    Reference:
        Rocco et al., "Neighbourhood Consensus Networks", arXiv 1810.10510, section 3.3.
    """
    rows, columns = matches.amax(-1, keepdim=True), matches.amax(-2, keepdim=True)
    rows, columns = (most + 1e-30 * (most == 0) for most in (rows, columns))
    return matches * (matches / rows) * (matches / columns)


def cell_centers(like: Tensor) -> Tensor:
    """Return x and y (1, 2, H, W) of the centres of the cells of a map (B, C, H, W), from -1 to 1 between its edges."""
    height, width = like.shape[-2:]
    y, x = ((2 * torch.arange(n, dtype=like.dtype, device=like.device) + 1) / n - 1 for n in (height, width))
    return torch.stack([x.expand(height, -1), y.unsqueeze(1).expand(-1, width)]).unsqueeze(0)


def sample_at(y: Tensor, places: Tensor) -> Tensor:
    """Return y (B, C, H', W') at places (B, 2, H, W), x and y from -1 to 1, bilinearly, 0 outside: (B, C, H, W)."""
    return F.grid_sample(y, places.permute(0, 2, 3, 1), align_corners=False)


def local_correlation(x: Tensor, y: Tensor, radius: int, flow: Tensor | None = None) -> Tensor:
    r"""Return how similar every cell is to those of another map around where a flow leads.

    .. math:: c_{ab} = \langle x, y(g + (2 b / W, 2 a / H)) \rangle / \sqrt C, \qquad a, b = -R \dots R

    Args:
        x, y: maps (B, C, H, W); between cells y is bilinear, and 0 outside.
        radius: R, at least 0.
        flow: g (B, 2, H, W), x and y in y from -1 to 1; None is the cell's own place.

    Returns:
        (B, (2 R + 1)^2, H, W), a before b.

    Raises:
        InputError: shapes do not agree, or the radius is negative.

    Reference:
        Edstedt et al., "DKM: Dense Kernelized Feature Matching", arXiv 2202.00667.
    """
    check_maps(x, y)
    check_at_least("radius", radius, 0)
    height, width = x.shape[2:]
    if y.shape != x.shape:
        raise InputError(f"y of shape {tuple(y.shape)} must have that of x, {tuple(x.shape)}")
    places = cell_centers(x).expand(x.shape[0], -1, -1, -1) if flow is None else flow
    check_flow(places, x)
    side = range(-radius, radius + 1)
    steps = [places.new_tensor([2 * b / width, 2 * a / height]).reshape(1, 2, 1, 1) for a in side for b in side]
    return torch.stack([(x * sample_at(y, places + step)).sum(1) for step in steps], 1) / x.shape[1] ** 0.5


def check_maps(x: Tensor, y: Tensor) -> None:
    """Check that two maps (B, C, H, W) agree in batch and channels.

    Raises:
        InputError: they do not.
    """
    for name, one in (("source", x), ("target", y)):
        if one.dim() != 4 or not one.is_floating_point() or 0 in one.shape:
            raise InputError(
                f"the {name} map of shape {tuple(one.shape)} and {one.dtype} must be floating and (B, C, H, W)"
            )
    if x.shape[:2] != y.shape[:2]:
        raise InputError(
            f"the target map of shape {tuple(y.shape)} must have the batch and channels of the source, {tuple(x.shape)}"
        )


def check_flow(flow: Tensor, x: Tensor) -> None:
    """Check that a flow has two coordinates for each cell of a map.

    Raises:
        InputError: it does not.
    """
    wanted = (x.shape[0], 2, *x.shape[2:])
    if flow.shape != wanted:
        raise InputError(f"flow of shape {tuple(flow.shape)} must be {wanted}, x and y of each cell's target")
