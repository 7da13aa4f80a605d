"""Any graph layer as a layer on maps, by the graph of what stands around each position."""

from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn._field import like
from convnn.nn._layer import MapLayer
from convnn.nn._settings import unless_usual
from convnn.nn.graphs.found._found import apply_to, channels_of, check_not_cached
from convnn.ops import METRICS, Neighbors, check_backend
from convnn.ops.surroundings import around, nearest_around


class GraphOnGrid(MapLayer):
    r"""A graph layer on the positions of a map, each joined to those around it, or to the most similar of them.

    .. math:: y = f(x, E), \qquad E = \{ (j, i) : j \in N(i) \}

    with N(i) the positions at most r away along every axis, itself among them, and f as in `GraphOnMap`. Lists at the
    border are shorter unless the map is periodic. The maps of a batch are one graph, without edges between them.

    Args:
        conv: the graph layer f.
        reach: r.
        faces: only offsets along a single axis, such as the 6 voxels that share a face.
        periodic: wrap around the border.
        K: keep the K most similar of N(i), itself first; -1 keeps all. The choice carries no gradient.
        metric: "euclidean", "cosine" or "matmul", by which they are compared.
        backend: implementation of the comparison: "auto" (the fastest available), "cpu", "triton" or "reference".
        in_channels, out_channels: of f, where it does not have them as attributes.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S).

    Raises:
        InputError: an argument is out of range, a choice is wanted of a periodic map, or f has cached=True or unknown
            channels; in forward: K is more than the positions around a corner.

    Reference:
        Garcia-Uceda Juarez, Selvan, Saghir and de Bruijne, "A Joint 3D UNet-Graph Neural Network-Based Method for
        Airway Segmentation from Chest CTs", arXiv 1908.08588, and its code.
    """

    def __init__(
        self,
        conv: nn.Module,
        *,
        reach: int = 1,
        faces: bool = False,
        periodic: bool = False,
        K: int = -1,
        metric: str = "euclidean",
        backend: str = "auto",
        in_channels: int | None = None,
        out_channels: int | None = None,
    ) -> None:
        super().__init__(*channels_of(conv, in_channels, out_channels))
        check_at_least("reach", reach, 1)
        if K != -1:
            check_at_least("K", K, 1)
        if K != -1 and periodic:
            raise InputError(f"K={K} must be -1 with periodic=True, where a position may be around another twice")
        check_choice("metric", metric, METRICS)
        check_backend(backend)
        check_not_cached(conv)
        self.conv = conv
        self.reach, self.faces, self.periodic = reach, faces, periodic
        self.K, self.metric, self.backend = K, metric, backend

    def neighbors(self, x: Tensor) -> Neighbors:
        """Return the neighbours of every position of x (B, C, *S)."""
        found = around(x.shape[2:], self.reach, faces=self.faces, periodic=self.periodic, device=x.device)
        if self.K == -1:
            return found.for_each_of(x.shape[0])
        return nearest_around(x.flatten(2).mT, found, self.K, metric=self.metric, backend=self.backend)

    def _forward(self, x: Tensor) -> Tensor:
        rows = apply_to(self.conv, x.flatten(2).mT, self.neighbors(x))
        return like(x, rows.mT.unflatten(2, x.shape[2:]))

    def settings(self) -> Iterable[object]:
        """Return what differs from the defaults."""
        place = unless_usual(reach=(self.reach, 1), faces=(self.faces, False), periodic=(self.periodic, False))
        choice = unless_usual(K=(self.K, -1), metric=(self.metric, "euclidean"), backend=(self.backend, "auto"))
        return place, choice


class GraphOnGrid1d(GraphOnGrid):
    """`GraphOnGrid` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class GraphOnGrid2d(GraphOnGrid):
    """`GraphOnGrid` on images: (B, C, H, W)."""

    spatial_dims: ClassVar[int] = 2


class GraphOnGrid3d(GraphOnGrid):
    """`GraphOnGrid` on volumes: (B, C, D, H, W).

    Example:
        >>> import torch
        >>> from convnn.nn.graphs.found.convnn import GraphConvNN
        >>> GraphOnGrid3d(GraphConvNN(8, 16, K=27))(torch.randn(2, 8, 4, 5, 6)).shape
        torch.Size([2, 16, 4, 5, 6])
    """

    spatial_dims: ClassVar[int] = 3
