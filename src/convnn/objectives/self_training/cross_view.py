"""Links predicted across two views of a graph: what one of them lacks is what it has to find (CGCL)."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least, check_fraction
from convnn.nn.graphs.batch import GraphBatch
from convnn.objectives.self_training._network import NodeNetwork
from convnn.ops.ragged import check_edges

Views = tuple[Tensor, Tensor]


class HadamardMLP(nn.Module):
    r"""Score a link by two linear maps of the product of the features of its ends; both directions score the same.

    .. math:: W_2 \operatorname{ReLU}(W_1 \operatorname{drop}(z_u \odot z_v) + b_1) + b_2

    Args:
        channels: F, of z, at least 2; half of them are hidden.
        dropout: probability, 0 to 1.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Chen et al., arXiv 2311.11821.
    """

    def __init__(self, channels: int, *, dropout: float = 0.2) -> None:
        super().__init__()
        check_at_least("channels", channels, 2)
        check_fraction("dropout", dropout)
        self.first = nn.Linear(channels, channels // 2)
        self.second = nn.Linear(channels // 2, 1)
        self.dropout = dropout

    def forward(self, z: Tensor, edge_index: Tensor) -> Tensor:
        """Return the logits (E,) of links between nodes of features z (N, F).

        Raises:
            InputError: a shape or type is wrong, or a node does not exist.
        """
        if z.dim() != 2 or z.shape[1] != self.first.in_features:
            raise InputError(f"z of shape {tuple(z.shape)} must be (N, {self.first.in_features}), a row for each node")
        check_edges(edge_index, z.shape[0])
        products = F.dropout(z[edge_index[0]] * z[edge_index[1]], self.dropout, self.training)
        logits: Tensor = self.second(F.relu(self.first(products)))
        return logits.squeeze(1)


def link_loss(positives: Tensor, negatives: Tensor) -> Tensor:
    r"""Return the cross-entropy of links that are there and links that are not.

    .. math:: \frac{1}{P} \sum_p \log(1 + e^{-s_p}) + \frac{1}{Q} \sum_q \log(1 + e^{s_q})

    Args:
        positives: (P,) logits of links that are there; none count 0.
        negatives: (Q,) logits of links that are not; none count 0.

    Raises:
        InputError: a shape or type is wrong.
    """
    for name, logits in (("positives", positives), ("negatives", negatives)):
        if logits.dim() != 1 or not logits.is_floating_point():
            raise InputError(f"{name} of shape {tuple(logits.shape)} and {logits.dtype} must be floating and (P,)")
    there, absent = F.softplus(-positives).sum(), F.softplus(negatives).sum()
    return there / max(positives.shape[0], 1) + absent / max(negatives.shape[0], 1)


def sample_absent_links(
    edge_index: Tensor, nodes: int, number: int, generator: torch.Generator | None = None
) -> Tensor:
    """Draw ordered pairs of different nodes without an edge from the first to the second, uniformly.

    A pair may be drawn several times, unlike by `torch_geometric.utils.negative_sampling`, whose source of random
    numbers is that of Python.

    Args:
        edge_index: (2, E) int64.
        nodes: N.
        number: how many.
        generator: source of the random numbers, on the device of the edges; None is that of torch.

    Returns:
        (2, number) int64.

    Raises:
        InputError: an edge is wrong, or every pair has one.
    """
    check_at_least("number", number, 0)
    check_edges(edge_index, nodes)
    loops = torch.arange(nodes, device=edge_index.device) * (nodes + 1)
    taken = torch.cat([edge_index[0] * nodes + edge_index[1], loops]).unique()
    absent = nodes**2 - taken.shape[0]
    if number and not absent:
        raise InputError(f"edge_index joins all pairs of {nodes} nodes; no absent one can be drawn")
    ranks = torch.randint(max(absent, 1), (number,), generator=generator, device=edge_index.device)
    absent_before = taken - torch.arange(taken.shape[0], device=taken.device)  # each taken pair
    pairs = ranks + torch.searchsorted(absent_before, ranks, right=True)
    return torch.stack([pairs // max(nodes, 1), pairs % max(nodes, 1)])


class CrossView(nn.Module):
    """A scheme of training for the prediction of links: each of two complementary views rebuilds the other.

    An epoch is two steps: the first view is encoded and the links of the second are to be found among as many absent
    ones, then, with the new weights, the other way around.

    Args:
        channels: of the features by which nodes are compared, at least 2.
        dropout: of the decoder, 0 to 1.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Chen et al., "Cross-view graph consistency learning for invariant graph representations", arXiv 2311.11821.
        In the published code a node sums over the edges that leave it; here over those that enter it, as everywhere.
    """

    def __init__(self, channels: int, *, dropout: float = 0.2) -> None:
        super().__init__()
        self.decoder = HadamardMLP(channels, dropout=dropout)

    def forward(
        self,
        network: NodeNetwork,
        graph: GraphBatch,
        view: Tensor,
        other: Tensor,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Return the term of the loss of one step, "links".

        Args:
            network: of which `embed` returns features (N, channels).
            graph: the graph whose links are known, without weights.
            view: the edges (2, E') that the network reads.
            other: the links (2, P) that it is to find, among as many absent ones.
            generator: source of the absent links; None is that of torch.

        Raises:
            InputError: the graph has weights, or edges are wrong.
        """
        if graph.edge_weight is not None:
            raise InputError("graph.edge_weight must be None; views are those of a graph without weights")
        absent = sample_absent_links(graph.edge_index, graph.x.shape[0], other.shape[1], generator)
        z = network.embed(graph._replace(edge_index=view))
        return {"links": link_loss(self.decoder(z, other), self.decoder(z, absent))}

    def steps(
        self,
        network: NodeNetwork,
        graph: GraphBatch,
        views: Views,
        generator: torch.Generator | None = None,
    ) -> Iterator[dict[str, Tensor]]:
        """Yield the terms of both steps of an epoch; take the first before those of the second are asked for.

        Args:
            network, graph, generator: as in `forward`.
            views: the edges of both, as `convnn.graphs.views.complementary_views` draws them.
        """
        for view, other in (views, views[::-1]):
            yield self(network, graph, view, other, generator)

    def score(self, z: Tensor, edge_index: Tensor) -> Tensor:
        """Return the probabilities (E,) of links between nodes of features z (N, channels); see `HadamardMLP`."""
        logits: Tensor = self.decoder(z, edge_index)
        return logits.sigmoid()
