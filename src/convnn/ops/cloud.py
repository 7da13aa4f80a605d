"""Points of a surface, and their normals."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convnn.errors import InputError


@dataclass(frozen=True)
class Cloud:
    """Points of a surface.

    Attributes:
        points: (N, 3) with N of at least 1.
        normals: (N, 3) outward, or None.

    Raises:
        InputError: shapes do not agree, or a number is not finite.
    """

    points: Tensor
    normals: Tensor | None = None

    def __post_init__(self) -> None:
        check_rows("points", self.points)
        if self.normals is not None:
            check_rows("normals", self.normals, like=self.points)

    def __len__(self) -> int:
        return self.points.shape[0]

    def to(self, dtype: torch.dtype) -> "Cloud":
        """Return the cloud with another type of numbers."""
        return Cloud(self.points.to(dtype), None if self.normals is None else self.normals.to(dtype))


def check_rows(argument: str, rows: Tensor, *, like: Tensor | None = None) -> None:
    """Check that an argument is (N, 3), N at least 1, of finite floating-point numbers, and as long as another.

    Raises:
        InputError: it is not; the message names the argument.
    """
    if rows.dim() != 2 or rows.shape[1] != 3 or not rows.shape[0] or not rows.is_floating_point():
        raise InputError(
            f"{argument} of shape {tuple(rows.shape)} and {rows.dtype} must be (N, 3), N at least 1, of floats"
        )
    if like is not None and rows.shape != like.shape:
        raise InputError(
            f"{argument} of shape {tuple(rows.shape)} must have a row for each of the {like.shape[0]} points"
        )
    if not rows.isfinite().all():
        row = int((~rows.isfinite()).any(1).nonzero()[0])
        raise InputError(f"{argument}[{row}]={rows[row].tolist()} must be finite")
