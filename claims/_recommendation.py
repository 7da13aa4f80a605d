"""Short training of recommenders on users and items with hidden groups."""

import torch
from torch import Tensor

from claims._nodes import descend
from convnn.objectives import ranking
from convnn.ops import select

USERS, ITEMS = 300, 240


def recall(make, seed: int, steps: int) -> float:
    """Train a recommender for (users, items) by steps of 1,024 triples; return its recall at 20, in percent."""
    train, test = choices(seed)
    torch.manual_seed(seed)
    model = make(USERS, ITEMS)

    def loss() -> Tensor:
        users, chosen, other = ranking.sample_triples(train, USERS, ITEMS, 1024)
        of_users, of_items = model(train)
        scores = [(of_users[users] * of_items[items]).sum(1) for items in (chosen, other)]
        return ranking.bpr_loss(*scores, [model.users(users), model.items(chosen), model.items(other)])

    descend(model, loss, steps=steps, lr=0.005)
    of_users, of_items = model(train)
    masks = [ranking.interaction_mask(pairs, torch.arange(USERS), USERS, ITEMS) for pairs in (train, test)]
    return 100 * ranking.recall(select.highest(of_users @ of_items.T, 20, excluded=masks[0]), masks[1])


def choices(seed: int) -> tuple[Tensor, Tensor]:
    """Draw the interactions (2, E) for training and for the test."""
    generator = torch.Generator().manual_seed(seed)
    of_user, of_item = (torch.randint(8, (count,), generator=generator) for count in (USERS, ITEMS))
    likely = (torch.rand(ITEMS, generator=generator).square() + 0.1) * torch.where(
        of_user.unsqueeze(1) == of_item, 1.0, 0.06
    )
    parts = likely.multinomial(12, generator=generator).split([8, 4], 1)
    return tuple(torch.stack([torch.arange(USERS).repeat_interleave(len(p.T)), p.flatten()]) for p in parts)
