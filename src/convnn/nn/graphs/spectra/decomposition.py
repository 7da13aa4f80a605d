"""Filters learned together with the decomposition of the graph: functions of the entries of several matrices."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import global_add_pool, global_max_pool, global_mean_pool
from torch_geometric.transforms import BaseTransform
from torch_geometric.utils import softmax

from convnn.errors import InputError, UnsupportedError, check_at_least, check_choice, check_fraction
from convnn.nn.graphs._checks import check_features
from convnn.nn.graphs.spectra.choices import SUPPORTS
from convnn.nn.graphs.spectra.pair_bases import as_exponents, pdf_bases
from convnn.ops import ragged
from convnn.ops.edges import lists_of_edges
from convnn.ops.ragged import check_edges

ACTIVATIONS = {"gelu": nn.GELU, "relu": nn.ReLU}
POOLS = {"sum": global_add_pool, "mean": global_mean_pool, "max": global_max_pool}


class PDFBases(BaseTransform):
    """`pdf_bases` as a transform of torch_geometric, for graphs one by one.

    It replaces `edge_index` by the pairs and adds `basis`, (E', B). Where there is `edge_attr`, a pair without an edge
    gets zeros, the category 0; of an edge that is given twice one counts.

    Args:
        settings: arguments of `pdf_bases` after the number of nodes.
    """

    def __init__(self, *settings: Any, **named: Any) -> None:
        self.settings, self.named = settings, named

    def forward(self, data: Data) -> Data:
        """Return the graph with its pairs and bases."""
        nodes, edge_index = data.num_nodes, data.edge_index
        data.edge_index, data.basis = pdf_bases(edge_index, nodes, *self.settings, **self.named)
        if data.edge_attr is not None:
            of_pairs, of_edges = (ends[0] * nodes + ends[1] for ends in (data.edge_index, edge_index))
            places = torch.searchsorted(of_pairs, of_edges).clamp_max(of_pairs.shape[0] - 1)  # pairs are in order
            is_there = of_pairs[places] == of_edges
            edge_attr = data.edge_attr.new_zeros(of_pairs.shape[0], *data.edge_attr.shape[1:])
            edge_attr[places[is_there]] = data.edge_attr[is_there]
            data.edge_attr = edge_attr
        return data


class PDFFilter(nn.Module):
    r"""Learned function of the entries of the bases at a pair of nodes, :math:`\phi_c(b_1, \dots, b_B)` in channel c.

    Args:
        bases: B, number of bases.
        channels: number of channels.
        linear: an affine function, instead of two linear maps with a GELU after each.
        shared: one function for all channels.
        hidden: number of channels between the two maps; None is `channels`.
        batch_norm: batch normalisation over all pairs after each of the two maps.
        last_activation: end in the GELU, as published, with which a filter is hardly ever below 0.
        edge_softmax: scale the exponentials of the filter to the sum 1 over the pairs that lead to a node.
        dropout: share of the entries dropped, before that, in training, 0 to 1.

    Shapes:
        bases (E', B); edge_index (2, E'); output (E', channels), or (E', 1) where it is shared.

    Raises:
        InputError: an argument is out of range; in forward: a shape or type is wrong.

    Reference:
        Yang et al., "Towards Better Graph Representation Learning with Parameterized Decomposition & Filtering",
        arXiv 2305.06102.
    """

    def __init__(
        self,
        bases: int,
        channels: int,
        *,
        linear: bool = False,
        shared: bool = False,
        hidden: int | None = None,
        batch_norm: bool = True,
        last_activation: bool = True,
        edge_softmax: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_at_least("bases", bases, 1)
        check_fraction("dropout", dropout)
        self.bases, self.edge_softmax = bases, edge_softmax
        outputs = 1 if shared else channels
        hidden = channels if hidden is None else hidden
        mlp = two_maps((bases, hidden, outputs), "gelu", batch_norm)
        self.mlp = nn.Linear(bases, outputs) if linear else mlp if last_activation else mlp[:-1]
        self.dropout = nn.Dropout(dropout)

    def forward(self, bases: Tensor, edge_index: Tensor, nodes: int) -> Tensor:
        """Return the filter at every pair; `nodes` is the number of nodes of the graph."""
        if bases.shape != (edge_index.shape[1], self.bases) or not bases.is_floating_point():
            raise InputError(
                f"bases of shape {tuple(bases.shape)} and {bases.dtype} must be floating and ({edge_index.shape[1]},"
                f" {self.bases}), a row for each pair"
            )
        weights = self.dropout(self.mlp(bases))
        return softmax(weights, edge_index[1], num_nodes=nodes) if self.edge_softmax else weights


class PDFConv(nn.Module):
    r"""Sum of the neighbours by a filter of pairs, in each channel by itself, and an MLP, both added to what they read.

    .. math:: a_v = \sum_{(u, v)} \phi_{uv} \odot \operatorname{GELU}(W (x_u + e_{uv}) + b), \qquad
        y = x + a + \operatorname{MLP}(x + a)

    The MLP is two linear maps, each followed by batch normalisation and the activation.

    Args:
        channels: number of channels.
        activation: "gelu" or "relu".
        batch_norm: batch normalisation in the MLP.
        dropout: share of both terms dropped in training, 0 to 1.

    Shapes:
        x (N, C); edge_index (2, E') of the pairs; weight (E', C) or (E', 1), of a `PDFFilter`; edge_attr (E', C) or
        None; output (N, C).

    Raises:
        InputError: an argument is out of range; in forward: a shape or type is wrong, or a node lies outside the graph.

    Reference:
        Yang et al., "Towards Better Graph Representation Learning with Parameterized Decomposition & Filtering",
        arXiv 2305.06102.
    """

    def __init__(
        self, channels: int, *, activation: str = "gelu", batch_norm: bool = True, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_choice("activation", activation, ACTIVATIONS)
        check_fraction("dropout", dropout)
        self.channels = channels
        self.before = nn.Sequential(nn.Linear(channels, channels), nn.GELU())
        self.after = two_maps((channels,) * 3, activation, batch_norm)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, edge_index: Tensor, weight: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        """Return the new features (N, C) of the nodes."""
        check_features(x, self.channels)
        if edge_attr is None:
            collected = filtered_sum(self.before(x), edge_index, weight)
        else:
            check_edges(edge_index, x.shape[0])
            if edge_attr.shape != (edge_index.shape[1], self.channels):
                raise InputError(
                    f"edge_attr of shape {tuple(edge_attr.shape)} must be ({edge_index.shape[1]}, {self.channels}), a"
                    " row for each pair"
                )
            messages = self.before(x[edge_index[0]] + edge_attr)
            collected = filtered_sum(messages, edge_index, weight, nodes=x.shape[0])
        x = x + self.dropout(collected)
        return x + self.dropout(self.after(x))


def filtered_sum(x: Tensor, edge_index: Tensor, weight: Tensor, *, nodes: int | None = None) -> Tensor:
    r"""Return the sum of the neighbours by a filter of pairs, :math:`y_v = \sum_{(u, v)} \phi_{uv} \odot x_u`.

    Args:
        x: (N, C) features of the nodes, or with `nodes` (E', C) of the pairs.
        edge_index: (2, E') int64.
        weight: (E', C), or (E', 1) for all channels.
        nodes: N, where x is of the pairs.

    Returns:
        (N, C).

    Raises:
        InputError: a shape or type is wrong, or a node lies outside the graph.
    """
    if weight.dim() != 2 or weight.shape[0] != edge_index.shape[1] or weight.shape[1] not in (1, x.shape[1]):
        raise InputError(
            f"weight of shape {tuple(weight.shape)} must be ({edge_index.shape[1]}, {x.shape[1]}), or one column, a row"
            " for each pair"
        )
    lists, order = lists_of_edges(edge_index, x.shape[0] if nodes is None else nodes)
    if nodes is None:
        return ragged.total(x, lists, weight.index_select(0, order))
    return ragged.total((weight * x).index_select(0, order), lists.edges)


class PDF(nn.Module):
    r"""Layer of parametrised decomposition and filtering, which finds the bases of each graph that it is given.

    A linear map to the output channels if they are others than the input's, a `PDFFilter` of `pdf_bases` with the
    powers 1 to `hops`, and a `PDFConv`. The bases are computed on the CPU in every call; to compute them once, take
    `PDFBases` and the two parts.

    Args:
        in_channels: number of input channels.
        out_channels: number of output channels.
        exponents: exponents of the degrees, one for each matrix, as numbers or as text such as "-0.3,-0.4".
        hops: the largest power of each matrix, at least 1.
        support: "sparse", the pairs that are `support_hops` edges apart, or "dense", all pairs; a batch of graphs is
            one graph.
        support_hops: edges between the nodes of a pair, at least 1.
        normalize_bases: bring each basis to mean 0 and deviation 1 over the pairs.
        linear_filter: an affine filter, instead of an MLP.
        shared_filter: one filter for all channels.
        edge_softmax: scale filters to the sum 1 over the pairs that lead to a node.

    Shapes:
        x (N, C_in); edge_index (2, E); output (N, C_out).

    Raises:
        InputError: an argument is out of range; in forward: a shape or type is wrong, or a node lies outside the graph.
        UnsupportedError: in forward: edge_weight is given.

    Reference:
        Yang et al., "Towards Better Graph Representation Learning with Parameterized Decomposition & Filtering",
        arXiv 2305.06102.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        exponents: Sequence[float] | str = "-0.3,-0.35,-0.4",
        hops: int = 2,
        support: str = "sparse",
        support_hops: int = 1,
        normalize_bases: bool = False,
        linear_filter: bool = False,
        shared_filter: bool = False,
        edge_softmax: bool = True,
    ) -> None:
        super().__init__()
        self.exponents = as_exponents("exponents", exponents)
        check_at_least("hops", hops, 1)
        self.hops = hops
        check_choice("support", support, SUPPORTS)
        check_at_least("support_hops", support_hops, 1)
        self.support, self.support_hops, self.normalize_bases = support, support_hops, normalize_bases
        bases = 1 + hops * len(self.exponents)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.lin = nn.Identity() if in_channels == out_channels else nn.Linear(in_channels, out_channels)
        self.filter = PDFFilter(
            bases, out_channels, linear=linear_filter, shared=shared_filter, edge_softmax=edge_softmax
        )
        self.conv = PDFConv(out_channels)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Filter the features (N, C_in) of the nodes."""
        check_features(x, self.in_channels)
        if edge_weight is not None:
            raise UnsupportedError(
                f"edge_weight of shape {tuple(edge_weight.shape)} has no meaning here: the bases are of a graph whose"
                " edges are there or not; leave it out"
            )
        pairs, bases = pdf_bases(
            edge_index,
            x.shape[0],
            self.exponents,
            self.hops,
            support=self.support,
            hops=self.support_hops,
            normalize=self.normalize_bases,
            dtype=x.dtype,
        )
        return self.conv(self.lin(x), pairs, self.filter(bases, pairs, x.shape[0]))


class PDFNet(nn.Module):
    """A linear map, layers of `PDFConv` with one `PDFFilter` for all of them, a pool, and an MLP to the classes.

    Args:
        in_channels: number of input channels.
        classes: number of classes.
        bases: B, number of bases.
        hidden: number of channels of all layers.
        layers: number of layers, at least 1.
        pool: "sum", "mean" or "max" of the nodes of each graph.
        activation: "gelu" or "relu", in the layers and after the pool.
        batch_norm: batch normalisation in filter and layers.
        edge_softmax: as in `PDFFilter`.
        dropout: share dropped in training: of the filter, of the terms of the layers, and before the last map, 0 to 1.

    Shapes:
        x (N, C); edge_index (2, E') of the pairs; bases (E', B); batch (N,), the graph of each node, or None for one;
        output (graphs, classes).

    Raises:
        InputError: an argument is out of range; in forward: as in `PDFConv`.

    Reference:
        Yang et al., "Towards Better Graph Representation Learning with Parameterized Decomposition & Filtering",
        arXiv 2305.06102.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        bases: int,
        *,
        hidden: int = 256,
        layers: int = 4,
        pool: str = "max",
        activation: str = "gelu",
        batch_norm: bool = True,
        edge_softmax: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_at_least("layers", layers, 1)
        check_choice("pool", pool, POOLS)
        self.pool = pool
        self.lin = nn.Linear(in_channels, hidden)
        self.filter = PDFFilter(bases, hidden, batch_norm=batch_norm, edge_softmax=edge_softmax, dropout=dropout)
        self.convs = nn.ModuleList(
            PDFConv(hidden, activation=activation, batch_norm=batch_norm, dropout=dropout) for _ in range(layers)
        )
        self.head = nn.Sequential(
            nn.Linear(hidden, hidden), ACTIVATIONS[activation](), nn.Dropout(dropout), nn.Linear(hidden, classes)
        )

    def forward(self, x: Tensor, edge_index: Tensor, bases: Tensor, batch: Tensor | None = None) -> Tensor:
        """Return the scores of the classes, (graphs, classes)."""
        weight = self.filter(bases, edge_index, x.shape[0])
        x = self.lin(x)
        for conv in self.convs:
            x = conv(x, edge_index, weight)
        return self.head(POOLS[self.pool](x, batch))


def two_maps(widths: tuple[int, int, int], activation: str, batch_norm: bool) -> nn.Sequential:
    """Return two linear maps, each followed by batch normalisation, if asked for, and the activation."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        norm = [nn.BatchNorm1d(outputs)] if batch_norm else []
        layers += [nn.Linear(inputs, outputs), *norm, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)
