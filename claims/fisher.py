"""Fisher information embedding: multisets of neighbours that a mean cannot tell apart, without labels."""

import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from convnn.nn.graphs import FIENet, FisherEmbedding

SYSTEM = "Fisher information embedding"
CLAIM = "One step of the embedding tells multisets of neighbours apart that averaging cannot, without labels."
EXPERIMENT = (
    "300 nodes with 10 neighbours each in eight dimensions, which lie in both directions of the first or of the second"
    " axis, five each, with noise of 0.3: their means are alike. Accuracy in percent, chance 50, of logistic regression"
    " on half of the nodes, of the mean and of embeddings whose centres are clustered. And on scikit-learn's digits,"
    " each linked to 8 others, with three labels a class: two layers of hidden 32, against two means of the neighbours."
)
SEEDS = (0, 1, 2, 3, 4)
COMPONENTS = (1, 2, 4, 8)


def measure(seeds: list[int], quick: bool) -> Outcome:
    nodes = 40 if quick else 300
    scores = {f"components: {count}": [right(nodes, count, seed) for seed in seeds] for count in COMPONENTS}
    on_digits = [[] for _ in range(4)] if quick else list(zip(*map(digits, seeds), strict=True))
    names = ("their features", "means of the neighbours", "components: 1", "components: 4")
    rows = [[f"digits: {name}", spread(found)] for name, found in zip(names, on_digits, strict=True) if found]
    return Outcome(
        [["nodes are described by", "accuracy, %"], *([name, spread(found)] for name, found in scores.items()), *rows],
        {
            "four components are right for 95 %": min(scores["components: 4"]) > 95,
            "one component, which is the mean, is below 60 %": max(scores["components: 1"]) < 60,
        },
    )


def multisets(nodes: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Make features of nodes, which are 0, and of their neighbours, the edges, and labels of the nodes."""
    generator, labels = torch.Generator().manual_seed(seed), torch.arange(nodes) % 2
    x = 0.3 * torch.randn(nodes, 10, 8, generator=generator)
    x[torch.arange(nodes), :, labels] += torch.tensor([1.0, -1]).repeat(5)
    edges = torch.stack([torch.arange(10 * nodes) + nodes, torch.arange(nodes).repeat_interleave(10)])
    return torch.cat([torch.zeros(nodes, 8), x.flatten(0, 1)]), edges, labels


def right(nodes: int, components: int, seed: int) -> float:
    x, edges, labels = multisets(nodes, seed)
    layer = FisherEmbedding(8, 8 * components, num_mixtures=components, projection=None)
    layer.fit_anchors(x, edges, torch.Generator().manual_seed(seed))
    order = torch.randperm(nodes, generator=torch.Generator().manual_seed(seed))
    return regression(layer(x, edges)[:nodes].detach(), labels, *order.chunk(2), C=100.0)


def regression(x: Tensor, labels: Tensor, train: Tensor, test: Tensor, C: float) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=2000))
    return 100 * model.fit(x[train], labels[train]).score(x[test], labels[test])


def digits(seed: int) -> tuple[float, ...]:
    """Return the accuracies on the digits, of features, of means, and of embeddings of 1 and 4 components."""
    images, labels = (torch.from_numpy(part) for part in load_digits(return_X_y=True))
    x, generator = F.normalize(images.float(), dim=1), torch.Generator().manual_seed(seed)
    nearest = torch.cdist(x, x).topk(9, largest=False).indices  # each digit is its own nearest
    sources = torch.arange(len(x)).repeat_interleave(9)
    both = torch.cat([torch.stack([sources, nearest.flatten()]), torch.stack([nearest.flatten(), sources])], 1)
    edges = both.unique(dim=1)
    order = torch.randperm(len(x), generator=generator)
    train = torch.cat([order[labels[order] == digit][:3] for digit in range(10)])
    test = order[~torch.isin(order, train)]
    mean = torch.zeros(len(x), len(x)).index_put_((edges[1], edges[0]), torch.ones(()))
    mean = mean / mean.sum(1, keepdim=True)
    found = [x, torch.cat([x, mean @ x, mean @ mean @ x], 1)]
    for count in (1, 4):
        network = FIENet(64, 32, num_layers=2, num_mixtures=count, sigma=1.0).fit(x, edges, generator)
        found.append(network(x, edges).detach())
    return tuple(regression(one, labels, train, test, C=1.0) for one in found)
