"""Interactions between the categories of a node, before its neighbours are looked at."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn import MLP
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from convnn.errors import InputError, check_at_least, check_fraction, check_rate
from convnn.ops import ragged
from convnn.ops.edges import propagate
from convnn.ops.ragged import Lists, check_edges


class CategoricalEncoder(nn.Module):
    r"""Vector of a node from the interactions of its categories.

    A node u has n categories with embeddings :math:`h_i`. The global part is a graph convolution on the complete graph
    of the categories, in which a self-loop weighs :math:`1 + \rho`; the local part is the product of every pair:

    .. math:: g_u = \frac{1}{n} \sum_i \operatorname{ReLU}\Bigl( \frac{\sum_j h_j + \rho h_i}{n + \rho} W + b \Bigr),
        \qquad l_u = \sum_{i < j} h_i \odot h_j

    .. math:: y_u = \gamma \operatorname{MLP}_g(g_u) + (1 - \gamma) \operatorname{MLP}_l(l_u)

    Beyond the published form, x may be features: then the categories of a node are the channels that are not 0, and the
    embedding of each is multiplied by its feature, as in a factorization machine. Features of 0 and 1 are sets of any
    size; both parts of the empty set are 0.

    Args:
        in_channels: F, number of categories.
        out_channels: C'.
        latent_channels: d, of the embeddings.
        global_hidden: hidden widths of MLP_g, with ReLU.
        local_hidden: hidden widths of MLP_l.
        probe: rho, at least 0; the larger it is, the less do categories interact in the global part.
        balance: gamma, from 0, the local part alone, to 1, the global part alone.
        dropout: after the ReLU of g and of the hidden layers.

    Shapes:
        x (N, n) int64, the categories of each node, of which some may be equal, or (N, F) floating; output (N, C').

    Raises:
        InputError: an argument is out of range; in forward: x has another shape or type, has no categories, or has one
            that is not in 0 to F - 1.

    Reference:
        Chen et al., "CatGCN: Graph Convolutional Networks with Categorical Node Features", arXiv 2009.05303.

    Example:
        >>> from convnn.nn.graphs import CategoricalEncoder
        >>> CategoricalEncoder(10, 3)(torch.tensor([[0, 4], [9, 9]])).shape
        torch.Size([2, 3])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        latent_channels: int = 64,
        global_hidden: Sequence[int] = (),
        local_hidden: Sequence[int] = (),
        probe: float = 1.0,
        balance: float = 0.5,
        dropout: float = 0.5,
    ) -> None:
        sizes = {"in_channels": in_channels, "out_channels": out_channels, "latent_channels": latent_channels}
        for name, size in sizes.items():
            check_at_least(name, size, 1)
        if not 0 <= probe < float("inf"):
            raise InputError(f"probe={probe!r} must be at least 0, a weight that self-loops have in addition to 1")
        check_fraction("balance", balance)
        check_rate("dropout", dropout)
        super().__init__()
        self.probe, self.balance, self.dropout = probe, balance, dropout
        self.embedding = nn.Embedding(in_channels, latent_channels)
        self.weight = nn.Parameter(torch.empty(latent_channels, latent_channels))
        self.bias = nn.Parameter(torch.empty(latent_channels))

        def make_head(name: str, hidden: Sequence[int]) -> MLP:
            for width in hidden:
                check_at_least(name, width, 1)
            return MLP([latent_channels, *hidden, out_channels], dropout=dropout, norm=None)

        self.global_head = make_head("global_hidden", global_hidden)
        self.local_head = make_head("local_hidden", local_hidden)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights: embeddings N(0, 1), W by Glorot, b = 0, the MLPs as linear layers are drawn."""
        self.embedding.reset_parameters()
        nn.init.xavier_uniform_(self.weight)
        nn.init.zeros_(self.bias)
        self.global_head.reset_parameters()
        self.local_head.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        """Map categories (N, n), or features (N, F), to (N, C')."""
        lists, scores = category_lists(x, self.embedding.num_embeddings)
        of_global, of_local = self.global_head(self._global(lists, scores)), self.local_head(self._local(lists, scores))
        return self.balance * of_global + (1 - self.balance) * of_local

    def _global(self, lists: Lists, scores: Tensor | None) -> Tensor:
        mapped = self.embedding.weight @ self.weight  # before the sums: once a category, not once a node
        own = mapped.index_select(0, lists.indices)
        own = own if scores is None else own * scores.unsqueeze(1)
        counts = lists.lengths.clamp_min(1).to(mapped.dtype).unsqueeze(1)
        sums = ragged.total(mapped, lists, scores) / (counts + self.probe)
        shares = (self.probe / (counts + self.probe)).index_select(0, lists.query_of_each)
        rows = F.relu(sums.index_select(0, lists.query_of_each) + shares * own + self.bias)
        return ragged.mean(F.dropout(rows, self.dropout, self.training), lists.edges)

    def _local(self, lists: Lists, scores: Tensor | None) -> Tensor:
        embeddings = self.embedding.weight
        sums = ragged.total(embeddings, lists, scores)
        squares = ragged.total(embeddings.square(), lists, None if scores is None else scores.square())
        return (sums.square() - squares) / 2


class CatGCN(nn.Module):
    r"""Interactions between the categories of each node, propagated over the graph without weights.

    .. math:: Y = S^L Z, \qquad S = D^{-1/2} (A + I) D^{-1/2}

    with Z from `CategoricalEncoder`. Of self-loops each node has one, whatever loops are given; repeated edges count
    repeatedly, and D counts the edges into a node. The output of a classifier is the logits.

    Args:
        in_channels: F, number of categories.
        out_channels: C'.
        hops: L; 0: the encoder alone.
        latent_channels, global_hidden, local_hidden, probe, balance, dropout: as in `CategoricalEncoder`.

    Shapes:
        x (N, n) int64, or (N, F) floating; edge_index (2, E); edge_weight (E,) or None; output (N, C').

    Raises:
        InputError: as `CategoricalEncoder`; `hops` is negative, or an edge names a node that is not there.

    Reference:
        Chen et al., "CatGCN: Graph Convolutional Networks with Categorical Node Features", arXiv 2009.05303.

    Example:
        >>> from convnn.nn.graphs import CatGCN
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> CatGCN(10, 3)(torch.tensor([[0, 4], [9, 9], [1, 0]]), edge_index).shape
        torch.Size([3, 3])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hops: int = 1,
        latent_channels: int = 64,
        global_hidden: Sequence[int] = (),
        local_hidden: Sequence[int] = (),
        probe: float = 1.0,
        balance: float = 0.5,
        dropout: float = 0.5,
    ) -> None:
        check_at_least("hops", hops, 0)
        super().__init__()
        self.in_channels, self.out_channels, self.hops = in_channels, out_channels, hops
        self.encoder = CategoricalEncoder(
            in_channels,
            out_channels,
            latent_channels=latent_channels,
            global_hidden=global_hidden,
            local_hidden=local_hidden,
            probe=probe,
            balance=balance,
            dropout=dropout,
        )

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Map categories (N, n), or features (N, F), to (N, C')."""
        y = self.encoder(x)
        check_edges(edge_index, x.shape[0], x.shape[0])
        edges, weights = gcn_norm(edge_index, edge_weight, x.shape[0], dtype=y.dtype)
        for _ in range(self.hops):
            y = propagate(y, edges, weights)
        return y


def category_lists(x: Tensor, count: int) -> tuple[Lists, Tensor | None]:
    """Return the categories of each node as lists, and how much of each the node has, or None.

    Args:
        x: (N, n) int64 categories, or (N, count) features.
        count: number of categories.

    Raises:
        InputError: x has another shape or type, has no categories, or has one that is not in 0 to count - 1.
    """
    if x.is_floating_point() and x.dim() == 2 and x.shape[1] == count:
        nodes, indices = x.nonzero(as_tuple=True)
        ends = (x != 0).sum(1).cumsum(0)
        return Lists(torch.cat([ends.new_zeros(1), ends]), indices, count), x[nodes, indices]
    if x.dtype != torch.long or x.dim() != 2 or not x.shape[1]:
        raise InputError(
            f"x of shape {tuple(x.shape)} and {x.dtype} must be (N, n) int64, n categories of each node, or"
            f" (N, {count}) floating"
        )
    if x.numel() and not 0 <= int(x.min()) <= int(x.max()) < count:
        raise InputError(
            f"x has categories from {int(x.min())} to {int(x.max())}; they must lie between 0 and {count - 1}"
        )
    starts = torch.arange(0, x.numel() + 1, x.shape[1], device=x.device)
    return Lists(starts, x.flatten(), count), None
