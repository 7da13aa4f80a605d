"""Where a field is crossed on the way inward, without a mesh."""

from collections.abc import Callable

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least


def first_crossing(
    field: Callable[[Tensor], Tensor], starts: Tensor, ends: Tensor, *, steps: int = 60
) -> tuple[Tensor, Tensor]:
    """Return the first places on lines at which a field falls from above 0 to 0 or below.

    The field is evaluated at even steps, and the place is put between two of them in proportion to their values.

    Args:
        field: function of points (Q, 3) with values (Q,), positive outside.
        starts, ends: (N, 3) of the lines.
        steps: number of steps on a line.

    Returns:
        (N, 3) places, those of the starts where nothing is crossed, and (N,) bool whether something is.

    Raises:
        InputError: the starts and ends have other shapes, or there is no step.
    """
    check_at_least("steps", steps, 1)
    if starts.dim() != 2 or starts.shape[1] != 3 or ends.shape != starts.shape:
        raise InputError(f"starts of shape {tuple(starts.shape)} and ends of {tuple(ends.shape)} must both be (N, 3)")
    shares = torch.linspace(0, 1, steps + 1, dtype=starts.dtype)
    values = torch.stack([field(starts + share * (ends - starts)) for share in shares])
    falls = (values[:-1] > 0) & (values[1:] <= 0)
    first = falls.byte().argmax(0, keepdim=True)
    before, after = values.gather(0, first)[0], values.gather(0, first + 1)[0]
    within = torch.where(falls.any(0), before / (before - after), 0)
    share = torch.where(falls.any(0), (first[0] + within) / steps, 0)
    return starts + share.unsqueeze(1) * (ends - starts), falls.any(0)
