"""k-core embedding: most of what walks from every node tell comes from the inner cores."""

from functools import partial

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from claims._experiment import Outcome, spread
from convnn.data.geometric import import_geometric
from convnn.graphs.embed import CoreWalk, KCoreEmbedding

SYSTEM = "k-core embedding"
CLAIM = (
    "Fewer walks from outer cores, or an embedding of a core alone that is propagated outwards, lose little quality."
)
EXPERIMENT = (
    "Largest components of random graphs of 1500 nodes: four classes, 15 % of the edges regardless of class, mean"
    " degree about 10, tendencies to have edges from a Pareto distribution. Ten walks of 20 nodes, 32 channels, window"
    " 5; a logistic regression of the class from the embedding of half of the nodes, accuracy on the others in percent."
)
SEEDS = (0, 1, 2)
WALK = {"n_walks": 10, "walk_length": 20, "lr": 0.05}


def measure(seeds: list[int], quick: bool) -> Outcome:
    walk = {**WALK, "dim": 8, "n_walks": 2} if quick else {**WALK, "dim": 32}
    methods = {
        "walks from every node": partial(CoreWalk, **walk, mode=None),
        "fewer from outer cores": partial(CoreWalk, **walk),
        **{f"core {k or 'innermost'}, propagated": partial(core_alone, walk, k) for k in (4, 6, None)},
    }
    rows, scores, shares = [["method", "walks, %", "accuracy, %"]], {}, {}
    for name, make in methods.items():
        found = [score(make, seed) for seed in seeds]
        scores[name], walks = ([one[i] for one in found] for i in (0, 1))
        every = walks if not shares else shares["walks from every node"]
        shares[name] = walks
        rows.append([name, spread([100 * a / b for a, b in zip(walks, every, strict=True)]), spread(scores[name])])
    mean = {name: np.mean(found) for name, found in scores.items()}
    every, fewer, four, six, _ = mean.values()
    walks = [sum(found) for found in shares.values()]
    return Outcome(
        rows,
        {
            "less than half of the walks start where cores count": 2 * walks[1] < walks[0],
            "that costs less than 2 points": bool(fewer > every - 2),
            "the 4-core and the 6-core alone cost less than 2 points": bool(min(four, six) > every - 2),
            "the 6-core takes less than half of the walks": 2 * walks[3] < walks[0],
        },
    )


def core_alone(walk: dict, k: int | None) -> KCoreEmbedding:
    return KCoreEmbedding(CoreWalk(**walk, mode=None), k)


def score(make, seed: int) -> tuple[float, int]:
    """Return the accuracy, and the number of walks."""
    edges, labels = blocks(seed)
    model = make().fit(edges, num_nodes=len(labels))
    x, half = model.embedding_.numpy(), np.random.RandomState(seed).permutation(len(labels))
    train, test = half[::2], half[1::2]
    right = LogisticRegression(max_iter=500).fit(x[train], labels[train]).score(x[test], labels[test])
    return 100 * right, int(getattr(model, "embedder", model).walk_counts_.sum())


def blocks(seed: int) -> tuple[Tensor, Tensor]:
    random = np.random.RandomState(seed)
    labels, power = random.randint(4, size=1500), np.minimum(random.pareto(1.4, 1500) + 1, 15)
    same = 0.15 / 4 + 0.85 * (labels[:, None] == labels)
    chances = same * np.outer(power, power)
    chances *= 10 * 1500 / chances.sum()
    upper = np.triu(random.rand(1500, 1500) < chances, 1)
    edges = torch.from_numpy(np.stack((upper | upper.T).nonzero()))
    data = import_geometric("data").Data(edge_index=edges, y=torch.from_numpy(labels), num_nodes=1500)
    largest = import_geometric("transforms").LargestConnectedComponents()(data)
    return largest.edge_index, largest.y
