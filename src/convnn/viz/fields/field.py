"""The effective receptive field: which positions of an image the middle of the output depends on, and how much."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn._modes import evaluating


class FieldSide(NamedTuple):
    """The square that holds a share of the contributions.

    Attributes:
        threshold: the share.
        side: side of the smallest square around the middle that holds more than it, in positions; None if none does.
        ratio: its share of the area of the map; None without a side.
    """

    threshold: float
    side: int | None
    ratio: float | None


def receptive_field(model: nn.Module, images: Tensor) -> Tensor:
    r"""Return how much each position of images contributes to the middle of the output, (H, W).

    .. math:: M_{ij} = \sum_{b, c} \operatorname{ReLU} \left( \frac{\partial s}{\partial x_{bcij}} \right), \qquad
        s = \sum_{b, c} \operatorname{ReLU}(f(x)_{bc, \lfloor h / 2 \rfloor, \lfloor w / 2 \rfloor})

    Only what increases positive outputs counts. The model is in evaluation mode meanwhile, and unchanged afterwards.

    Args:
        model: f, a layer or a network without its head, from (B, C, H, W) to (B, C', h, w).
        images: (B, C, H, W), of any size; the published setting is the mean over 50 images, one at a time.

    Raises:
        InputError: images or outputs are not maps.

    Reference:
        Ding et al., arXiv 2203.06717 and 2410.08049, in the form of their code.

    Example:
        >>> receptive_field(nn.Conv2d(3, 8, 3, padding=1), torch.rand(1, 3, 9, 9)).count_nonzero() <= 9
        tensor(True)
    """
    if images.dim() != 4:
        raise InputError(f"images of shape {tuple(images.shape)} must be (B, C, H, W)")
    images = images.detach().clone().requires_grad_()
    with torch.enable_grad(), evaluating(model):
        out = model(images)
        if out.dim() != 4:
            raise InputError(
                f"the model returns {tuple(out.shape)}, which is no map (B, C, H, W); give its features, such as"
                " network.forward_features"
            )
        (gradient,) = torch.autograd.grad(middle_of(out).relu().sum(), images)
    return gradient.relu().sum((0, 1))


def middle_of(maps: Tensor) -> Tensor:
    """Return the position in the middle of maps (B, C, H, W), (B, C); of the four of even sides, the last."""
    return maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]


def field_sides(scores: Tensor, thresholds: Sequence[float] = (0.2, 0.3, 0.5, 0.99)) -> list[FieldSide]:
    """Return the squares around the middle that hold given shares of the contributions (H, W), on a logarithmic scale.

    Contributions are log10(M + 1); squares have sides from 3 to about the height of the map.

    Raises:
        InputError: there is no contribution, or the scores are not (H, W).
    """
    if scores.dim() != 2 or not scores.max() > 0:
        raise InputError(f"scores of shape {tuple(scores.shape)} must be (H, W) with at least one above 0")
    shares = scores.log1p()  # to any base, and of the smallest contributions too
    shares = shares / shares.sum()
    (height, width), found = scores.shape, []
    row, column = height // 2, width // 2
    held = {
        2 * i + 1: shares[max(row - i, 0) : row + i + 1, max(column - i, 0) : column + i + 1].sum().item()
        for i in range(1, height // 2)
    }
    for threshold in thresholds:
        side = next((side for side, share in held.items() if share > threshold), None)
        ratio = None if side is None else side / height * side / width
        found.append(FieldSide(threshold, side, ratio))
    return found
