"""CatGCN: categories interact before the graph is looked at."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from claims._nodes import descend, geometric, random_graph, watching
from convnn.nn.graphs import CatGCN

SYSTEM = "CatGCN: interactions of categories"
CLAIM = "Interactions of a node's categories before propagation tell what the mean of their embeddings cannot."
EXPERIMENT = (
    "600 nodes with two binary categories and four of ten values without meaning; a node's label is whether the two"
    " differ, and an edge is twice as likely between equal labels, 0.02 to 0.01. Accuracy in percent on 120 nodes at"
    " the best epoch by 120 others, of 150 on 360; 16 channels, dropout 0.3, one propagation."
)
SEEDS = (0, 1, 2, 3, 4)
FIELDS = (2, 2, 10, 10, 10, 10)
NODES = 600


class Mean(nn.Module):
    """The mean of the embeddings, a linear layer, and the propagation of CatGCN."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(sum(FIELDS), 16, mode="mean")
        self.layer = geometric.SGConv(16, 2, K=1)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:
        return self.layer(F.dropout(self.embedding(x), 0.3, self.training), edges)


CONTESTANTS = {
    "mean of embeddings": Mean,
    "global part": lambda: CatGCN(sum(FIELDS), 2, latent_channels=16, dropout=0.3, balance=1.0),
    "local part": lambda: CatGCN(sum(FIELDS), 2, latent_channels=16, dropout=0.3, balance=0.0),
    "both parts": lambda: CatGCN(sum(FIELDS), 2, latent_channels=16, dropout=0.3),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 2 if quick else 150
    scores = {name: [accuracy(make, seed, steps) for seed in seeds] for name, make in CONTESTANTS.items()}
    means = {name: sum(found) / len(found) for name, found in scores.items()}
    baseline, *parts = means.values()
    return Outcome(
        [["before propagation", "accuracy, %"], *([name, spread(found)] for name, found in scores.items())],
        {
            "each form of interaction is 10 points above the mean of embeddings": min(parts) - baseline > 10,
            "both parts together are above either": parts[2] > max(parts[:2]),
        },
    )


def accuracy(make, seed: int, steps: int) -> float:
    generator = torch.Generator().manual_seed(seed)
    values = torch.stack([torch.randint(count, (NODES,), generator=generator) for count in FIELDS], dim=1)
    x = values + torch.tensor([0, *FIELDS[:-1]]).cumsum(0)
    labels = values[:, 0] ^ values[:, 1]
    likely = torch.where(labels == labels.unsqueeze(1), 0.02, 0.01)
    edges = random_graph(likely, generator)
    train, valid, test = torch.randperm(NODES, generator=generator).split([360, 120, 120])
    torch.manual_seed(seed)
    network = make()

    def loss() -> Tensor:
        return F.cross_entropy(network(x, edges)[train], labels[train])

    watch = watching(lambda: network(x, edges), labels, valid, test)
    return descend(network, loss, steps=steps, lr=0.01, weight_decay=1e-4, watch=watch)
