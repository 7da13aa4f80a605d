"""Contrast by labels: rows of one class attract each other, and all other rows repel."""

import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.objectives.contrastive.engine import Pairs, check_rows
from convnn.objectives.contrastive.scores import Cosine


def supervised_contrast(z: Tensor, labels: Tensor, *, temperature: float = 0.1, rows: int | None = None) -> Tensor:
    r"""Return how much less alike rows of one class are than all rows.

    .. math:: \frac{1}{|\{i : P_i \neq \emptyset\}|} \sum_i \frac{-1}{|P_i|} \sum_{j \in P_i}
        \Big( s_{ij} - \log \sum_{k \neq i} e^{s_{ik}} \Big), \qquad s_{ij} = \cos(z_i, z_j) / T

    where :math:`P_i` are the other rows of the same class. It is 0 if all rows are alone in their class.

    Args:
        z: (N, d).
        labels: (N,) class of each row, int64.
        temperature: T, above 0.
        rows: queries of which all scores are alive at once, see `Pairs`.

    Returns:
        A number.

    Raises:
        InputError: shapes or types do not agree, or the temperature is not positive.

    Reference:
        Khosla et al., "Supervised contrastive learning", arXiv 2004.11362, equation 2.

    Example:
        >>> supervised_contrast(torch.eye(3)[[0, 0, 1]], torch.tensor([5, 5, 7]), temperature=1.0)
        tensor(0.3133)
    """
    check_rows("z", z)
    count = z.shape[0]
    if labels.shape != (count,) or labels.dtype != torch.long:
        raise InputError(f"labels of shape {tuple(labels.shape)} and {labels.dtype} must be ({count},) int64")
    own = torch.arange(count, device=z.device)
    pairs = Pairs(z, z, Cosine(temperature), own=own, rows=rows)
    positive = (labels.unsqueeze(1) == labels).to(pairs.queries.dtype).fill_diagonal_(0)
    others = positive.sum(1)
    is_alone = others == 0
    if bool(is_alone.all()):
        return z.sum() * 0
    each = pairs.log_partition() - pairs.total(positive / others.clamp_min(1).unsqueeze(1))
    return each.masked_fill(is_alone, 0).sum() / (~is_alone).sum()
