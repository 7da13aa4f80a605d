"""ConvNN attention in its convolutional form: softmax weights over the K most similar positions, then a kernel."""

import math
from collections.abc import Iterable
from typing import ClassVar

import torch
from torch import Tensor, nn

from convnn.errors import check_choice, check_fraction
from convnn.nn import functional as F
from convnn.nn._field import Field
from convnn.nn._grid import Grid, Sides
from convnn.nn._grouped import GroupedLinear
from convnn.nn._layer import MapLayer
from convnn.nn._search import Search
from convnn.nn._settings import unless_usual
from convnn.nn._shuffle import Shuffle
from convnn.nn.maps._channels import channels_of_weights
from convnn.ops import Neighbors, check_backend


class ConvNNAttn(MapLayer):
    r"""Attention to the K most similar positions, whose weights are followed by a depthwise kernel over the K.

    .. math:: y_i = W_o \left( b_p + W_p \left( b + \sum_{k=1}^{K} w_k \odot \alpha_{ik} W_v x_{j_{ik}} \right) \right),
        \qquad \alpha_i = \operatorname{softmax}_k s(W_k x_i, W_q x_{j_{ik}})

    with s the cosine or minus the squared distance. The position itself comes first, with a constant score. Gradients
    reach the projections through the scores of the chosen pairs.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        K, stride, padding, window_size, dilation, padding_mode: as in `ConvNN`.
        groups: number of blocks of channels that no projection mixes.
        sampling_type, num_samples, sample_padding, metric: as in `ConvNN`; the projections are compared, by the cosine
            or the distance.
        search, recall, probes, lists: as in `ConvNN`.
        aggregation_type: project features ("Col") or features and coordinates ("Loc_Col").
        attention_dropout: probability of dropping a neighbour in training, 0 to 1.
        shuffle_pattern, shuffle_scale: as in `ConvNN`.
        bias: add biases to the depthwise kernel and the pointwise convolution.
        backend: as in `ConvNN`.
        device: device of the weights.
        dtype: data type of the weights.

    Shapes:
        input (B, C_in, \*S) or (C_in, \*S); output (B, C_out, \*S'); weight (C', 1, K), initialised to ones.

    Raises:
        InputError: as for `ConvNN`.

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
        search: str = "exact",
        recall: float = 0.95,
        probes: int = -1,
        lists: int = -1,
        aggregation_type: str = "Col",
        attention_dropout: float = 0.1,
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
        check_choice("metric", metric, F.SCORES_OF_ITSELF)
        check_fraction("attention_dropout", attention_dropout)
        self.attention_dropout = attention_dropout
        self.query = GroupedLinear(inside, inside, groups, bias=False, device=device, dtype=dtype)
        self.key = GroupedLinear(inside, inside, groups, bias=False, device=device, dtype=dtype)
        self.value = GroupedLinear(inside, inside, groups, bias=False, device=device, dtype=dtype)
        self.weight = nn.Parameter(torch.empty(inside, 1, K, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(inside, device=device, dtype=dtype)) if bias else None
        self.pointwise = GroupedLinear(inside, outside, groups, bias=bias, device=device, dtype=dtype)
        self.output = GroupedLinear(outside, outside, groups, bias=False, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the kernel to ones, so that training starts from plain attention, and the rest as torch does."""
        for projection in (self.query, self.key, self.value, self.pointwise, self.output):
            projection.reset_parameters()
        nn.init.ones_(self.weight)
        if self.bias is not None:
            bound = 1 / math.sqrt(self.search.K)
            nn.init.uniform_(self.bias, -bound, bound)

    def _forward(self, x: Tensor) -> Tensor:
        return F.convnn_attention(
            x,
            self.query.weight,
            self.key.weight,
            self.value.weight,
            self.weight,
            self.bias,
            self.pointwise.weight,
            self.pointwise.bias,
            self.output.weight,
            search=self.search,
            grid=self.grid,
            aggregation_type=self.aggregation_type,
            attention_dropout=self.attention_dropout,
            shuffle_pattern=self.shuffle.pattern,
            shuffle_scale=self.shuffle.scale,
            training=self.training,
            backend=self.backend,
        )

    def field(self, x: Tensor) -> Field:
        """Return the positions among which neighbours are searched: those of x (B, C, *S), unshuffled and padded."""
        return Field.of(self.shuffle.before(x), self.grid)

    def neighbors(self, x: Tensor) -> Neighbors:
        """Return the neighbours of every position of x (B, C_in, *S) that chooses, with their softmax weights."""
        field = self.field(x)
        extended = F.aggregated_values(field, self.aggregation_type)
        weights = self.query.weight, self.key.weight
        return F.attend(field, extended, *weights, self.search, training=self.training, backend=self.backend)

    def settings(self) -> Iterable[object]:
        """Return search, geometry, groups, aggregation, shuffle and backend."""
        mixed = unless_usual(groups=(self.groups, 1), aggregation_type=(self.aggregation_type, "Col"))
        return self.search, self.grid, mixed, self.shuffle, unless_usual(backend=(self.backend, "auto"))


class ConvNNAttn1d(ConvNNAttn):
    """`ConvNNAttn` on signals: (B, C, T)."""

    spatial_dims: ClassVar[int] = 1


class ConvNNAttn2d(ConvNNAttn):
    """`ConvNNAttn` on images: (B, C, H, W).

    Example:
        >>> layer = ConvNNAttn2d(3, 8, K=9)
        >>> layer(torch.randn(2, 3, 16, 20)).shape
        torch.Size([2, 8, 16, 20])
    """

    spatial_dims: ClassVar[int] = 2


class ConvNNAttn3d(ConvNNAttn):
    """`ConvNNAttn` on volumes: (B, C, D, H, W)."""

    spatial_dims: ClassVar[int] = 3
