"""Small graphs for tests, features of their nodes, and what a layer that reads them must do."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def directed(nodes: int = 7, edges: int = 24, *, seed: int = 0) -> Tensor:
    """Return edge_index (2, edges) with a self-loop and a repeated edge; no edge enters the last node."""
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randint(nodes, (edges,), generator=generator)
    targets = torch.randint(max(nodes - 1, 1), (edges,), generator=generator)
    edge_index = torch.stack([sources, targets])
    edge_index[:, :3] = torch.tensor([[0, 1, 1], [0, 0, 0]])
    return edge_index[:, torch.randperm(edges, generator=generator)]


def undirected(nodes: int = 7, edges: int = 10, *, seed: int = 0) -> Tensor:
    """Return edge_index (2, 2 * edges') of a simple graph without self-loops, in which every edge goes both ways."""
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.combinations(torch.arange(nodes))
    some = pairs[torch.randperm(len(pairs), generator=generator)[:edges]].T
    return torch.cat([some, some.flip(0)], dim=1)


def random_directed(nodes: int, share: float, seed: int = 0) -> Tensor:
    """Return the edges (2, E) of a random directed graph without loops, a share of all that there can be."""
    drawn = torch.rand(nodes, nodes, generator=torch.Generator().manual_seed(seed)) < share
    return drawn.fill_diagonal_(False).nonzero().T.contiguous()


def random_undirected(nodes: int, share: float, seed: int = 0) -> Tensor:
    """Return the edges (2, E), both ways, of a random graph without loops."""
    drawn = (torch.rand(nodes, nodes, generator=torch.Generator().manual_seed(seed)) < share).triu(1)
    return (drawn | drawn.T).nonzero().T.contiguous()


def features(rows: int, channels: int, *, seed: int = 1) -> Tensor:
    """Return normal numbers (rows, channels) in float64."""
    return torch.randn(rows, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def matrix(edge_index: Tensor, nodes: int, edge_weight: Tensor | None = None) -> Tensor:
    """Return A with A[s, t] the weight of the edges from s to t, in float64."""
    found = torch.zeros(nodes, nodes, dtype=torch.double)
    for e, (source, target) in enumerate(edge_index.T.tolist()):
        found[source, target] += 1 if edge_weight is None else edge_weight[e].item()
    return found


def check_trains(layer: nn.Module, channels: int, *, nodes: int = 60, steps: int = 40) -> None:
    """Check that a layer (channels, 3) learns which of three groups the nodes of a graph of groups belong to."""
    torch.manual_seed(0)
    labels = torch.arange(nodes) % 3
    is_edge = (torch.rand(nodes, nodes) < torch.where(labels == labels.unsqueeze(1), 0.3, 0.02)).triu(1)
    edge_index = (is_edge | is_edge.T).nonzero().T.contiguous()
    x = F.one_hot(labels, channels).float() + torch.randn(nodes, channels)
    optimizer = torch.optim.Adam(layer.train().parameters(), 0.05)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(layer(x, edge_index), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())
