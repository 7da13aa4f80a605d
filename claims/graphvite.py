"""GraphVite: pairs a few steps apart on walks say more than edges, and training by blocks costs nothing."""

from functools import partial

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from convnn.data.geometric import import_geometric
from convnn.graphs.embed import GraphVite

SYSTEM = "GraphVite"
CLAIM = (
    "Pairs of nodes up to five steps apart on walks make better embeddings than edges alone, and blocks of nodes that"
    " are trained at once, with negatives of their own, do not hurt."
)
EXPERIMENT = (
    "Random graphs of 600 nodes in six blocks, edges with probability 0.08 within and 0.006 between; a tenth of the"
    " edges is held out. 16 channels, 400 000 pairs from walks of 20 edges, one negative of weight 5: area under the"
    " curve, in percent, of the cosine of the ends of held-out edges against that of as many pairs without an edge."
)
SEEDS = (0, 1, 2)
SETTINGS = {"walk_length": 20, "lr": 0.05, "weight_decay": 5e-4, "batch_size": 64}
WAYS = {
    "edges alone": {"augmentation": 1},
    "up to five steps": {"augmentation": 5},
    "up to five steps, 4 x 4 blocks": {"augmentation": 5, "num_parts": 4},
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    pairs = 4_000 if quick else 400_000
    scores = {name: [score(partial(GraphVite, **way), seed, pairs) for seed in seeds] for name, way in WAYS.items()}
    edges, steps, blocks = scores.values()
    return Outcome(
        [["pairs", "area, %"], *([name, spread(found)] for name, found in scores.items())],
        {
            "five steps are above edges alone": is_above(steps, edges),
            "so are they in blocks": is_above(blocks, edges),
            "blocks cost less than 3 points": sum(steps) - sum(blocks) < 3 * len(seeds),
        },
    )


def score(make, seed: int, pairs: int) -> float:
    kept, held, others = graph(seed)
    model = make(16, epochs=pairs / kept.shape[1], seed=seed, **SETTINGS).fit(kept, num_nodes=600)
    x = F.normalize(model.embedding_, dim=1)
    cosines = torch.cat([(x[ends[0]] * x[ends[1]]).sum(1) for ends in (held, others)])
    return 100 * roc_auc_score([1] * held.shape[1] + [0] * others.shape[1], cosines)


def graph(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return edges both ways, those held out, and as many pairs without an edge."""
    torch.manual_seed(seed)
    chances = torch.full((6, 6), 0.006).fill_diagonal_(0.08)
    edges = import_geometric("utils").stochastic_blockmodel_graph([100] * 6, chances)
    upper = edges[:, edges[0] < edges[1]]
    upper = upper[:, torch.randperm(upper.shape[1])]
    held, kept = upper.tensor_split([upper.shape[1] // 10], 1)
    is_edge = torch.zeros(600, 600, dtype=torch.bool)
    is_edge[edges[0], edges[1]] = True
    free = (~is_edge).triu(1).nonzero().T
    others = free[:, torch.randperm(free.shape[1])[: held.shape[1]]]
    return torch.cat([kept, kept.flip(0)], 1), held, others
