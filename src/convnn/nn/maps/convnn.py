"""ConvNN: convolution over the K most similar positions."""

from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from convnn.nn import functional as F
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn._layer import MapLayer
from convnn.nn._reset import reset_as_conv
from convnn.nn._search import Search, find_neighbors, similarity_features
from convnn.nn._settings import unless_usual
from convnn.nn._shuffle import Shuffle
from convnn.nn.maps._channels import channels_of_weights
from convnn.ops import Neighbors, check_backend, weigh


class ConvNN(MapLayer):
    r"""Convolution over the K most similar positions of the whole map.

    .. math:: y_{io} = b_o + \sum_{c} \sum_{k=1}^{K} W_{ock} \, x_{j_{ik} c}

    where :math:`j_{i1}, \dots, j_{iK}` are the neighbours of position i, best first. The choice carries no gradient;
    gradients flow through the features of the neighbours. With similarity_type="Window" and K = k * k it is the k x k
    convolution, and likewise with "Loc", metric="euclidean" and padding = k // 2, for k = 1, 3, 5.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        K: number of neighbours of each position; the first is the position itself.
        stride: distance between the positions that choose; a number, or one for each axis, as the next three.
        padding: number of positions added on every side of the map, which can be chosen; "same" keeps its size.
        window_size: kernel size of a convolution that this layer replaces: the centres of its windows choose. None is
            2 * padding + 1, which keeps the size of the map.
        dilation: distance between the positions of that window.
        groups: number of blocks of channels that do not mix; all of them have the same neighbours.
        padding_mode: values in the padding: "zeros", "reflect", "replicate" or "circular".
        sampling_type: candidates: "all" positions; "random": num_samples of them, drawn for every batch in
            training and fixed in evaluation; "spatial": a grid of num_samples points along each axis.
        num_samples: -1, or more than the map has, means all.
        sample_padding: distance of the spatial grid from the border, in pixels.
        metric: "cosine", "euclidean" or "matmul", the inner product.
        similarity_type: compare features ("Col"), coordinates ("Loc") or both ("Loc_Col"); "Window" takes the K
            positions of the window without a search.
        aggregation_type: convolve features ("Col") or features and coordinates ("Loc_Col").
        lambda_param: weight of the features in similarity "Loc_Col", 0 to 1.
        raster_order: order neighbours by raster position rather than best first, as with "Loc" and "Window".
        search: "exact", or "clustered", which finds most of the neighbours in a fraction of the time on large maps.
        recall: share of the neighbours that the clustered search should find, above 0 and at most 1.
        probes: clusters that each position searches, instead of a recall; -1: as many as the recall needs.
        lists: number of clusters, fewer on small maps; -1: twice the square root of the number of candidates.
        shuffle_pattern: "B" unshuffles pixels before, "A" shuffles them after, "BA" both, "NA" none.
        shuffle_scale: factor of the shuffle along each axis; at least 1 if there is a pattern.
        bias: add a learned bias to the output.
        backend: implementation of the operations: "auto" (the fastest available), "cpu", "triton" or "reference".
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S), any size and floating type; output (B, C_out, \*S'), S' as for a
        convolution with that window; weight (C_out, C' / groups, K), where C' includes unshuffled and coordinate
        channels; bias (C_out,).

    Raises:
        InputError: an argument is out of range; in forward: K exceeds the candidates, the shuffle does not divide
            the map, or the window does not fit in it.
        UnsupportedError: in forward: the named backend cannot compute this.

    Reference:
        Kang and Farias Sales Rocha Neto, arXiv 2511.14137.
    """

    heads: int = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        K: int = 9,
        stride: Sides = 1,
        padding: Sides | str = 1,
        window_size: Sides | None = None,
        dilation: Sides = 1,
        groups: int = 1,
        padding_mode: str = "zeros",
        sampling_type: str = "all",
        num_samples: int = -1,
        sample_padding: int = 0,
        metric: str = "cosine",
        similarity_type: str = "Col",
        aggregation_type: str = "Col",
        lambda_param: float = 0.5,
        raster_order: bool = False,
        search: str = "exact",
        recall: float = 0.95,
        probes: int = -1,
        lists: int = -1,
        shuffle_pattern: str = "NA",
        shuffle_scale: int = 0,
        bias: bool = True,
        backend: str = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(in_channels, out_channels)
        self.search = Search(
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
        self.grid = Grid(window_size, stride, padding, dilation, padding_mode)
        self.groups = groups
        self.aggregation_type = aggregation_type
        self.shuffle = Shuffle(shuffle_pattern, shuffle_scale)
        self.backend = backend
        inside, outside = channels_of_weights(
            in_channels, out_channels, self.spatial_dims, groups, aggregation_type, self.shuffle
        )
        check_backend(backend)
        shape = (outside, inside // groups, K)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(shape[0], device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias as `torch.nn.Conv1d` does."""
        reset_as_conv(self.weight, self.bias)

    def _forward(self, x: Tensor) -> Tensor:
        return F.convnn(
            x,
            self.weight,
            self.bias,
            search=self.search,
            grid=self.grid,
            aggregation_type=self.aggregation_type,
            shuffle_pattern=self.shuffle.pattern,
            shuffle_scale=self.shuffle.scale,
            training=self.training,
            backend=self.backend,
        )

    def field(self, x: Tensor) -> Field:
        """Return the positions among which neighbours are searched: those of x (B, C, *S), unshuffled and padded."""
        return Field.of(self.shuffle.before(x), self.grid)

    def neighbors(self, x: Tensor) -> Neighbors:
        """Return the neighbours of every position of x (B, C_in, *S) that chooses, with their similarities."""
        field = self.field(x)
        keys = similarity_features(field, self.search)
        chosen = find_neighbors(field, self.search, training=self.training, backend=self.backend)
        metric = self.search.metric
        return weigh.similarity(chosen, field.at_queries(keys), keys, metric=metric, backend=self.backend)

    def settings(self) -> Iterable[object]:
        """Return search, geometry, groups, aggregation, shuffle and backend."""
        mixed = unless_usual(groups=(self.groups, 1), aggregation_type=(self.aggregation_type, "Col"))
        return self.search, self.grid, mixed, self.shuffle, unless_usual(backend=(self.backend, "auto"))


class ConvNN1d(ConvNN):
    """`ConvNN` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class ConvNN2d(ConvNN):
    """`ConvNN` on images: (B, C, H, W). It replaces a `torch.nn.Conv2d` with "same" padding.

    Example:
        >>> layer = ConvNN2d(3, 8, K=9)
        >>> layer(torch.randn(2, 3, 16, 20)).shape
        torch.Size([2, 8, 16, 20])
    """

    spatial_dims: ClassVar[int] = 2


class ConvNN3d(ConvNN):
    """`ConvNN` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
