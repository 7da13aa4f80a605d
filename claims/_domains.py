"""Graphs to classify of two domains: those with labels to learn from, and others that differ."""

import networkx
import torch
from torch import Tensor

from claims._named_graphs import published
from convnn.nn.graphs.multisets.random_walk_kernel import EgoWalks, ego_walks

Batch = tuple[tuple[Tensor, Tensor, Tensor, EgoWalks], Tensor]
"""Features, edges, the graph of each node, and what `CoCo` needs of the edges; and the labels of the graphs."""
Domains = tuple[list[Batch], list[Batch]]
"""Batches of the source and of the target."""


def random_graphs(seed: int) -> Domains:
    """Draw graphs of three kinds: 90 of 10 to 14 nodes, and 90 of 18 to 27 nodes and 2 % more edges."""
    sources = [_drawn((10, 14), 0.0, 10 * seed + part) for part in (0, 1)]
    return sources, [_drawn((18, 27), 0.02, 10 * seed + 5 + part) for part in (0, 1)]


def density_halves(name: str, seed: int) -> Domains:
    """Draw 90 of a set's half with the sparsest graphs and 90 of that with the densest."""
    graphs = published(name).graphs
    pairs = torch.tensor([max(1, graph.num_nodes * (graph.num_nodes - 1)) for graph in graphs])
    order = (torch.tensor([graph.num_edges for graph in graphs]) / pairs).argsort(stable=True)
    generator = torch.Generator().manual_seed(seed)

    def batches(half: Tensor) -> list[Batch]:
        chosen = half[torch.randperm(len(half), generator=generator)[:90]]
        return [_joined([graphs[i] for i in part.tolist()]) for part in chosen.tensor_split(2)]

    sparse, dense = order.tensor_split(2)
    return batches(sparse), batches(dense)


def _joined(graphs: list) -> Batch:
    sizes = torch.tensor([graph.num_nodes for graph in graphs])
    starts = (sizes.cumsum(0) - sizes).tolist()
    edges = torch.cat([graph.edge_index + start for graph, start in zip(graphs, starts, strict=True)], 1)
    return _batch(torch.cat([graph.x for graph in graphs]), edges, sizes, torch.cat([graph.y for graph in graphs]))


def _batch(x: Tensor, edges: Tensor, sizes: Tensor, labels: Tensor) -> Batch:
    of_node = torch.arange(len(sizes)).repeat_interleave(sizes)
    return (x, edges, of_node, ego_walks(edges, len(x), 1, 3, x.dtype)), labels


def _drawn(sizes: tuple[int, int], noise: float, seed: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(45) % 3
    nodes = torch.randint(sizes[0], sizes[1] + 1, labels.shape, generator=generator).tolist()
    drawn = [_graph_of(*one, noise, 1000 * seed + i) for i, one in enumerate(zip(labels.tolist(), nodes, strict=True))]
    graph = networkx.disjoint_union_all(drawn)
    degree = torch.tensor([d for _, d in sorted(graph.degree)]).float()
    x = torch.stack([torch.ones_like(degree), degree / 4, degree.square() / 32, (degree == 1).float()], 1)
    edges = torch.tensor(list(graph.to_directed().edges)).T
    return _batch(x, edges, torch.tensor(nodes), labels)


def _graph_of(label: int, nodes: int, noise: float, seed: int) -> networkx.Graph:
    if label == 0:
        graph = networkx.gnm_random_graph(nodes, int(1.5 * nodes), seed=seed)
    elif label == 1:
        graph = networkx.barabasi_albert_graph(nodes, 2, seed=seed)
    else:
        graph = networkx.watts_strogatz_graph(nodes, 4, 0.1, seed=seed)
        graph.remove_edges_from(list(graph.edges)[::5])
    return networkx.compose(graph, networkx.gnp_random_graph(nodes, noise, seed=seed + 1))
