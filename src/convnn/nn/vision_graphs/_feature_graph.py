"""Search for the nearest positions by feature, as in Vision GNN."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.nn._field import Field
from convnn.nn._settings import unless_usual, written
from convnn.ops import Neighbors, select

PERIOD = 10000
"""The longest wave of the codes of positions, in positions over 2 pi."""


@dataclass(frozen=True, kw_only=True)
class FeatureSearch:
    r"""Search for neighbours by feature: every d-th of the K d nearest positions.

    The distance is the squared distance of features, or of features scaled to length 1, to which codes p of both
    positions add :math:`-2 p_i \cdot p_j / C`. Neighbours may be cells of positions, with the mean of their features.
    The choice carries no gradient.

    Attributes:
        K: number of neighbours of each position.
        graph_dilation: d, keep every d-th of the nearest.
        reduction: side of the cells that are the candidates.
        relative_side: side of the map of the codes, which are stretched to other sizes; 0: no codes.
        scale_features: whether features are scaled to length 1.
    """

    K: int
    graph_dilation: int
    reduction: int
    relative_side: int
    scale_features: bool

    def __post_init__(self) -> None:
        for name in ("K", "graph_dilation", "reduction"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("relative_side", self.relative_side, 0)

    def __str__(self) -> str:
        """Write K, dilation and reduction, and the side of the codes where there are some."""
        codes = unless_usual(relative_side=(self.relative_side, 0))
        shown = written(K=self.K, graph_dilation=self.graph_dilation, reduction=self.reduction)
        return f"{shown}, {codes}" if codes else shown

    def check_channels(self, in_channels: int) -> None:
        """Refuse numbers of channels without codes, which consist of sines and cosines of rows and columns.

        Raises:
            InputError: the channels are not a multiple of 4.
        """
        if self.relative_side and in_channels % 4:
            with_codes = f"with relative_side={self.relative_side}"
            raise InputError(f"in_channels={in_channels} must be a multiple of 4 {with_codes}")

    def cells(self, field: Field) -> Tensor:
        """Return the features (B, M, C) of the candidates: positions, or means over cells."""
        side = min(self.reduction, *field.size)
        if side == 1:
            return field.features
        return F.avg_pool2d(field.features.mT.unflatten(2, field.size), side).flatten(2).mT

    def select(self, field: Field, cells: Tensor, *, backend: str = "auto") -> Neighbors:
        """Return the cells that are the neighbours of every computed position, nearest first."""
        queries, keys = self._compared(field.features), self._compared(cells)
        metric = "euclidean"
        if self.relative_side:
            queries, keys = _with_codes(queries, keys, self.relative_side, self.reduction)
            metric = "matmul"
        own_is_nearest = cells.shape[1] == field.features.shape[1] and not self.relative_side
        found = select.nearest(
            field.at_queries(queries),
            keys,
            min(self.K * self.graph_dilation, keys.shape[1]),
            metric=metric,
            positions=field.queries() if own_is_nearest else None,
            backend=backend,
        )
        return found.every(self.graph_dilation)

    def middles(self, field: Field, *, backend: str = "auto") -> Neighbors:
        """Return the neighbours of the positions of the grid; a cell is given by the position in its middle."""
        chosen = self.select(field, self.cells(field), backend=backend).indices
        height, width = field.real_size
        side = min(self.reduction, height, width)
        rows, columns = chosen // (width // side), chosen % (width // side)
        return Neighbors((rows * side + side // 2) * width + columns * side + side // 2)

    def _compared(self, rows: Tensor) -> Tensor:
        """Detach rows, in at least float32 if lengths are computed, which must not overflow."""
        if not (self.scale_features or self.relative_side):
            return rows
        precise = rows.detach().to(torch.promote_types(rows.dtype, torch.float32))
        return F.normalize(precise, dim=-1) if self.scale_features else precise


def position_codes(side: int, channels: int) -> Tensor:
    r"""Return the codes (side * side, C) of the positions of a square map, of squared length C / 2.

    Sines and then cosines of the column times :math:`10000^{-4 t / C}`, t = 0, ..., C / 4 - 1, and of the row.
    """
    places = torch.cartesian_prod(torch.arange(side), torch.arange(side)).double().view(-1, 2)
    waves = PERIOD ** (-torch.arange(channels // 4).double() / (channels // 4))
    down, right = (places[:, axis, None] * waves for axis in (0, 1))
    return torch.cat([right.sin(), right.cos(), down.sin(), down.cos()], dim=1)


def _with_codes(queries: Tensor, keys: Tensor, side: int, reduction: int) -> tuple[Tensor, Tensor]:
    """Return rows whose inner products rank keys as minus the distances with codes do.

    Minus half of ||q - k||^2 - 2 p . r / C is q . k - ||k||^2 / 2 + p . r / C, except for terms that all keys share.
    """
    channels = queries.shape[-1]
    codes = position_codes(side, channels).to(queries)
    of_cells = _stretched(codes, max(1, side**2 // reduction**2))
    of_queries, of_keys = (
        _stretched(known, rows.shape[1]).expand(rows.shape[0], -1, -1)
        for known, rows in ((codes, queries), (of_cells, keys))
    )
    ones = torch.ones_like(queries[..., :1])
    longer = [keys, of_keys / channels, -keys.square().sum(-1, keepdim=True) / 2]
    return torch.cat([queries, of_queries, ones], dim=-1), torch.cat(longer, dim=-1)


def _stretched(codes: Tensor, length: int) -> Tensor:
    """Resize a list of codes to another length, as published: by cubic interpolation in raster order."""
    if length == codes.shape[0]:
        return codes
    return F.interpolate(codes.T[None, :, :, None], (length, 1), mode="bicubic", align_corners=False)[0, :, :, 0].T
