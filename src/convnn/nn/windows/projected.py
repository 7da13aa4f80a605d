r"""Attention of a map seen from above to small windows of camera images, around the places where its cells appear."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.ops import Neighbors, aggregate, weigh
from convnn.ops.projection import Rig, project_windows, rays


def unit(y: Tensor) -> Tensor:
    """Return vectors over their length, 0 for those of length 0."""
    return y / (y.norm(dim=-1, keepdim=True) + 1e-7)


class WindowCrossAttention(nn.Module):
    r"""Attention whose queries, one for each cell and camera, share one softmax over the windows of all cameras.

    .. math:: s_{ijk} = \langle q_{ij}, k_{jl} \rangle / \sqrt{d_h}, \quad l = l_{ijk}, \qquad
        z_i = O \sum_{j, k} \operatorname{softmax}_{jk}(s_i) \, v_{jl}

    for cell i, camera j and place k of its window. Queries, keys and values are normalised over their channels and
    projected. Windows of cameras that do not see the cell weigh nothing; if none sees it, all weigh the same.

    Args:
        dim: channels D.
        heads: number of heads.
        dim_head: channels of a head.

    Raises:
        InputError: a number is less than 1.

    Reference:
        arXiv 2206.04584, section 3.
    """

    def __init__(self, dim: int, heads: int = 4, dim_head: int = 32) -> None:
        super().__init__()
        for name, value in (("dim", dim), ("heads", heads), ("dim_head", dim_head)):
            check_at_least(name, value, 1)
        self.heads, self.dim_head = heads, dim_head
        self.query, self.key, self.value = (
            nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, heads * dim_head)) for _ in range(3)
        )
        self.output = nn.Linear(heads * dim_head, dim)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, table: Neighbors) -> Tensor:
        """Map queries (B, n, Q, D), keys and values (B, n, T, D), with n cameras, to (B, Q, D).

        Args:
            queries, keys, values: as above.
            table: neighbours (B, Q, n * k), as `project_windows` returns them, or (1, Q, n * k) for all samples.
        """
        batch, cameras, cells = queries.shape[:3]
        indices, _, absent = table.for_each_of(batch)
        # One list for each cell and camera: the queries of a camera look only at its own window.
        own = indices.unflatten(2, (cameras, -1)).transpose(1, 2).flatten(1, 2)
        q, k, v = self._split(self.query, queries), self._split(self.key, keys), self._split(self.value, values)
        scored = weigh.similarity(Neighbors(self._per_head(own)), q * self.dim_head**-0.5, k, metric="matmul")
        scores = (
            cast(Tensor, scored.scores).unflatten(1, (cameras, cells)).transpose(1, 2).flatten(2)
        )  # (B * heads, Q, n * k)
        if absent is not None:  # finite, so that a cell that no camera sees takes the plain mean
            scores = scores.masked_fill(self._per_head(absent), torch.finfo(scores.dtype).min)
        z = aggregate.weighted_sum(v, weigh.softmax(Neighbors(self._per_head(indices), scores)))
        return self.output(z.unflatten(0, (batch, self.heads)).transpose(1, 2).flatten(2))

    def _split(self, projection: nn.Module, x: Tensor) -> Tensor:
        """Project (B, n, T, D) and join the cameras: (B * heads, n * T, dim_head)."""
        return projection(x).flatten(1, 2).unflatten(2, (self.heads, -1)).transpose(1, 2).flatten(0, 1)

    def _per_head(self, lists: Tensor) -> Tensor:
        """Repeat lists (B, N, K) for the heads, (B * heads, N, K)."""
        return lists.unsqueeze(1).expand(-1, self.heads, -1, -1).flatten(0, 1)


class ProjectedAttention2d(nn.Module):
    r"""Every cell of a map seen from above attends to small windows of camera maps, where geometry says it appears.

    With the centre t of camera j and the ray D of position l (`ops.projection.rays`), and
    :math:`\operatorname{unit}(y) = y / (|y| + 10^{-7})`:

    .. math::
        q_{ij} &= \operatorname{unit}(W_b (X_i, Y_i) + b_b - W_c t_j) + x_i \\
        k_{jl} &= \operatorname{unit}(W_i D_{jl} - W_c t_j) + L_p \operatorname{relu}(\operatorname{LN}(f_{jl})), \qquad
        v_{jl} = L_v \operatorname{relu}(\operatorname{LN}(f_{jl}))

    The attention of `WindowCrossAttention` is added to the map and normalised; an MLP with a residual and a last
    normalisation follow. The windows are around the rounded projections, also where the camera differs from its
    calibration a little.

    Args:
        dim: channels D of the map seen from above.
        in_channels: channels of the camera maps.
        kernel_size: rows and columns of the windows.
        heads: number of heads.
        dim_head: channels of a head.
        kernel_conv: rows and columns, both odd, of a convolution of the camera maps before; None has none.
        image_features: keys depend on the camera maps, and not on the rays alone.
        skip: the attention is added to the map.

    Raises:
        InputError: a number is less than 1, or a side of `kernel_conv` is even.

    Reference:
        Chen et al., "Efficient and Robust 2D-to-BEV Representation Learning via Geometry-guided Kernel Transformer",
        arXiv 2206.04584. The form and the numbers are those of the published code.
    """

    def __init__(
        self,
        dim: int,
        in_channels: int,
        *,
        kernel_size: tuple[int, int] = (7, 1),
        heads: int = 4,
        dim_head: int = 32,
        kernel_conv: tuple[int, int] | None = None,
        image_features: bool = True,
        skip: bool = True,
    ) -> None:
        super().__init__()
        check_at_least("in_channels", in_channels, 1)
        for axis, side in enumerate(kernel_size):
            check_at_least(f"kernel_size[{axis}]", side, 1)
        if kernel_conv is not None and any(side % 2 != 1 for side in kernel_conv):
            raise InputError(f"kernel_conv={tuple(kernel_conv)} must be odd along both axes, so that the map stays")
        self.in_channels, self.kernel_size, self.skip = in_channels, tuple(kernel_size), skip
        self.attention = WindowCrossAttention(dim, heads, dim_head)
        self.conv = None if kernel_conv is None else nn.Conv2d(in_channels, in_channels, kernel_conv, padding="same")
        self.value = _features(in_channels, dim)
        self.key = _features(in_channels, dim) if image_features else None
        self.ground = nn.Linear(2, dim)
        self.ray = nn.Linear(4, dim, bias=False)
        self.centre = nn.Linear(4, dim, bias=False)
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))
        self.last_norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, features: Tensor, rig: Rig, points: Tensor, table: Neighbors | None = None) -> Tensor:
        """Map (B, D, H, W) and camera maps (B, n, C, h, w) to (B, D, H, W).

        Args:
            x: the map seen from above.
            features: the maps of the cameras, at least 2 x 2 positions.
            rig: the calibration of the n cameras.
            points: (3, H, W), where each cell is (`ops.projection.ground_points`).
            table: what `table` returned before for this rig, these points and this size of the camera maps; None
                computes it.

        Raises:
            InputError: shapes do not agree, those of the table included, or a matrix of the calibration is singular.
        """
        self._check(x, features, rig, points)
        table = self.table(points, rig, features.shape[-2:]) if table is None else table
        self._check_table(table, x, features)
        directions, centres = rays(rig, features.shape[-2:])
        if self.conv is not None:
            features = self.conv(features.flatten(0, 1)).unflatten(0, features.shape[:2])
        features = features.flatten(3).mT
        centre = self.centre(centres).unsqueeze(2)
        keys = unit(self.ray(directions) - centre)
        keys = keys.expand(x.shape[0], -1, -1, -1) if self.key is None else keys + self.key(features)
        cells = x.flatten(2).mT
        queries = unit(self.ground(points[:2].flatten(1).T.to(x)) - centre) + cells.unsqueeze(1)
        z = self.attention(queries, keys, self.value(features), table)
        z = self.norm(z + cells if self.skip else z)
        return self.last_norm(z + self.mlp(z)).mT.unflatten(2, x.shape[2:])

    def table(self, points: Tensor, rig: Rig, map_size: Sequence[int]) -> Neighbors:
        """Return the windows of all cells: a look-up table, if rig and points stay."""
        return project_windows(points, rig, map_size, self.kernel_size)

    def _check(self, x: Tensor, features: Tensor, rig: Rig, points: Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != self.ground.out_features:
            raise InputError(f"x of shape {tuple(x.shape)} must be (B, {self.ground.out_features}, H, W)")
        channels = self.in_channels
        if features.dim() != 5 or features.shape[0] != x.shape[0] or features.shape[2] != channels:
            raise InputError(
                f"features of shape {tuple(features.shape)} must be ({x.shape[0]}, cameras, {channels}, h, w)"
            )
        rig.check()
        if rig.intrinsics.shape[0] not in (1, x.shape[0]) or rig.intrinsics.shape[1] != features.shape[1]:
            raise InputError(
                f"intrinsics of shape {tuple(rig.intrinsics.shape)} must be of the {features.shape[1]} cameras of"
                f" features, for all samples (1, ...) or each ({x.shape[0]}, ...)"
            )
        if points.shape != (3, *x.shape[2:]):
            raise InputError(f"points of shape {tuple(points.shape)} must be (3, {x.shape[2]}, {x.shape[3]}) as x is")

    def _check_table(self, table: Neighbors, x: Tensor, features: Tensor) -> None:
        """Check that a table is of these cells, cameras and windows."""
        cells, keys = x.shape[2] * x.shape[3], features.shape[1] * self.kernel_size[0] * self.kernel_size[1]
        shape = tuple(table.indices.shape)
        if shape not in ((1, cells, keys), (x.shape[0], cells, keys)):
            raise InputError(
                f"table.indices of shape {shape} must be (1, {cells}, {keys}) or ({x.shape[0]}, {cells}, {keys}), the"
                " windows of all cells"
            )


def _features(in_channels: int, dim: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(in_channels), nn.ReLU(), nn.Linear(in_channels, dim, bias=False))
