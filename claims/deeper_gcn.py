"""DeeperGCN: residuals before the activation, in stacks of 28 layers."""

from functools import partial

import torch

from claims._experiment import Outcome, spread
from claims._graphs import block_model, classified
from convnn.nn.graphs import GCN, DeeperGCN, GENConv

SYSTEM = "DeeperGCN"
CLAIM = "Residuals before normalisation and activation, with generalised aggregation, train very deep stacks."
EXPERIMENT = (
    "Accuracy in percent on a random graph: 400 nodes of five classes, edges with probability 0.04 within and 0.006"
    " between them, 16 noisy features, 100 labels. Width 32, batch normalisation, dropout 0.2, 60 steps of Adam with a"
    " learning rate of 0.005; softmax with a learned temperature and one linear layer, or GCN. Chance is 20."
)
SEEDS = (0, 1)
GEN = partial(GENConv, aggr="softmax", learn_t=True, mlp_layers=1)
STACKS = {
    "3 layers, res+": (3, "res+", GEN),
    "28 layers, plain": (28, "plain", GEN),
    "28 layers, res": (28, "res", GEN),
    "28 layers, res+": (28, "res+", GEN),
    "28 layers, res+, of GCN": (28, "res+", GCN),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    found = {
        name: list(zip(*(learned(*stack, seed, 1 if quick else 60) for seed in seeds), strict=True))
        for name, stack in STACKS.items()
    }
    (train, test), (plain, _), (shallow, gcn) = (
        found["28 layers, res+"],
        found["28 layers, plain"],
        (found["3 layers, res+"][1], found["28 layers, res+, of GCN"][1]),
    )
    return Outcome(
        [["stack", "training, %", "test, %"], *([name, *map(spread, both)] for name, both in found.items())],
        {
            "28 layers with res+ learn the training nodes, to 95 %": min(train) > 95,
            "they are right for more than 60 % of the others": min(test) > 60,
            "without residuals they stay near chance, below 40 % in training": max(plain) < 40,
            "28 layers are above 3": sum(test) > sum(shallow),
            "softmax is above GCN": sum(test) > sum(gcn),
        },
    )


def learned(depth: int, block: str, layer, seed: int, steps: int) -> tuple[float, float]:
    """Return the accuracies in training and test."""
    data = block_model(400, 5, 0.04, 0.006, features=16, noise=2.5, known=20, seed=seed)
    torch.manual_seed(seed)
    network = DeeperGCN(16, 5, hidden_channels=32, num_layers=depth, layer=layer, block=block, dropout=0.2)
    return classified(network, data, data.edges, steps=steps, lr=0.005)
