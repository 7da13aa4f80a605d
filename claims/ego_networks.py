"""Ego networks: graphs that colour refinement cannot tell apart, by networks that were never trained."""

import importlib
import itertools
import statistics

import networkx as nx
import torch
from torch import Tensor

from claims._experiment import Outcome
from convnn.nn.graphs import SPEN, EgoNetworks

SYSTEM = "Ego networks: SPEN"
CLAIM = (
    "Equivariant maps within ego networks tell graphs apart that message passing cannot, and need less memory than"
    " maps of the whole graph."
)
EXPERIMENT = (
    "Pairs of graphs of the same degrees, which colour refinement takes for equal: the difference, averaged over seeds,"
    " of what random networks of three layers give for both, ego networks of one and two hops, against three layers of"
    " GIN; and that of a graph with its nodes renumbered. And the entries of all ego networks of a random 3-regular"
    " graph of 200 nodes, against those of one matrix."
)
SEEDS = (0, 1, 2)
PAIRS = {
    "two triangles, a hexagon": (nx.disjoint_union(nx.cycle_graph(3), nx.cycle_graph(3)), nx.cycle_graph(6)),
    "decalin, bicyclopentyl": (
        nx.compose(nx.cycle_graph(10), nx.Graph([(0, 5)])),
        nx.compose(nx.disjoint_union(nx.cycle_graph(5), nx.cycle_graph(5)), nx.Graph([(0, 5)])),
    ),
    "4 x 4 rook's graph, Shrikhande graph": (
        nx.line_graph(nx.complete_bipartite_graph(4, 4)),
        nx.Graph((n, (n // 4 + a) % 4 * 4 + (n + b) % 4) for n in range(16) for a, b in ((0, 1), (1, 0), (1, 1))),
    ),
}
NETWORKS = {
    "one hop": lambda: SPEN(1, 8, hidden=8, num_layers=3),
    "two hops": lambda: SPEN(1, 8, hidden=8, num_layers=3, hops=2),
    "GIN": lambda: importlib.import_module("torch_geometric.nn").GIN(1, 8, num_layers=3),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    found = {
        (name, kind): [apart(kind, *pair, seed) for seed in seeds] for name, pair in PAIRS.items() for kind in NETWORKS
    }
    moved = max(
        apart(kind, one, nx.relabel_nodes(one, dict(zip(one, reversed(list(one)), strict=True))), seed)
        for (one, _), kind, seed in itertools.product(PAIRS.values(), NETWORKS, seeds)
    )
    rows = [[name, *(f"{statistics.mean(found[name, kind]):.0e}" for kind in NETWORKS)] for name in PAIRS]
    regular = nx.random_regular_graph(3, 200, seed=0)
    regular.add_edges_from((node, node) for node in range(200))
    egos = EgoNetworks.of_graph(tensors(regular)[1], 200)
    entries = sum(place.numel() for place in egos.places.values())
    triangles, decalin, _ = PAIRS
    return Outcome(
        [["graphs", *NETWORKS], *rows],
        {
            "one hop tells triangles from a hexagon, by 1e-3": min(found[triangles, "one hop"]) > 1e-3,
            "two hops tell decalin from bicyclopentyl, by 1e-3": min(found[decalin, "two hops"]) > 1e-3,
            "GIN tells none apart, to 1e-10": max(max(found[name, "GIN"]) for name in PAIRS) < 1e-10,
            "renumbered nodes change nothing, to 1e-10": moved < 1e-10,
            f"all ego networks have {entries:,} entries, less than a tenth of {200**2:,}": 10 * entries < 200**2,
        },
    )


def apart(kind: str, one: nx.Graph, other: nx.Graph, seed: int) -> float:
    torch.manual_seed(seed)
    network = NETWORKS[kind]().double().eval()
    outs = [network(*graph).sum(0) for graph in map(tensors, (one, other))]
    return (outs[0] - outs[1]).abs().max().item()


def tensors(graph: nx.Graph) -> tuple[Tensor, Tensor]:
    numbered = nx.convert_node_labels_to_integers(graph)
    edges = torch.tensor(list(numbered.to_directed().edges)).T
    return torch.ones(len(graph), 1, dtype=torch.double), edges
