"""Recommendation by linear propagation over the graph of users and items (LightGCN, arXiv 2002.02126)."""

import torch
from torch import Tensor

from convnn.errors import InputError, check_at_least
from convnn.nn.graphs._degrees import degree_powers
from convnn.nn.graphs._user_items import UserItemEmbeddings
from convnn.ops.edges import propagate


class LightGCN(UserItemEmbeddings):
    r"""Embeddings of users and items, averaged over all depths of propagation; nothing else is learned.

    With the nodes of both, the interactions as edges both ways, :math:`\hat A = D^{-1/2} A D^{-1/2}` and embeddings
    :math:`E_0`,

    .. math:: Z = \frac{1}{L + 1} \sum_{l=0}^{L} \hat A^l E_0, \quad
        \operatorname{score}(u, i) = \langle z_u, z_i \rangle

    An interaction counts as often as it is listed. A user or item without any has :math:`E_0 / (L + 1)`; L = 0 is
    matrix factorisation. Embeddings are drawn from N(0, 0.1).

    Args:
        num_users: number of users.
        num_items: number of items.
        dim: dimensions of the embeddings.
        num_layers: L.
        keep_prob: share of the entries of A that a step of training keeps, divided by it: each direction by itself, the
            same in all layers, with the degrees of the whole graph. 1 keeps all.

    Raises:
        InputError: a number is out of range.

    Reference:
        He et al., "LightGCN: Simplifying and Powering Graph Convolution Network for Recommendation", arXiv 2002.02126.
        Loss, sampling and figures: `convnn.objectives.ranking`.

    Example:
        >>> interactions = torch.tensor([[0, 0, 1], [2, 3, 3]])  # user 0 with items 2 and 3, user 1 with item 3
        >>> model = LightGCN(2, 4, dim=8)
        >>> users, items = model(interactions)
        >>> model.recommend(interactions, torch.tensor([0]), 2).shape
        torch.Size([1, 2])
    """

    def __init__(
        self, num_users: int, num_items: int, *, dim: int = 64, num_layers: int = 3, keep_prob: float = 1.0
    ) -> None:
        super().__init__(num_users, num_items, dim=dim)
        check_at_least("num_layers", num_layers, 0)
        if not 0 < keep_prob <= 1:
            raise InputError(f"keep_prob={keep_prob} must be above 0 and at most 1")
        self.num_layers, self.keep_prob = num_layers, keep_prob

    def forward(self, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the propagated embeddings of users (U, dim) and items (I, dim).

        Args:
            edge_index: (2, E) int64, the user and the item of each interaction.

        Raises:
            InputError: there is none, the shape or type is wrong, or a user or item does not exist.
        """
        index, weights = self._both_ways(edge_index), None
        roots = degree_powers(propagate(self.users.weight.new_ones(self._nodes, 1), index), -0.5)
        if self.training and self.keep_prob < 1:
            index, weights = self._kept(index)
        total = embeddings = torch.cat([self.users.weight, self.items.weight])
        for _ in range(self.num_layers):
            embeddings = roots * propagate(roots * embeddings, index, weights)
            total = total + embeddings
        users, items = (total / (self.num_layers + 1)).split([self.users.num_embeddings, self.items.num_embeddings])
        return users, items

    @property
    def _nodes(self) -> int:
        return self.users.num_embeddings + self.items.num_embeddings

    def _both_ways(self, edge_index: Tensor) -> Tensor:
        """Return the edges (2, 2 E) between users and items, which are the nodes after the users, both ways."""
        self._check(edge_index)
        pairs = edge_index + edge_index.new_tensor([[0], [self.users.num_embeddings]])
        return torch.cat([pairs, pairs.flip(0)], dim=1)

    def _kept(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the entries of A that a random number keeps, and their weights; equal edges are one entry."""
        entries, counts = index.unique(dim=1, return_counts=True)  # in the order of rows and columns of A
        kept = torch.rand(entries.shape[1], device=index.device) + self.keep_prob >= 1
        return entries[:, kept].flip(0), counts[kept].to(self.users.weight.dtype) / self.keep_prob
