"""Short training of recommenders on users and items with hidden groups."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from claims._nodes import descend
from convnn.data.interactions import hidden_groups
from convnn.objectives import ranking
from convnn.ops import select

USERS, ITEMS = 300, 240

Loss = Callable[[nn.Module, Tensor], Tensor]
"""Function of a recommender and the interactions (2, E) of training."""


def ranking_loss(model: nn.Module, train: Tensor, decay: float = 1e-4) -> Tensor:
    """Draw 1,024 triples and return the loss of ranking them."""
    users, chosen, other = ranking.sample_triples(train, USERS, ITEMS, 1024)
    of_users, of_items = model(train)
    scores = [(of_users[users] * of_items[items]).sum(1) for items in (chosen, other)]
    return ranking.bpr_loss(*scores, [model.users(users), model.items(chosen), model.items(other)], decay=decay)


def recall(make, seed: int, steps: int, loss: Loss = ranking_loss, lr: float = 0.005) -> float:
    """Train a recommender for (users, items); return its recall at 20, in percent."""
    train, _ = hidden_groups(seed)
    torch.manual_seed(seed)
    model = make(USERS, ITEMS)
    descend(model, lambda: loss(model, train), steps=steps, lr=lr)
    return recall_of(*model(train), seed)


def recall_of(of_users: Tensor, of_items: Tensor, seed: int) -> float:
    """Return the recall at 20 of vectors whose inner products are scores, in percent."""
    masks = [ranking.interaction_mask(pairs, torch.arange(USERS), USERS, ITEMS) for pairs in hidden_groups(seed)]
    return 100 * ranking.recall(select.highest(of_users @ of_items.T, 20, excluded=masks[0]), masks[1])
