"""Small graphs for the layers that read them, and what each of these layers must do."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def rows(nodes: int, channels: int, seed: int = 0) -> Tensor:
    """Return features in float64."""
    return torch.randn(nodes, channels, dtype=torch.double, generator=torch.Generator().manual_seed(seed))


def directed(nodes: int, share: float, seed: int = 0) -> Tensor:
    """Return the edges (2, E) of a random directed graph without loops, a share of all that there can be."""
    drawn = torch.rand(nodes, nodes, generator=torch.Generator().manual_seed(seed)) < share
    return drawn.fill_diagonal_(False).nonzero().T.contiguous()


def undirected(nodes: int, share: float, seed: int = 0) -> Tensor:
    """Return the edges (2, E), both ways, of a random graph without loops."""
    drawn = (torch.rand(nodes, nodes, generator=torch.Generator().manual_seed(seed)) < share).triu(1)
    return (drawn | drawn.T).nonzero().T.contiguous()


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
