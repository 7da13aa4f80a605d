"""Small directed graphs for tests: with self-loops, repeated edges, and a node that no edge enters."""

import torch
from torch import Tensor


def directed(nodes: int = 7, edges: int = 24, *, seed: int = 0) -> Tensor:
    """Return edge_index (2, edges); no edge enters the last node, and the first edges are a self-loop and repeated."""
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


def features(rows: int, channels: int, *, seed: int = 1) -> Tensor:
    """Return normal numbers (rows, channels) in float64."""
    return torch.randn(rows, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
