"""Cumulative spatial distillation: what a CNN says at every place teaches the patch that lies there."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_choice, check_fraction, check_not_negative, check_positive
from convnn.objectives.distillation.logits import (
    KINDS,
    best_class_loss,
    check_logits,
    deit_distillation,
    divergence,
)

DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda x: 1 - x,
    "x2": lambda x: (1 - x) ** 2,
    "cos": lambda x: math.cos(math.pi * x / 2),
}
"""How the share of the local responses falls from 1 to 0 as training proceeds from 0 to 1."""


def fusion_ratio(progress: float, kind: str = "linear") -> float:
    r"""Return the share of the local responses: 1 at the beginning of training and 0 at its end.

    .. math:: 1 - x, \qquad (1 - x)^2, \qquad \cos(\pi x / 2)

    Args:
        progress: x, epochs done over all epochs, 0 to 1.
        kind: "linear", "x2" or "cos".

    Raises:
        InputError: progress lies outside, or the kind is unknown.

    Example:
        >>> fusion_ratio(0.5), fusion_ratio(0.5, "x2")
        (0.5, 0.25)
    """
    check_fraction("progress", progress)
    check_choice("kind", kind, DECAYS)
    return DECAYS[kind](progress)


def fuse_responses(teacher: Tensor, ratio: float) -> Tensor:
    r"""Return local responses mixed with their mean, :math:`r\,t + (1 - r)\,\bar t`.

    Args:
        teacher: (B, K, h, w), t, the logits of a classifier at every place of the last map.
        ratio: r, share of the local responses, 0 to 1.

    Returns:
        (B, K, h, w), in the paper "cumulative" knowledge.

    Raises:
        InputError: the shape is another, or the ratio lies outside.
    """
    check_fraction("ratio", ratio)
    if teacher.dim() != 4:
        raise InputError(f"teacher of shape {tuple(teacher.shape)} must be (B, K, h, w)")
    return ratio * teacher + (1 - ratio) * teacher.mean((2, 3), keepdim=True)


def cskd_loss(
    student: Tensor,
    teacher: Tensor,
    ratio: float,
    *,
    kind: str = "hard",
    temperature: float = 1.0,
    grid: tuple[int, int] | None = None,
    adaptive: bool = False,
) -> Tensor:
    r"""Return the loss by which the patches of a student learn what a CNN sees where they are.

    The student's logits are averaged to z on the teacher's grid (the teacher's to the student's where theirs is the
    finer), and q is `fuse_responses(teacher, ratio)`. Hard, it is the cross-entropy of z with the best class of q, a
    mean over samples and places; soft, a sum over the places, as in the published code:

    .. math:: \frac{T^2}{B} \sum_{b, i, j} \operatorname{KL}\left( \operatorname{softmax}(q_{bij} / T)
        \,\|\, \operatorname{softmax}(z_{bij} / T) \right)

    The teacher gets no gradient.

    Args:
        student: (B, M, K) logits of the patches, row by row.
        teacher: (B, K, h, w) logits of the CNN's classifier at every place of its last map; see `dense_responses`.
        ratio: share of the local responses, 0 to 1; see `fusion_ratio`.
        kind: "hard" or "soft".
        temperature: T, positive; only soft targets have one.
        grid: (H, W), rows and columns of the patches; None: a square.
        adaptive: average also where a side of the finer grid is no multiple of the coarser one's, in windows of unequal
            sizes; otherwise refuse it.

    Raises:
        InputError: samples or classes differ, the patches are no such grid, the grids do not fit, the kind is unknown,
            or a number lies outside.

    Reference:
        Zhao et al., "Cumulative Spatial Knowledge Distillation for Vision Transformers", arXiv 2307.08500.
    """
    check_choice("kind", kind, KINDS)
    check_positive("temperature", temperature)
    target = fuse_responses(teacher.detach(), ratio)
    z = as_map(student, grid)
    if z.shape[:2] != target.shape[:2]:
        raise InputError(
            f"teacher of shape {tuple(teacher.shape)} must have the {z.shape[0]} samples and {z.shape[1]} classes of"
            " the student"
        )
    common = (min(z.shape[2], target.shape[2]), min(z.shape[3], target.shape[3]))
    z, target = (_averaged(one, common, adaptive) for one in (z, target))
    if kind == "hard":
        return best_class_loss(z, target)
    return divergence(z, target, temperature) / max(z.shape[0], 1)


def as_map(student: Tensor, grid: tuple[int, int] | None = None) -> Tensor:
    """Return the logits (B, M, K) of patches as a map (B, K, H, W); without a grid it is a square.

    Raises:
        InputError: the shape is another, or M patches are no such grid.
    """
    if student.dim() != 3:
        raise InputError(f"student of shape {tuple(student.shape)} must be (B, M, K)")
    side = math.isqrt(student.shape[1])
    height, width = (side, side) if grid is None else grid
    if height * width != student.shape[1]:
        wanted = "a square" if grid is None else f"grid={tuple(grid)}"
        raise InputError(f"student has {student.shape[1]} patches, which are not {wanted}")
    return student.mT.unflatten(2, (height, width))


def dense_responses(features: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what a classifier says at every place of a map: (B, F, h, w) to (B, K, h, w).

    Args:
        features: (B, F, h, w), the last map of a CNN.
        head: from maps (B', F, 1, 1) to logits (B', K), such as the `forward_head` of a network that averages its map.
            If it is affine after that, the mean of the responses is the network's output.

    Raises:
        InputError: the features are no maps.
    """
    if features.dim() != 4:
        raise InputError(f"features of shape {tuple(features.shape)} must be maps, (B, F, h, w)")
    places = features.permute(0, 2, 3, 1)
    logits = head(places.reshape(-1, features.shape[1], 1, 1))
    return logits.unflatten(0, places.shape[:3]).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class CSKD:
    r"""Teaches a student of tokens by a CNN: its class token by labels, its distillation token, and its patches.

    .. math:: (1 - \alpha) L_{\text{labels}} + \alpha L_{\text{token}} + w L_{\text{patches}}

    with `deit_distillation` on the mean of the teacher's responses, and `cskd_loss`. The student's answer is the mean
    of the logits of its two tokens and of all patches, as that of `convnn.models.ViT` with a distillation token is.

    Attributes:
        alpha: share of the teacher for the tokens that stand for the image, 0 to 1.
        weight: w, at least 0.
        token: kind of the distillation token's targets, "hard" or "soft"; "none": labels alone, and nothing distilled.
        patches: kind of the patches' targets, "hard" or "soft".
        temperature: T of soft targets.
        decay: kind of `fusion_ratio`.

    Raises:
        InputError: a kind is unknown, or a number lies outside.
    """

    alpha: float = 0.5
    weight: float = 1.0
    token: str = "hard"
    patches: str = "hard"
    temperature: float = 1.0
    decay: str = "linear"

    def __post_init__(self) -> None:
        check_fraction("alpha", self.alpha)
        check_choice("token", self.token, (*KINDS, "none"))
        check_choice("patches", self.patches, KINDS)
        check_choice("decay", self.decay, DECAYS)
        check_positive("temperature", self.temperature)
        check_not_negative("weight", self.weight)

    def ratio(self, epoch: int, epochs: int) -> float:
        """Return the share of the local responses in an epoch, counted from 0, of a number of epochs.

        Raises:
            InputError: there is no epoch, or no such one.
        """
        if epochs < 1 or not 0 <= epoch <= epochs:
            raise InputError(f"epoch={epoch} must lie between 0 and epochs={epochs}, of which there must be one")
        return fusion_ratio(epoch / epochs, self.decay)

    def losses(
        self,
        token: Tensor,
        patches: Tensor,
        teacher: Tensor,
        ratio: float,
        grid: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the losses of the distillation token and of the patches, unweighted.

        Args:
            token: (B, K) logits of the distillation token.
            patches: (B, M, K) logits of the patches.
            teacher: (B, K, h, w) logits of the CNN at every place.
            ratio: share of the local responses.
            grid: rows and columns of the patches; None: a square.
        """
        check_logits(token, teacher.mean((2, 3)))
        kind = "hard" if self.token == "none" else self.token
        of_token = deit_distillation(token, teacher.mean((2, 3)), kind=kind, temperature=self.temperature)
        of_patches = cskd_loss(
            patches, teacher, ratio, kind=self.patches, temperature=self.temperature, grid=grid, adaptive=True
        )
        return of_token, of_patches

    def total(self, labels: Tensor, token: Tensor, patches: Tensor) -> Tensor:
        """Return the weighted sum of the three losses."""
        if self.token == "none":
            return labels
        return (1 - self.alpha) * labels + self.alpha * token + self.weight * patches


def _averaged(logits: Tensor, size: tuple[int, int], adaptive: bool) -> Tensor:
    sides = list(logits.shape[2:])
    if all(side % coarse == 0 for side, coarse in zip(sides, size, strict=True)):
        return F.avg_pool2d(logits, [side // coarse for side, coarse in zip(sides, size, strict=True)])
    if not adaptive:
        raise InputError(
            f"a grid of {sides[0]} x {sides[1]} cannot be averaged to {size[0]} x {size[1]}, as its sides are no"
            " multiples; give adaptive=True"
        )
    return F.adaptive_avg_pool2d(logits, size)
