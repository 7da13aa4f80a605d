"""What is done to graphs: GraphSAINT (arXiv 1907.04931)."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch_geometric.data import Data

from convnn.graphs import sample
from convnn.ops.walks import Recorded
from golden.case import Case
from golden.entry import Entry


def _draws(case: Case) -> sample.draws.Draws:
    config, kind = case.config, case.config["sampler"]
    if kind == "rw":
        return sample.WalkDraws(config["size_root"], config["size_depth"])
    if kind == "edge":
        return sample.EdgeDraws(config["num_edges_subgraph"], published=True)
    if kind == "node":
        return sample.NodeDraws(config["size_subgraph"], published=True)
    return sample.FrontierDraws(config["size_frontier"], config["size_subgraph"], config.get("clip"))


def _saint(case: Case) -> Mapping[str, Tensor]:
    """Return everything that follows from the recorded integers; rows of the published edges are targets."""
    tensors, nodes = case.tensors, int(case.tensors["num_nodes"])
    train = torch.zeros(nodes, dtype=torch.bool).index_fill(0, tensors["node_train"], True)
    data = Data(edge_index=tensors["edge_index"].flip(0), train_mask=train, num_nodes=nodes)
    data.x = torch.empty(nodes, 0, dtype=torch.float64)
    stream = Recorded(tensors["rand"], case.config["rand_max"])
    draws = _draws(case)
    sampler = sample.GraphSAINTSampler(
        data, draws, coverage=case.config["sample_coverage"], seed=stream, at_once=4, published=True
    )
    drawn = [one.nodes for one in sampler._waiting]
    batch = next(iter(sampler))
    norms, adjacency = sampler.normalization, torch.zeros(batch.num_nodes, batch.num_nodes, dtype=torch.float64)
    adjacency[batch.edge_index[1], batch.edge_index[0]] = batch.edge_weight
    found = {
        "subgraphs": torch.nn.utils.rnn.pad_sequence(drawn, batch_first=True, padding_value=-1),
        "node_count": norms.node_count,
        "edge_count": norms.edge_count,
        "norm_aggr": norms.edges,
        "norm_loss": norms.nodes,
        "batch_nodes": batch.node_index,
        "batch_norm_loss": batch.node_norm,
        "batch_adj": adjacency,
    }
    if isinstance(draws, sample.EdgeDraws):
        found["edge_prob_upper"] = draws.probabilities(sampler.graph)[2]
    return found


ENTRIES = {
    "GraphSAINT sampler + normalisation": Entry(
        lambda case: lambda: _saint(case), (), aside=("node_val", "node_test")
    ),
}
