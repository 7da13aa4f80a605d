"""Networks that rank items for users."""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from convnn.models._network import Network
from convnn.models._registry import register_model
from convnn.nn import LayerFactory
from convnn.nn.graphs.batch import InteractionBatch
from convnn.ops.edges import edge_rows


class Recommender(Network):
    """Vectors of users and items, whose inner products rank the items for each user.

    Its one layer makes the vectors, from the interactions of all users.

    Args:
        layer: function from the numbers of users and items, and `dim`, to a layer called with edge_index (2, E), the
            user and the item of each interaction, that returns the vectors of users (U, C) and items (I, C).
        in_channels: number of users, U.
        num_classes: number of items, I.
        width: factor on d_hidden.
        d_hidden: dimensions of the embeddings.

    Raises:
        InputError: an argument is out of range.
    """

    reads: ClassVar[str] = "interactions"
    default_layer: ClassVar[str] = "LightGCN"

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 1,
        num_classes: int = 1,
        width: float = 1.0,
        d_hidden: int = 64,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        self.encoder: Any = layer(in_channels, num_classes, dim=self.scaled(d_hidden))
        self.head = nn.Identity()

    def prepare(self, edge_index: Tensor) -> None:
        """Let the layer take from the interactions (2, E) what it computes once, before training."""
        self.encoder.prepare(edge_index)

    def forward(self, batch: InteractionBatch) -> Tensor:
        """Return the scores (B, I) of all items for each user; those that it has already get the lowest number."""
        of_users, of_items = self.encoder(batch.edge_index)
        scores = of_users[batch.users] @ of_items.T
        known = edge_rows(batch.edge_index, batch.users, (self.in_channels, self.num_classes))
        return scores.masked_fill(known, torch.finfo(scores.dtype).min)


@register_model(Recommender)
def recommender(layer: LayerFactory, **settings: Any) -> Recommender:
    """Vectors of users and items, 64 numbers each, whose inner products rank the items for each user."""
    return Recommender(layer, **settings)
