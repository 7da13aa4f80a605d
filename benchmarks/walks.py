"""Walks, features, samples, cores, embeddings and coarsening on ever larger graphs, beside PyTorch Geometric.

Its samplers, and the walks of Node2Vec, need compiled extensions, which are measured where they are installed. Of what
it does without them, subgraphs (`Data.subgraph`, the step of `RandomNodeLoader`), neighbourhoods (`k_hop_subgraph`) and
the training of Node2Vec stand beside ours, on the same nodes, pairs and wrong pairs; walks, beside steps in PyTorch.
"""

import statistics
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from benchmarks.growth import exponent
from convnn.bench.measure import Action, milliseconds, peak_megabytes, ratio
from convnn.data.geometric import import_geometric
from convnn.graphs.coarsen import GWCoarsen
from convnn.graphs.embed import GraphVite, SkipGram, core_numbers
from convnn.graphs.random_features import GraphRandomFeatures
from convnn.graphs.sample import GraphSAINTSampler, WalkDraws
from convnn.objectives.cached.blocks import block
from convnn.ops.ragged import Lists
from convnn.ops.walks import RandomWalks, Stream
from convnn.packages import is_installed

STEPS = 20
EDGES = 10  # of each node, counted both ways
DIM, P, Q = 64, 0.5, 4.0
HALTING = {"walks": 4, "p_halt": 0.3}  # of random features
BATCH = 100_000  # pairs between two steps of Adam
BATCHES = 5  # subgraphs and neighbourhoods
OTHERS = ("PyG", "PyTorch")


def measure_walks(sizes: tuple[int, ...], repeats: int, with_memory: bool) -> dict[str, Any]:
    """Time for each number of nodes, how it grows, and memory of the largest; results agree with PyG's."""
    rows = [_measure(size, repeats) for size in sizes]
    if with_memory:
        names = [name for name in rows[-1]["ms"] if not name.endswith(OTHERS)]
        rows[-1]["MB"] = {name: peak_megabytes(_prepare, sizes[-1], name) for name in names}
        print(rows[-1]["MB"], flush=True)
    sizes = [one["nodes"] for one in rows]
    grown = {name: exponent(sizes, [one["ms"][name] for one in rows]) for name in rows[0]["ms"]}
    return {"rows": rows, "exponents": grown}


