"""Recommendation whose propagation is a constraint of the loss (UltraGCN, arXiv 2110.15114)."""

from convnn.nn.graphs._user_items import UserItemEmbeddings


class UltraGCN(UserItemEmbeddings):
    """Embeddings of users and items that nothing propagates: the neighbours enter through the loss alone.

    They differ from those of matrix factorisation by being drawn from N(0, 0.01), and by what they are trained for:
    `convnn.objectives.infinite_layers.ultra_loss`.

    Args:
        num_users: number of users.
        num_items: number of items.
        dim: dimensions of the embeddings.
        std: standard deviation of the first embeddings; 1e-4 and 1e-3 are published, for hundreds of epochs.

    Raises:
        InputError: a number is out of range.

    Reference:
        Mao et al., "UltraGCN: Ultra Simplification of Graph Convolutional Networks for Recommendation",
        arXiv 2110.15114.
    """

    def __init__(self, num_users: int, num_items: int, *, dim: int = 64, std: float = 0.01) -> None:
        super().__init__(num_users, num_items, dim=dim, std=std)
