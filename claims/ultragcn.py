"""UltraGCN: a constraint between similar items, in place of propagation."""

from functools import partial

import torch
from torch import Tensor, nn

from claims._experiment import Outcome, spread
from claims._recommendation import ITEMS, USERS, ranking_loss, recall
from convnn.nn.graphs import LightGCN, UltraGCN
from convnn.objectives.infinite_layers import infinite_layers, ultra_loss

SYSTEM = "UltraGCN"
CLAIM = "Recommendation needs no propagation: a loss with the weights of infinitely many layers is better, and faster."
EXPERIMENT = (
    "300 users and 240 items in 8 hidden groups, as for LightGCN. Recall at 20 of the test items, in percent; 32"
    " dimensions, Adam with a learning rate of 0.005. UltraGCN: 12 epochs in batches of 128 (228 steps), 20 items drawn"
    " against each choice, which weigh 20; lambda is the weight of the ten items most often chosen together with an"
    " item. LightGCN, and matrix factorisation, which has no layers: 120 steps of 1,024 triples. At this size"
    " propagation costs nothing, so that the time is not compared."
)
SEEDS = (0, 1, 2)
DIM, BATCH, DRAWN = 32, 128, 20


def constrained_loss(model: nn.Module, train: Tensor, weight: float, weights: tuple[float, ...]) -> Tensor:
    """Draw a batch of choices and items, and return UltraGCN's loss of them."""
    if not hasattr(model, "constants"):
        model.constants = infinite_layers(train, USERS, ITEMS).to("cpu", torch.float32)
    users, chosen = train[:, torch.randint(train.shape[1], (BATCH,))]
    drawn, tables = torch.randint(ITEMS, (BATCH, DRAWN)), (model.users.weight, model.items.weight)
    parts = ultra_loss(tables, model.constants, users, chosen, drawn, weights=weights, negative_weight=float(DRAWN))
    return parts.choices + weight * parts.similar + 1e-4 / 2 * sum(table.square().sum() for table in tables)


BY_DEGREES, EQUAL = (1e-6, 1.0, 1e-6, 1.0), (0.02, 0.0, 0.02, 0.0)
MODELS = {
    "UltraGCN, lambda 5": (partial(UltraGCN, dim=DIM), 228, partial(constrained_loss, weight=5.0, weights=BY_DEGREES)),
    "UltraGCN, lambda 0": (partial(UltraGCN, dim=DIM), 228, partial(constrained_loss, weight=0.0, weights=BY_DEGREES)),
    "UltraGCN, lambda 5, equal weights": (
        partial(UltraGCN, dim=DIM),
        228,
        partial(constrained_loss, weight=5.0, weights=EQUAL),
    ),
    "LightGCN, 3 layers": (partial(LightGCN, dim=DIM), 120, ranking_loss),
    "matrix factorisation": (partial(LightGCN, dim=DIM, num_layers=0), 120, ranking_loss),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    found = {
        name: [recall(make, seed, 1 if quick else steps, loss) for seed in seeds]
        for name, (make, steps, loss) in MODELS.items()
    }
    rows = list(zip(*found.values(), strict=True))  # of each seed
    return Outcome(
        [["model", "recall, %"], *([name, spread(recalls)] for name, recalls in found.items())],
        {
            "the constraint adds 20, with every seed": all(ultra > none + 20 for ultra, none, *_ in rows),
            "UltraGCN is 10 above matrix factorisation": all(ultra > mf + 10 for ultra, *_, mf in rows),
            "UltraGCN is above LightGCN": all(ultra > light for ultra, _, _, light, _ in rows),
            "weights by degrees are better than equal ones": all(ultra > equal for ultra, _, equal, *_ in rows),
        },
    )