def random_graph(nodes: int) -> Tensor:
    """Return edges (2, 10 N) between random nodes, both ways."""
    ends = Stream(0).integers(2, nodes * EDGES // 2) % nodes
    return torch.cat([ends, ends.flip(0)], 1)


class Graph:
    """One graph, and what is done to it; what a single action needs is made when it is first called."""

    def __init__(self, nodes: int) -> None:
        self.nodes = nodes
        self.edges = random_graph(nodes)
        self.lists, _ = Lists.of_edges(self.edges, nodes)
        self.starts = torch.arange(nodes)
        self.data = import_geometric("data").Data(edge_index=self.edges, num_nodes=nodes)

    def actions(self) -> dict[str, Action]:
        return self._walks() | self._samples() | self._embeddings() | self._coarsening()

    def _walks(self) -> dict[str, Action]:
        uniform, biased = RandomWalks(self.lists), RandomWalks(self.lists, p=P, q=Q)
        found: dict[str, Action] = {
            "walks": lambda: uniform(self.starts, STEPS, 0),
            "walks in PyTorch": lambda: plain_walks(self.lists, self.starts, STEPS),
            "node2vec walks": lambda: biased(self.starts, STEPS, 0),
            "random features": lambda: GraphRandomFeatures(**HALTING).fit_transform(self.edges, None, self.nodes),
        }
        if is_installed("pyg_lib"):
            import pyg_lib  # noqa: F401  # registers the operator

            walk = torch.ops.pyg.random_walk
            found["walks of PyG"] = partial(walk, self.lists.starts, self.lists.indices, self.starts, STEPS, 1.0, 1.0)
        return found

    def _samples(self) -> dict[str, Action]:
        sampler = GraphSAINTSampler(self.data, WalkDraws(3000, 2), coverage=0.01)
        drawn = [sampler.subgraph().nodes for _ in range(BATCHES)]
        self.lists.transposed  # noqa: B018  # found once a graph
        return {
            "5 GraphSAINT batches": lambda: [sampler.batch(sampler.subgraph()) for _ in drawn],
            "5 subgraphs": lambda: [sampler.batch(sampler.graph.subgraph(nodes)) for nodes in drawn],
            "5 subgraphs of PyG": lambda: [self.data.subgraph(nodes) for nodes in drawn],
            "5 neighbourhoods": lambda: [block(nodes, self.lists, None) for nodes in drawn],
            "5 neighbourhoods of PyG": lambda: [self.neighbourhood(nodes) for nodes in drawn],
        }

    def neighbourhood(self, nodes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nodes and edges from which PyG computes rows of one layer."""
        hop = import_geometric("utils").k_hop_subgraph
        return hop(nodes, 1, self.edges, relabel_nodes=True, num_nodes=self.nodes, directed=True)[:2]

    def _embeddings(self) -> dict[str, Action]:
        stream = Stream(1)
        heads, tails, wrong = stream.integers(3, self.nodes) % self.nodes
        pairs, false = torch.stack([heads, tails], 1), torch.stack([heads, wrong], 1)
        rates = torch.full((self.nodes,), 0.025, dtype=torch.float64)
        model = cache(lambda: SkipGram(self.nodes, DIM))
        theirs = cache(lambda: _node2vec(self.nodes))
        return {
            "core numbers": lambda: core_numbers(self.lists),
            "a pair for each node": lambda: model().step(pairs, wrong.unsqueeze(1), rates),
            "a pair for each node of PyG": lambda: theirs()(pairs, false),
            "GraphVite, a pair for each edge": lambda: GraphVite(DIM, epochs=1).fit(self.edges, num_nodes=self.nodes),
        }

    def _coarsening(self) -> dict[str, Action]:
        size, n = (self.nodes, self.nodes), self.nodes // 5
        lists, ones = self.lists, torch.ones(self.lists.indices.shape[0], dtype=torch.float64)
        adjacency = cache(lambda: csr_array((ones.numpy(), lists.indices.numpy(), lists.starts.numpy()), shape=size))
        first = self.starts % n
        return {"2 rounds of coarsening": lambda: GWCoarsen(n, init=first, max_iter=2).fit(adjacency())}


def plain_walks(lists: Lists, nodes: Tensor, length: int) -> Tensor:
    """Return walks by a gather for each step, as one writes them without an extension."""
    walks, degrees, last = [nodes], lists.lengths, lists.indices.shape[0] - 1
    for _ in range(length):
        at = walks[-1]
        place = (torch.rand(at.shape[0], dtype=torch.float64) * degrees[at]).long()
        near = lists.indices[(lists.starts[at] + place).clamp_max(last)]
        walks.append(torch.where(degrees[at] > 0, near, at))
    return torch.stack(walks, 1)


def _node2vec(nodes: int) -> Any:
    """Return a pass of PyG's Node2Vec over pairs and wrong pairs; it cannot be built without the walks of pyg-lib."""
    kind = import_geometric("nn").Node2Vec
    embedding = nn.Embedding(nodes, DIM, sparse=True)
    model = SimpleNamespace(embedding=embedding, embedding_dim=DIM, EPS=1e-15)
    optimizer = torch.optim.SparseAdam(embedding.parameters(), 0.01)

    def train(pairs: Tensor, false: Tensor) -> None:
        for right, wrong in zip(pairs.split(BATCH), false.split(BATCH), strict=True):
            optimizer.zero_grad()
            kind.loss(model, right, wrong).backward()
            optimizer.step()

    return train


def _measure(nodes: int, repeats: int) -> dict[str, Any]:
    graph = Graph(nodes)
    made = graph.actions()
    times = milliseconds(made, repeats)
    counterparts = {name: next((o for o in made if o in _named(name)), None) for name in made}
    result: dict[str, Any] = {
        "nodes": nodes,
        "ms": {name: statistics.median(each) for name, each in times.items()},
        "times faster": {name: 1 / ratio(times, name, other) for name, other in counterparts.items() if other},
        "agrees": _walks_agree(graph) and _samples_agree(made),
    }
    print(result, flush=True)
    return result


def _named(name: str) -> tuple[str, str]:
    """Return what stands beside an action of ours, if it is measured."""
    return f"{name} of PyG", f"{name} in PyTorch"


def _walks_agree(graph: Graph) -> bool:
    """Walks are those of the definition, bit for bit."""
    some = torch.arange(0, graph.nodes, max(graph.nodes // 200, 1))
    laws = ((1.0, 1.0), (P, Q))
    pairs = [
        [RandomWalks(graph.lists, p=p, q=q, backend=b)(some, 5, 1) for b in ("auto", "reference")] for p, q in laws
    ]
    return all(ours.equal(plain) for ours, plain in pairs)


def _samples_agree(made: dict[str, Action]) -> bool:
    """Subgraphs and neighbourhoods have as many edges as PyG's."""
    subgraphs = zip(made["5 subgraphs"](), made["5 subgraphs of PyG"](), strict=True)
    hops = zip(made["5 neighbourhoods"](), made["5 neighbourhoods of PyG"](), strict=True)
    return all(a.edge_index.shape == b.edge_index.shape for a, b in subgraphs) and all(
        len(a.nodes) == len(b[0]) and a.edge_index.shape == b[1].shape for a, b in hops
    )


def _prepare(nodes: int, name: str) -> tuple[Action, Action]:
    return Graph(1000).actions()[name], Graph(nodes).actions()[name]
