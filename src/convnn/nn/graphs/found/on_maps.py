"""Any graph layer as a layer on maps: the search finds the graph."""

from collections.abc import Iterable
from typing import ClassVar

from torch import Tensor, nn

from convnn.nn._field import Field, like
from convnn.nn._grid import Grid, Sides
from convnn.nn._layer import MapLayer
from convnn.nn._search import Search
from convnn.nn._settings import unless_usual
from convnn.nn.graphs.found._found import FoundGraph, channels_of
from convnn.ops import Neighbors, check_backend


class GraphOnMap(MapLayer):
    r"""A graph layer on the positions of a map, each joined to its K most similar.

    .. math:: y = f(x, E), \qquad E = \{ (j, i) : j \in N(i) \}

    with N(i) the neighbours that a ConvNN layer would convolve, and f a layer that is called as f(x, edge_index) or
    f(x, edge_index, edge_weight): those of `convnn.nn.graphs`, those of torch_geometric, or your own. The maps of a
    batch are one graph, without edges between them.

    An edge leads from the neighbour to the position. The position is the first of its own neighbours, as in all layers
    here; layers that add self-loops, such as `GCNConv`, leave those that are there. The choice carries no gradient.
    With a stride, f computes all positions, because it may look further than one edge, and the middles of the windows
    are kept.

    Args:
        conv: the graph layer f.
        K: number of neighbours of each position; all positions if there are fewer.
        loop: whether the position itself is the first of them; otherwise they are the K nearest others.
        edge_weights: what f gets as edge_weight: "none"; "similarity", the cosine, minus the squared distance, or the
            inner product; "softmax", the softmax of that over the neighbours. Gradients reach the features.
        sampling_type, num_samples, sample_padding, metric, similarity_type, lambda_param, raster_order: as in `ConvNN`,
            except that "Window" is refused.
        search, recall, probes, lists: as in `ConvNN`.
        stride, padding, window_size, dilation: those of the convolution that it replaces; the map is not padded.
        backend: implementation of the search: "auto" (the fastest available), "cpu", "triton" or "reference".
        in_channels, out_channels: of f, where it does not have them as attributes.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S').

    Raises:
        InputError: an argument is out of range; f takes no edge weights, has cached=True, or has unknown channels;
            in forward: fewer than K - 1 positions are sampled.

    Reference:
        The search: arXiv 2511.14137.
    """

    heads: int = 1

    def __init__(
        self,
        conv: nn.Module,
        *,
        K: int = 9,
        loop: bool = True,
        edge_weights: str = "none",
        sampling_type: str = "all",
        num_samples: int = -1,
        sample_padding: int = 0,
        metric: str = "cosine",
        similarity_type: str = "Col",
        lambda_param: float = 0.5,
        raster_order: bool = False,
        search: str = "exact",
        recall: float = 0.95,
        probes: int = -1,
        lists: int = -1,
        stride: Sides = 1,
        padding: Sides | str = 0,
        window_size: Sides | None = None,
        dilation: Sides = 1,
        backend: str = "auto",
        in_channels: int | None = None,
        out_channels: int | None = None,
    ) -> None:
        super().__init__(*channels_of(conv, in_channels, out_channels))
        searched = Search(
            K=K,
            sampling_type=sampling_type,
            num_samples=num_samples,
            sample_padding=sample_padding,
            metric=metric,
            similarity_type=similarity_type,
            lambda_param=lambda_param,
            raster_order=raster_order,
            search=search,
            recall=recall,
            probes=probes,
            lists=lists,
        )
        check_backend(backend)
        self.graph = FoundGraph(searched, loop, edge_weights)
        self.graph.check(conv)
        self.grid = Grid(window_size, stride, padding, dilation)
        self.conv = conv
        self.backend = backend

    def field(self, x: Tensor) -> Field:
        """Return the positions of x (B, C, *S), all of which can be neighbours; those of the grid are computed."""
        return Field(x.flatten(2).transpose(1, 2), self.grid.axes_without_padding(x.shape[2:]))

    def neighbors(self, x: Tensor) -> Neighbors:
        """Return the neighbours of every computed position of x (B, C, *S), with their similarities."""
        field = self.field(x)
        indices, scores, _ = self.graph.neighbors(field, training=self.training, backend=self.backend)
        return Neighbors(field.at_queries(indices), None if scores is None else field.at_queries(scores))

    def _forward(self, x: Tensor) -> Tensor:
        field = self.field(x)
        rows = self.graph.apply(self.conv, field, training=self.training, backend=self.backend)
        return like(x, field.to_map(field.at_queries(rows)))

    def settings(self) -> Iterable[object]:
        """Return the graph, the geometry and the backend."""
        return self.graph, self.grid.changed_from(Grid(padding=0)), unless_usual(backend=(self.backend, "auto"))


class GraphOnMap1d(GraphOnMap):
    """`GraphOnMap` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class GraphOnMap2d(GraphOnMap):
    """`GraphOnMap` on images: (B, C, H, W). It replaces a `torch.nn.Conv2d`.

    Example:
        >>> import torch
        >>> from convnn.nn.graphs.found.convnn import GraphConvNN
        >>> GraphOnMap2d(GraphConvNN(8, 16, K=5), K=5)(torch.randn(2, 8, 14, 14)).shape
        torch.Size([2, 16, 14, 14])
    """

    spatial_dims: ClassVar[int] = 2


class GraphOnMap3d(GraphOnMap):
    """`GraphOnMap` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
