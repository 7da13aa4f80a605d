"""Random projections of gradients, of which only some rows are there at a time."""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from convnn.data.seeds import derive_seed
from convnn.errors import InputError, check_at_least, check_choice

KINDS = ("rademacher", "normal")
BLOCK = 4096
"""Rows that have a generator of their own, so that a row is the same wherever the columns of a Jacobian are cut."""


@dataclass(frozen=True)
class Projection:
    r"""A random matrix R (P, k) that is drawn again, row by row, whenever it is needed.

    :math:`E[R R^T] = k I`, so that :math:`\langle g R, g' R \rangle / k` is an unbiased estimate of
    :math:`\langle g, g' \rangle`, with an error in proportion to :math:`1 / \sqrt k`.

    Args:
        dim: k, 1 to the number of parameters P.
        kind: entries "rademacher", 1 or -1 with probability 1/2, or "normal", standard.
        seed: of the generators; rows from 4096 i on come from that of (seed, i), on the processor.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Johnson and Lindenstrauss, 1984; Achlioptas, 2003; of gradients, Park et al., TRAK, arXiv 2303.14186.
    """

    dim: int = 512
    kind: str = "rademacher"
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least("dim", self.dim, 1)
        check_choice("kind", self.kind, KINDS)
        check_at_least("seed", self.seed, 0)

    def check(self, num_parameters: int) -> None:
        """Refuse a projection to more numbers than there are.

        Raises:
            InputError: k exceeds P.
        """
        if self.dim > num_parameters:
            raise InputError(f"dim={self.dim} must be at most {num_parameters}, the number of parameters")

    def rows(self, start: int, stop: int, like: Tensor) -> Tensor:
        """Return R from row `start` to row `stop`, in the type and on the device of a tensor."""
        first = start // BLOCK
        blocks = torch.cat([_block(self, number) for number in range(first, -(-stop // BLOCK))])
        drawn = blocks[start - first * BLOCK : stop - first * BLOCK].to(like)
        return drawn if self.kind == "normal" else 2 * drawn - 1


@lru_cache(maxsize=2)  # small parameters share a block
def _block(projection: Projection, number: int) -> Tensor:
    """Return rows as they are drawn: bits in place of signs."""
    generator = torch.Generator().manual_seed(derive_seed("projection", projection.seed, number) % 2**32)
    if projection.kind == "normal":
        return torch.randn(BLOCK, projection.dim, generator=generator)
    bytes_ = torch.randint(256, (BLOCK, -(-projection.dim // 8)), generator=generator, dtype=torch.uint8)
    bits = bytes_.unsqueeze(2) >> torch.arange(8, dtype=torch.uint8) & 1  # many times faster than a draw each
    return bits.flatten(1)[:, : projection.dim]


@dataclass(frozen=True, eq=False)
class Given:
    """A matrix R (P, k) that is given, such as one that was kept with published results."""

    matrix: Tensor

    @property
    def dim(self) -> int:
        """The number of columns k."""
        return self.matrix.shape[1]

    def check(self, num_parameters: int) -> None:
        """Refuse a matrix with other rows than the parameters.

        Raises:
            InputError: its shape is not (P, k).
        """
        if self.matrix.dim() != 2 or self.matrix.shape[0] != num_parameters or not self.matrix.shape[1]:
            raise InputError(
                f"projection of shape {tuple(self.matrix.shape)} must be ({num_parameters}, k), a row a parameter"
            )

    def rows(self, start: int, stop: int, like: Tensor) -> Tensor:
        """Return R from row `start` to row `stop`, in the type and on the device of a tensor."""
        return self.matrix[start:stop].to(like)


def as_projection(projection: "Projection | Tensor | int | None", num_parameters: int) -> "Projection | Given":
    """Return a projection that fits: itself, that of a matrix, that of so many numbers, or the default, at most P.

    Raises:
        InputError: it does not fit the number of parameters, or is no projection.
    """
    if projection is None:
        projection = Projection(min(Projection.dim, num_parameters))
    if isinstance(projection, int) and not isinstance(projection, bool):
        projection = Projection(projection)
    found = Given(projection) if isinstance(projection, Tensor) else projection
    if not isinstance(found, Projection | Given):
        raise InputError(f"projection={projection!r} must be a Projection, a number of columns, or a matrix (P, k)")
    found.check(num_parameters)
    return found
