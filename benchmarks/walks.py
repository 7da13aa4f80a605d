"""Walks, subgraphs, cores and embeddings on ever larger graphs, beside PyTorch Geometric with its extensions."""

import math
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import Action, milliseconds, peak_megabytes
from convnn.data.geometric import import_geometric
from convnn.graphs.embed import GraphVite, core_numbers
from convnn.graphs.sample import GraphSAINTSampler, WalkDraws
from convnn.ops.ragged import Lists
from convnn.ops.walks import RandomWalks, Stream
from convnn.packages import is_installed

STEPS = 20
EDGES = 10  # of each node, counted both ways
DIM, P, Q = 64, 0.5, 4.0


def measure_walks(sizes: tuple[int, ...], repeats: int, with_memory: bool) -> dict[str, Any]:
    """Time and memory for each number of nodes, and how they grow; walks are those of the definition, bit for bit."""
    rows = [_measure(size, repeats, with_memory) for size in sizes]
    return {"rows": rows, "exponents": {name: _exponent(rows, name) for name in rows[0]["ms"]}}


def random_graph(nodes: int) -> Tensor:
    """Return edges (2, 10 N) between random nodes, both ways."""
    ends = Stream(0).integers(2, nodes * EDGES // 2) % nodes
    return torch.cat([ends, ends.flip(0)], 1)


def contestants(nodes: int) -> dict[str, Action]:
    """Return what is timed, on one graph."""
    edges, starts = random_graph(nodes), torch.arange(nodes)
    lists, _ = Lists.of_edges(edges, nodes)
    data = import_geometric("data").Data(edge_index=edges, num_nodes=nodes)
    sampler = GraphSAINTSampler(data, WalkDraws(3000, 2), coverage=0.01)
    uniform, biased = RandomWalks(lists), RandomWalks(lists, p=P, q=Q)
    found: dict[str, Action] = {
        "walks": lambda: uniform(starts, STEPS, 0),
        "node2vec walks": lambda: biased(starts, STEPS, 0),
        "20 GraphSAINT batches": lambda: [sampler.batch(sampler.subgraph()) for _ in range(20)],
        "core numbers": lambda: core_numbers(lists),
        "GraphVite, a pair for each edge": lambda: GraphVite(DIM, epochs=1).fit(edges, num_nodes=nodes),
    }
    return found | _geometric(lists, starts)


def _geometric(lists: Lists, starts: Tensor) -> dict[str, Action]:
    """Return the walks of PyTorch Geometric's Node2Vec, which are those of its extensions."""
    if is_installed("torch_cluster"):
        from torch_cluster import random_walk  # noqa: F401  # registers the operator

        walk: Callable[..., Any] = torch.ops.torch_cluster.random_walk
        ways = {"walks": (1.0, 1.0), "node2vec walks": (P, Q)}
    elif is_installed("pyg_lib"):
        import pyg_lib  # noqa: F401  # registers the operator

        walk, ways = torch.ops.pyg.random_walk, {"walks": (1.0, 1.0)}  # it has no other
    else:
        return {}
    return {
        f"{name} of PyG": partial(walk, lists.starts, lists.indices, starts, STEPS, *way) for name, way in ways.items()
    }


def _measure(nodes: int, repeats: int, with_memory: bool) -> dict[str, Any]:
    made = contestants(nodes)
    times = milliseconds(made, repeats)
    lists, _ = Lists.of_edges(random_graph(nodes), nodes)
    some = torch.arange(0, nodes, max(nodes // 200, 1))
    pairs = [[RandomWalks(lists, p=p, q=q, backend=b)(some, 5, 1) for b in ("auto", "reference")] for p, q in _LAWS]
    result: dict[str, Any] = {
        "nodes": nodes,
        "ms": {name: statistics.median(each) for name, each in times.items()},
        "agrees": all(ours.equal(plain) for ours, plain in pairs),
    }
    if with_memory:
        result["MB"] = {name: peak_megabytes(_prepare, nodes, name) for name in made}
    print(result, flush=True)
    return result


_LAWS = ((1.0, 1.0), (P, Q))


def _prepare(nodes: int, name: str) -> tuple[Action, Action]:
    return contestants(1000)[name], contestants(nodes)[name]


def _exponent(rows: list[dict[str, Any]], name: str) -> float:
    points = [(math.log(one["nodes"]), math.log(one["ms"][name])) for one in rows]
    return statistics.linear_regression(*zip(*points, strict=True))[0] if len(points) > 1 else math.nan
