"""Who is whose: each row gets a column of its own, so that the sum of similarities is the largest."""

import torch
from torch import Tensor

from convnn.errors import InputError


def match(similarity: Tensor, rows: int | None = None, columns: int | None = None) -> Tensor:
    """Return the pairs of the best assignment, by the Hungarian method.

    Args:
        similarity: (N, M), finite; larger is more alike.
        rows, columns: how many are true, the first ones; None is all. The rest is padding.

    Returns:
        (2, min(rows, columns)) int64: rows in order, and the column of each.

    Raises:
        InputError: the similarity is not a finite matrix, or has fewer rows or columns than are true.

    Reference:
        `scipy.optimize.linear_sum_assignment`.

    Example:
        >>> match(torch.tensor([[0.9, 0.8], [0.9, 0.1]]))
        tensor([[0, 1],
                [1, 0]])
    """
    from scipy.optimize import linear_sum_assignment  # takes long to import

    if similarity.dim() != 2:
        raise InputError(f"similarity of shape {tuple(similarity.shape)} must be a matrix (N, M)")
    for name, count, side in zip(("rows", "columns"), (rows, columns), similarity.shape, strict=True):
        if count is not None and not 0 <= count <= side:
            raise InputError(f"{name}={count} must lie between 0 and {side}, those of the similarity")
    true = similarity[:rows, :columns].detach()
    if not bool(true.isfinite().all()):
        raise InputError("similarity has entries that are infinite or NaN; all must be finite")
    found = linear_sum_assignment(true.double().cpu().numpy(), maximize=True)
    return torch.stack([torch.as_tensor(one, dtype=torch.long) for one in found]).to(similarity.device)
