"""What matches of cells say about points: where the cells go, and where points between them."""

import torch
from torch import Tensor

from convnn.errors import InputError, check_positive


def expected_targets(matches: Tensor, size: tuple[int, int], sigma: float = 17.0) -> Tensor:
    r"""Return where each source cell goes: the mean target by a softmax, around the cell's best match.

    .. math:: \sum_q \operatorname{softmax}_q \big(c_{pq} \, e^{-|q - m_p|^2 / (2 \sigma^2)}\big) \, z_q,
        \qquad m_p = \arg\max_q c_{pq}

    Args:
        matches: c (B, N, H' W').
        size: H' and W' of the target.
        sigma: width of the window around the best match, in cells, positive.

    Returns:
        x and y from -1 at the first cell to 1 at the last, (B, 2, N).

    Raises:
        InputError: the size does not fit the matches, or sigma is not positive.
    """
    check_positive("sigma", sigma)
    if matches.dim() != 3 or matches.shape[2] != size[0] * size[1]:
        raise InputError(f"matches of shape {tuple(matches.shape)} must be (B, N, {size[0]} * {size[1]}) for {size=}")
    cells = corner_grid(size, matches)
    steps = torch.tensor([size[1] - 1, size[0] - 1]).to(cells).div(2).unsqueeze(1)  # cells in a unit of z
    best = matches.argmax(2)
    apart = steps.unsqueeze(2) * (cells.unsqueeze(1) - cells[:, best].movedim(1, 0).unsqueeze(3))
    shares = (matches * torch.exp(-apart.square().sum(1) / (2 * sigma**2))).softmax(2)
    return (shares @ cells.T).mT


def transfer_keypoints(
    matches: Tensor,
    keypoints: Tensor,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    *,
    sigma: float = 17.0,
    reach: float = 0.1,
) -> Tensor:
    r"""Return where points of the source lie in the target: the mean of what the cells around each of them say.

    A cell at g counts :math:`\max(0, r - \sqrt{|g - x|^2 + 10^{-5}})` for a point at x. Where no cell is within reach,
    as on coarse maps, the nearest one decides; the published code divides 0 by 0 there.

    Args:
        matches: (B, H W, H' W') confidences; the softmax of `expected_targets` sees them as they are, so that small
            ones should be multiplied first.
        keypoints: (B, 2, P) x and y from -1 to 1.
        sizes: (H, W) and (H', W').
        sigma: see `expected_targets`.
        reach: r, positive.

    Returns:
        (B, 2, P).

    Raises:
        InputError: shapes do not agree, or a number is not positive.

    Reference:
        Min and Cho, arXiv 2103.16831, section 4.
    """
    check_positive("reach", reach)
    source, target = sizes
    if matches.dim() != 3 or matches.shape[1] != source[0] * source[1]:
        raise InputError(
            f"matches of shape {tuple(matches.shape)} must be (B, {source[0]} * {source[1]}, M) for {sizes=}"
        )
    if keypoints.dim() != 3 or keypoints.shape[:2] != (matches.shape[0], 2):
        raise InputError(f"keypoints of shape {tuple(keypoints.shape)} must be ({matches.shape[0]}, 2, P)")
    moved = expected_targets(matches, target, sigma)
    away = (corner_grid(source, matches).unsqueeze(2) - keypoints.unsqueeze(2)).square().sum(1)  # (B, H W, P)
    counts = (reach - (away + 1e-5).sqrt()).clamp_min(0)
    nearest = torch.zeros_like(counts).scatter(1, away.argmin(1, keepdim=True), 1)
    counts = torch.where(counts.sum(1, keepdim=True) > 0, counts, nearest)
    return moved @ (counts / counts.sum(1, keepdim=True))


def corner_grid(size: tuple[int, int], like: Tensor) -> Tensor:
    """Return x and y (2, H W) of cells, from -1 at the first to 1 at the last; a single one is at 0."""
    y, x = (
        torch.linspace(-1, 1, n, dtype=like.dtype, device=like.device) if n > 1 else like.new_zeros(1) for n in size
    )
    return torch.stack([x.repeat(size[0]), y.repeat_interleave(size[1])])
