"""Embeddings of users and items, the base of recommenders."""

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.nn.graphs._checks import check_index
from convnn.ops import select
from convnn.ops.ragged import check_edges


class UserItemEmbeddings(nn.Module):
    r"""A vector for each user and each item; the score of a pair is their inner product.

    Trained as they are, they are matrix factorisation. What propagates them over the interactions is a subclass, with
    its own `forward`. They are drawn from :math:`N(0, \sigma^2)`.

    Args:
        num_users: number of users, U.
        num_items: number of items, I.
        dim: dimensions of the embeddings.
        std: the standard deviation.

    Raises:
        InputError: a number is out of range.
    """

    def __init__(self, num_users: int, num_items: int, *, dim: int = 64, std: float = 0.1) -> None:
        super().__init__()
        for name, number in (("num_users", num_users), ("num_items", num_items), ("dim", dim)):
            check_at_least(name, number, 1)
        if not 0 < std < float("inf"):
            raise InputError(f"std={std} must be a positive number")
        self.std = std
        self.users, self.items = nn.Embedding(num_users, dim), nn.Embedding(num_items, dim)
        UserItemEmbeddings.reset_parameters(self)

    def reset_parameters(self) -> None:
        """Draw all embeddings."""
        for embedding in (self.users, self.items):
            nn.init.normal_(embedding.weight, std=self.std)

    def prepare(self, edge_index: Tensor) -> None:
        """Take from the interactions what is computed once, before training; nothing here."""

    def forward(self, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of users (U, C) and items (I, C) whose inner products are the scores.

        Args:
            edge_index: (2, E) int64, the user and the item of each interaction.

        Raises:
            InputError: there is none, the shape or type is wrong, or a user or item does not exist.
        """
        self._check(edge_index)
        return self.users.weight, self.items.weight

    def decaying(self) -> list[Tensor]:
        """Return the parameters that decay in every batch, beside the embeddings of its users and items."""
        return []

    @torch.no_grad()
    def recommend(self, edge_index: Tensor, users: Tensor, k: int, exclude: Tensor | None = None) -> Tensor:
        """Return the k items (B, k) with the highest scores for each user, best first; equal ones by lowest index.

        Args:
            edge_index: (2, E) int64, the user and the item of each interaction.
            users: (B,) int64.
            k: number of items.
            exclude: (B, I) bool, items that come last, such as those that the user has already; see
                `convnn.objectives.ranking.interaction_mask`.

        Raises:
            InputError: a shape or type is wrong, a user or item does not exist, or k exceeds the number of items.
        """
        check_index("users", users, self.users.num_embeddings)
        of_users, of_items = self(edge_index)
        return select.highest(of_users[users] @ of_items.T, k, excluded=exclude)

    def _check(self, edge_index: Tensor) -> None:
        check_edges(edge_index, self.users.num_embeddings, self.items.num_embeddings, ends=("users", "items"))
        if not edge_index.shape[1]:
            raise InputError("edge_index of shape (2, 0) must have at least one interaction")
