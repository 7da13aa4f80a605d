"""SIR-GCN: a message that depends on both ends can look something up."""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from claims._nodes import descend, geometric, right
from convnn.nn.graphs import SIRGCN

SYSTEM = "SIR-GCN: contextualised messages"
CLAIM = "Messages that depend on both ends of an edge solve tasks that messages of the neighbour alone cannot."
EXPERIMENT = (
    "DictionaryLookup: eight nodes with a key and a value each, and edges from all of them to eight nodes with a key;"
    " accuracy in percent of the value at these, chance 12.5, on 128 new graphs after 300 steps on 256 graphs. The"
    " embeddings of key and value are added; one layer of 32 channels and a linear layer."
)
SEEDS = (0, 1)
KEYS, WIDTH = 8, 32


def mlp(*widths: int) -> nn.Sequential:
    """Make linear layers, each after a ReLU."""
    return nn.Sequential(*(part for one, other in pairwise(widths) for part in (nn.ReLU(), nn.Linear(one, other))))


LAYERS = {
    "SIRGCN, a network as activation": lambda i, o: SIRGCN(i, o, edge_activation=nn.Sequential(mlp(o, o), nn.ReLU())),
    "SIRGCN, ReLU": SIRGCN,
    "GATv2": lambda i, o: geometric.GATv2Conv(i, o, add_self_loops=False),
    "GIN": lambda i, o: geometric.GINConv(nn.Sequential(nn.Linear(i, o), mlp(o, o))),
    "SAGE, maximum": lambda i, o: geometric.SAGEConv(i, o, aggr="max"),
    "GCN": geometric.GCNConv,
}


class Lookup(nn.Module):
    """Embeddings of keys and values, one layer, and a classifier."""

    def __init__(self, layer) -> None:
        super().__init__()
        self.keys, self.values = nn.Embedding(KEYS, WIDTH), nn.Embedding(KEYS + 1, WIDTH)
        self.layer, self.classifier = layer(WIDTH, WIDTH), nn.Linear(WIDTH, KEYS)

    def forward(self, values: Tensor) -> Tensor:
        """Map the values (G, 8) of keys 0 to 7 to logits (G * 8, 8) of the nodes that ask."""
        graphs, keys = len(values), torch.arange(KEYS)
        known = self.keys(keys) + self.values(values)
        asking = (self.keys(keys) + self.values(torch.tensor(KEYS))).expand_as(known)
        first = 2 * KEYS * torch.arange(graphs).view(-1, 1, 1)
        edges = torch.stack([keys.repeat(KEYS), KEYS + keys.repeat_interleave(KEYS)]) + first
        x = torch.cat([known, asking], dim=1).flatten(0, 1)
        y = self.classifier(F.relu(self.layer(x, edges.transpose(0, 1).flatten(1))))
        return y.view(graphs, 2, KEYS, KEYS)[:, 1].flatten(0, 1)


def measure(seeds: list[int], quick: bool) -> Outcome:
    scores = {name: [accuracy(layer, seed, 2 if quick else 300) for seed in seeds] for name, layer in LAYERS.items()}
    ours, gcn = scores["SIRGCN, a network as activation"], scores["GCN"]
    return Outcome(
        [["layer", "accuracy, %"], *([name, spread(found)] for name, found in scores.items())],
        {
            "SIR-GCN is right for 99 %": min(ours) > 99,
            "GCN stays at chance": max(gcn) < 15,
            "SIR-GCN is above every other": all(min(ours) > max(scores[name]) for name in list(LAYERS)[2:]),
        },
    )


def accuracy(layer, seed: int, steps: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    train, test = (torch.rand(count, KEYS, generator=generator).argsort(1) for count in (256, 128))
    torch.manual_seed(seed)
    network = Lookup(layer)
    descend(network, lambda: F.cross_entropy(network(train), train.flatten()), steps=steps, lr=3e-3)
    with torch.no_grad():
        return right(network(test), test.flatten())
