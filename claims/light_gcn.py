"""LightGCN: propagation alone, against propagation with matrices and nonlinearities."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from convnn.nn.graphs import LightGCN, propagations
from convnn.objectives import ranking
from convnn.ops import select

SYSTEM = "LightGCN"
CLAIM = "For recommendation, linear propagation beats that with weight matrices and nonlinearities (NGCF)."
EXPERIMENT = (
    "300 users and 240 items in 8 hidden groups; users choose items of their group, of different popularity, and few"
    " others: 8 for training, 4 for the test. Recall at 20 of the test items, in percent; 32 dimensions, 120 steps of"
    " Adam, learning rate 0.005, 1,024 triples each. NGCF: leaky ReLU, rows of length 1, all depths concatenated."
)
SEEDS = (0, 1, 2)
USERS, ITEMS, DIM = 300, 240, 32


class NGCF(LightGCN):
    """As LightGCN, with W (e + Ae) + V (e * Ae) in every layer."""

    def __init__(self, *sizes: int, dim: int) -> None:
        super().__init__(*sizes, dim=dim)
        self.sums, self.products = (nn.ModuleList(nn.Linear(dim, dim) for _ in range(3)) for _ in range(2))

    def forward(self, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        pairs = edge_index + torch.tensor([[0], [USERS]])
        rows = torch.cat([self.users.weight, self.items.weight])
        depths = [rows]
        for of_sum, of_product in zip(self.sums, self.products, strict=True):
            *_, near = propagations(rows, torch.cat([pairs, pairs.flip(0)], 1), hops=1, loops=0.0)
            rows = F.leaky_relu(of_sum(rows + near) + of_product(rows * near), 0.2)
            depths.append(F.normalize(rows))
        return torch.cat(depths, 1).split([USERS, ITEMS])


MODELS = {
    "matrix factorisation": partial(LightGCN, num_layers=0),
    "LightGCN, 1 layer": partial(LightGCN, num_layers=1),
    "LightGCN, 3 layers": LightGCN,
    "NGCF, 3 layers": NGCF,
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    found = {name: [learned(make, seed, 1 if quick else 120) for seed in seeds] for name, make in MODELS.items()}
    rows = list(zip(*found.values(), strict=True))  # of each seed
    checks = {
        "three layers are above NGCF, with every seed": all(three > ngcf for _, _, three, ngcf in rows),
        "three layers are above one, and one above none": all(mf < one < three for mf, one, three, _ in rows),
    }
    return Outcome([["model", "recall, %"], *([name, spread(recalls)] for name, recalls in found.items())], checks)


def learned(make: Callable[..., LightGCN], seed: int, steps: int) -> float:
    train, test = choices(seed)
    torch.manual_seed(seed)
    model = make(USERS, ITEMS, dim=DIM)
    optimizer = torch.optim.Adam(model.parameters(), 0.005)
    for _ in range(steps):
        users, chosen, other = ranking.sample_triples(train, USERS, ITEMS, 1024)
        of_users, of_items = model(train)
        scores = [(of_users[users] * of_items[items]).sum(1) for items in (chosen, other)]
        optimizer.zero_grad()
        ranking.bpr_loss(*scores, [model.users(users), model.items(chosen), model.items(other)]).backward()
        optimizer.step()
    of_users, of_items = model(train)
    masks = [ranking.interaction_mask(pairs, torch.arange(USERS), USERS, ITEMS) for pairs in (train, test)]
    return 100 * ranking.recall(select.highest(of_users @ of_items.T, 20, excluded=masks[0]), masks[1])


def choices(seed: int) -> tuple[Tensor, Tensor]:
    """Draw the interactions (2, E) for training and for the test."""
    generator = torch.Generator().manual_seed(seed)
    of_user, of_item = (torch.randint(8, (count,), generator=generator) for count in (USERS, ITEMS))
    popularity = torch.rand(ITEMS, generator=generator).square() + 0.1
    likely = popularity * torch.where(of_user.unsqueeze(1) == of_item, 1.0, 0.06)
    items = likely.multinomial(12, generator=generator)
    users = torch.arange(USERS).unsqueeze(1)
    return tuple(torch.stack([users.expand_as(part).flatten(), part.flatten()]) for part in items.split([8, 4], 1))
