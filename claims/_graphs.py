"""Graphs whose nodes belong to classes, and small networks on them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._nodes import descend, random_graph, right


class Nodes(NamedTuple):
    """Nodes with features (N, C), edges (2, E), labels (N,), and the places of those whose labels are known."""

    x: Tensor
    edges: Tensor
    labels: Tensor
    known: Tensor


class TwoLayers(nn.Module):
    """Two layers of a graph, with dropout before both and ReLU between."""

    def __init__(self, first: nn.Module, second: nn.Module, dropout: float = 0.5) -> None:
        super().__init__()
        self.first, self.second, self.dropout = first, second, dropout

    def forward(self, x: Tensor, *graph: Tensor) -> Tensor:
        hidden = self.first(F.dropout(x, self.dropout, self.training), *graph).relu()
        return self.second(F.dropout(hidden, self.dropout, self.training), *graph)


def block_model(
    nodes: int, classes: int, within: float, between: float, *, features: int, noise: float, known: int, seed: int
) -> Nodes:
    """Draw a graph denser within its classes, whose features are noisy class means; `known` is of each class."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(nodes // classes)
    edges = random_graph(torch.where(labels == labels.unsqueeze(1), within, between), generator)
    means = torch.randn(classes, features, generator=generator)
    x = means[labels] + noise * torch.randn(nodes, features, generator=generator)
    return Nodes(x, edges, labels, some_of_each(labels, known, generator))


def some_of_each(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draw nodes of each class."""
    order = torch.randperm(len(labels), generator=generator)
    return torch.cat([order[labels[order] == label][:count] for label in labels.unique()])


def classified(network: nn.Module, data: Nodes, *graph: Tensor, **settings: float) -> tuple[float, float]:
    """Learn from the known labels; return the share of right answers for them and for the others, in percent."""
    labels, known = data.labels, data.known
    descend(network, lambda: F.cross_entropy(network(data.x, *graph)[known], labels[known]), **settings)
    rest = torch.ones(len(labels)).index_fill(0, known, 0).bool()
    with torch.no_grad():
        logits = network(data.x, *graph)
    return right(logits[known], labels[known]), right(logits[rest], labels[rest])
