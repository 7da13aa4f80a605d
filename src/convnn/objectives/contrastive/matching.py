"""Contrast of pairs whose annotations may be wrong: a teacher says how far to believe them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_fraction
from convnn.objectives.contrastive.engine import Pairs, check_rows
from convnn.objectives.contrastive.scores import Cosine


def common_nce_loss(
    x: Tensor,
    y: Tensor,
    teacher_x: Tensor,
    teacher_y: Tensor,
    logit_scale: Tensor,
    teacher_logit_scale: Tensor,
    alpha: float,
) -> Tensor:
    r"""Return InfoNCE of annotated pairs, in both directions, whose targets are in part what a teacher sees.

    .. math:: -\frac{1}{2 N} \sum_{ij} \big(T_{ij} \log \operatorname{softmax}_j(e^s u_i \cdot v_j) +
        T'_{ij} \log \operatorname{softmax}_j(e^s v_i \cdot u_j)\big), \qquad
        T = a \operatorname{softmax}(e^{s'} U' V'^\top) + (1 - a) I

    with rows of length 1, and T' the same for :math:`V' U'^\top`. Targets have no gradient.

    Args:
        x, y: (N, d), row i of x is annotated to match row i of y; all other rows repel.
        teacher_x, teacher_y: (N, d), the same rows by the teacher.
        logit_scale, teacher_logit_scale: s and s', logarithms of one over the temperature: ().
        alpha: a, in [0, 1]; at 0 the annotation is believed, and this is the loss of CLIP.

    Returns:
        A number. Rows of zeros have cosine 0.

    Raises:
        InputError: shapes differ, or alpha is out of range.

    Reference:
        Lin et al., "Graph Matching with Bi-level Noisy Correspondence", arXiv 2212.05085, section 3.2.
    """
    _check_shapes(x, y, teacher_x, teacher_y)
    check_fraction("alpha", alpha)
    scaled = F.normalize(x, dim=1) * logit_scale.exp()
    other, itself = F.normalize(y, dim=1), torch.eye(x.shape[0]).to(x)
    with torch.no_grad():
        seen = Cosine(1.0)(teacher_x, teacher_y) * teacher_logit_scale.exp()
        targets, back = (alpha * scores.softmax(1) + (1 - alpha) * itself for scores in (seen, seen.mT))
    forth = Pairs(scaled, other, _product)
    again = Pairs(other, scaled, _product)
    losses = [pairs.log_partition() - pairs.total(of) for pairs, of in ((forth, targets), (again, back))]
    return torch.stack(losses).mean()


class _Product:
    metric = "dot"

    def __call__(self, queries: Tensor, keys: Tensor) -> Tensor:
        return queries @ keys.mT


_product = _Product()


def pair_confidence(teacher_x: Tensor, teacher_y: Tensor) -> Tensor:
    r"""Return how far a teacher believes each annotated pair, from 0 of the least believed to 1 of the most.

    .. math:: c_i = \frac{1}{2} \Big(\frac{M_{ii}}{\sum_j M_{ij}} + \frac{M_{ii}}{\sum_j M_{ji}}\Big), \qquad
        M = U' V'^\top

    Rows should not be negative, as after ReLU; otherwise sums may be near 0, and a confidence of any size. Where all
    are equal, all are 1; the published code divides 0 by 0.

    Args:
        teacher_x, teacher_y: (N, d), N at least 2.

    Returns:
        (N,), without gradient.

    Raises:
        InputError: shapes differ, or N is below 2.
    """
    _check_shapes(teacher_x, teacher_y, names=("teacher_x", "teacher_y"))
    _check_count(teacher_x)
    with torch.no_grad():
        similar = Cosine(1.0)(teacher_x, teacher_y)
        own = similar.diagonal()
        return _spread((own / similar.sum(1) + own / similar.sum(0)) / 2)


def quadratic_contrast_loss(x: Tensor, y: Tensor, teacher_x: Tensor, teacher_y: Tensor) -> Tensor:
    r"""Return how far edges of two matched graphs differ, where a teacher believes both their ends.

    .. math:: \frac{1}{N} \sum_{ij} W_{ij} \big((U U^\top - V V^\top)_{ij}^2 + (U V^\top - V U^\top)_{ij}^2\big)

    with rows of length 1. W is the outer product of `pair_confidence` with itself, spread over [0, 1]; it has no
    gradient. The pair that is believed least counts nothing, so that there is no signal below three pairs. The
    temperature of the other loss has no part in it.

    Args:
        x, y: (N, d), row i of x is annotated to match row i of y, N at least 2.
        teacher_x, teacher_y: (N, d), the same rows by the teacher.

    Returns:
        A number; 0 where x = y.

    Raises:
        InputError: shapes differ, or N is below 2.

    Reference:
        Lin et al., "Graph Matching with Bi-level Noisy Correspondence", arXiv 2212.05085, section 3.3.
    """
    _check_shapes(x, y, teacher_x, teacher_y)
    _check_count(x)
    confidence = pair_confidence(teacher_x, teacher_y)
    weight = _spread(confidence.unsqueeze(1) * confidence)
    u, v = F.normalize(x, dim=1), F.normalize(y, dim=1)
    cross = u @ v.mT
    apart = (u @ u.mT - v @ v.mT).square() + (cross - cross.mT).square()
    return (weight * apart).sum() / x.shape[0]


def _spread(values: Tensor) -> Tensor:
    """Return values moved and scaled to lie from 0 to 1, or ones where all are equal."""
    least, most = values.min(), values.max()
    return torch.where(most > least, (values - least) / (most - least), torch.ones_like(values))


def _check_shapes(*rows: Tensor, names: tuple[str, ...] = ("x", "y", "teacher_x", "teacher_y")) -> None:
    """Check that rows of students and teachers have one shape (N, d).

    Raises:
        InputError: they do not; the message names the one that differs.
    """
    check_rows(names[0], rows[0])
    for name, one in zip(names[1:], rows[1:], strict=True):
        if one.shape != rows[0].shape:
            raise InputError(
                f"{name} of shape {tuple(one.shape)} must have the shape of {names[0]}, {tuple(rows[0].shape)}"
            )


def _check_count(rows: Tensor) -> None:
    if rows.shape[0] < 2:
        raise InputError(f"{rows.shape[0]} pairs are too few: quadratic contrast compares confidences of at least 2")
