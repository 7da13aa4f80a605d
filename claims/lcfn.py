"""LCFN: low frequencies of users and items carry what is worth knowing."""

from functools import partial

import torch
from torch import Tensor, nn

from claims._experiment import Outcome, spread
from claims._recommendation import ITEMS, USERS, ranking_loss, recall, recall_of
from convnn.data.interactions import hidden_groups
from convnn.nn.graphs import LCFN, LightGCN, hypergraph_bases
from convnn.objectives import ranking

SYSTEM = "LCFN: low-pass collaborative filters"
CLAIM = "Low-pass filters take the noise out of what users chose, and are better than other convolutions of the graph."
EXPERIMENT = (
    "300 users and 240 items in 8 hidden groups, as for LightGCN. Recall at 20 of the test items, in percent. Without"
    " training: the observed matrix between the k smoothest vectors of either side. Trained: one layer of 2 x 16"
    " dimensions, 180 steps of Adam at 0.01, 1,024 triples each, decay 0.1; LightGCN with one layer and 32 dimensions,"
    " 120 steps at 0.005, and matrix factorisation, 360 steps."
)
SEEDS = (0, 1, 2)
WIDTHS = (4, 8, 16, 64, 240)


class Unfiltered(LCFN):
    """As LCFN, without the filter."""

    def forward(self, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        tables = (self.users.weight, self.items.weight)
        return tuple(torch.cat([table, (table @ self.transforms[0]).sigmoid()], 1) for table in tables)


def low_pass(seed: int, k: int) -> float:
    """Return the recall of the observed matrix after an ideal filter."""
    train, _ = hidden_groups(seed)
    users, items = hypergraph_bases(train, USERS, ITEMS, k, k)
    chosen = ranking.interaction_mask(train, torch.arange(USERS), USERS, ITEMS).double()
    return recall_of(users @ (users.T @ chosen @ items), items, seed)


def prepared_loss(model: nn.Module, train: Tensor) -> Tensor:
    """Return the loss of ranking, with the filters' decay, after the bases have been computed once."""
    if not model.user_basis.any():
        model.prepare(train)
    others = sum(part.square().sum() for part in model.decaying())
    return ranking_loss(model, train, decay=0.1) + 0.1 / (2 * 1024) * others


EIGHT, ALL = ({"dim": 16, "user_frequencies": k, "item_frequencies": k} for k in (8, 240))
MODELS = {
    "LCFN, k 8": (partial(LCFN, **EIGHT), 180, prepared_loss, 0.01),
    "LCFN, k 240": (partial(LCFN, **ALL), 180, prepared_loss, 0.01),
    "LCFN without filter": (partial(Unfiltered, **EIGHT), 180, prepared_loss, 0.01),
    "LightGCN, 1 layer": (partial(LightGCN, dim=32, num_layers=1), 120, ranking_loss, 0.005),
    "matrix factorisation": (partial(LightGCN, dim=32, num_layers=0), 360, ranking_loss, 0.005),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    ideal = {k: [low_pass(seed, k) for seed in seeds] for k in WIDTHS}
    found = {
        name: [recall(make, seed, 1 if quick else steps, loss, lr) for seed in seeds]
        for name, (make, steps, loss, lr) in MODELS.items()
    }
    rows = list(zip(*found.values(), strict=True))  # of each seed
    best = [max(WIDTHS, key=lambda k, i=i: ideal[k][i]) for i in range(len(seeds))]
    return Outcome(
        [
            ["model", "recall, %"],
            *([f"no training, k {k}", spread(recalls)] for k, recalls in ideal.items()),
            *([name, spread(recalls)] for name, recalls in found.items()),
        ],
        {
            "without training, as many frequencies as groups are best, with every seed": set(best) == {8},
            "they have four times the recall of all": all(a > 4 * b for a, b in zip(ideal[8], ideal[240], strict=True)),
            "LCFN is 8 above the same without filter": all(low > none + 8 for low, _, none, *_ in rows),
            "LCFN is above LightGCN": all(low > light for low, *_, light, _ in rows),
        },
    )
