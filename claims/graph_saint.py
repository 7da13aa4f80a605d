"""GraphSAINT: what is summed over subgraphs is weighted so that their choice brings no bias."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from convnn.data.geometric import import_geometric
from convnn.graphs.sample import EdgeDraws, FrontierDraws, GraphSAINTSampler, NodeDraws, WalkDraws

SYSTEM = "GraphSAINT"
CLAIM = "Weights of edges and losses, counted beforehand, remove the bias that drawing subgraphs has."
EXPERIMENT = (
    "Barabasi-Albert graphs of 400 nodes, four edges each; eight random features plus the logarithm of the degree;"
    " weights counted at coverage 500, then 1500 new subgraphs. The mean of a node's neighbours, over the subgraphs"
    " that have it, against that of the whole graph: root of the relative squared error; and the mean loss of nodes, a"
    " fixed logistic one, against that of the whole graph, in percent of it. Without weights: means over the"
    " neighbours and nodes of the subgraph."
)
SEEDS = (0, 1, 2)
DRAWS = {
    "nodes": NodeDraws(60),
    "edges": EdgeDraws(40),
    "walks": WalkDraws(25, 2),
    "frontier": FrontierDraws(20, 60),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    coverage, subgraphs = (5, 50) if quick else (500, 1500)
    rows = [["draws", "neighbours, weighted", "unweighted", "loss, %, weighted", "unweighted"]]
    found = {}
    for name, draws in DRAWS.items():
        each = torch.tensor([errors(draws, seed, coverage, subgraphs) for seed in seeds])
        found[name] = each.mean(0).tolist()
        rows.append([name, *(spread(column, ".3f") for column in each.T[:2].tolist())])
        rows[-1] += [spread(column, ".1f") for column in each.T[2:].tolist()]
    return Outcome(
        rows,
        {
            "with every sampler weights halve the error of the neighbours' mean": all(
                2 * one[0] < one[1] for one in found.values()
            ),
            "the weighted loss is within 1 %": all(one[2] < 1 for one in found.values()),
            "the unweighted loss is off by more than 3 %": all(one[3] > 3 for one in found.values()),
        },
    )


def errors(draws, seed: int, coverage: float, subgraphs: int) -> list[float]:
    torch.manual_seed(seed)
    np.random.seed(seed)  # which the generator of graphs draws from
    data = import_geometric("data").Data(edge_index=import_geometric("utils").barabasi_albert_graph(400, 4))
    degrees = torch.bincount(data.edge_index[1]).double()
    data.x = torch.randn(400, 8, dtype=torch.float64) + degrees.log()[:, None]
    losses = F.softplus(-data.x @ torch.randn(8, dtype=torch.float64) / 4)
    sampler = GraphSAINTSampler(data, draws, coverage=coverage, seed=seed)
    sums, counts, mean_losses = torch.zeros(2, 400, 8, dtype=torch.float64), torch.zeros(400), torch.zeros(2)
    for _ in range(subgraphs):
        batch = sampler.batch(sampler.subgraph())
        nodes = batch.node_index
        inside = torch.bincount(batch.edge_index[1], minlength=len(nodes)).clamp_min(1)
        for way, weights in enumerate((batch.edge_weight, 1 / inside[batch.edge_index[1]])):
            sums[way].index_add_(0, nodes, neighbours(batch.x, batch.edge_index, weights))
        counts[nodes] += 1
        mean_losses += torch.tensor([(batch.node_norm * losses[nodes]).sum(), losses[nodes].mean()]) / subgraphs
    exact = neighbours(data.x, data.edge_index, 1 / degrees[data.edge_index[1]])
    seen = counts > 0
    means = sums[:, seen] / counts[seen, None]
    off = (means - exact[seen]).square().sum((1, 2)).div(exact[seen].square().sum()).sqrt()
    of_loss = 100 * (mean_losses / losses.mean() - 1).abs()
    return [*off.tolist(), *of_loss.tolist()]


def neighbours(x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    return torch.zeros_like(x).index_add(0, edges[1], weights[:, None].to(x.dtype) * x[edges[0]])
