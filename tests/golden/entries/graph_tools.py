"""What is done to graphs: GraphSAINT (arXiv 1907.04931)."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch_geometric.data import Data

from convnn.graphs import sample
from convnn.nn.graphs import GraphSAINT
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
    clip = next((config[name] for name in ("clip", "max_deg", "deg_clip") if name in config), None)
    return sample.FrontierDraws(config["size_frontier"], config["size_subgraph"], clip)


def _saint(case: Case) -> Mapping[str, Tensor]:
    """Return everything that follows from the recorded integers; rows of the published edges are targets."""
    tensors, nodes = case.tensors, int(case.tensors["num_nodes"])
    train = torch.zeros(nodes, dtype=torch.bool).index_fill(0, tensors["node_train"], True)
    data = Data(edge_index=tensors["edge_index"].flip(0), train_mask=train, num_nodes=nodes)
    data.x = torch.empty(nodes, 0, dtype=torch.float64)
    stream = Recorded(tensors["rand"], case.config["rand_max"])
    draws = _draws(case)
    coverage, count = case.config["sample_coverage"], tensors["subgraphs"].shape[0]
    sampler = sample.GraphSAINTSampler(data, draws, coverage=coverage, seed=stream, at_once=count, published=True)
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


def _network(case: Case) -> GraphSAINT:
    config, x = case.config, case.tensors["x"]
    heads = next((int(config[name]) for name in ("mulhead", "attention", "heads") if name in config), 0)
    return GraphSAINT(
        x.shape[1],
        config["dim"] // max(heads, 1) * max(heads, 1),
        case.tensors["output"].shape[1],
        orders=config["order"][:-1],
        combine={"concat": "concat", "mean": "sum"}[config["aggr"]],
        norm={"norm": "layer", "norm-nn": "batch", "bias": "none"}[config["bias"]],
        heads=heads if heads > 1 or any(".mods." in name for name in case.tensors) else 0,
        dropout=config["dropout"],
    )


def _network_names(case: Case) -> dict[str, str]:
    """Name biases, offsets and scales, which the published layers keep in one list; with attention its vectors too."""
    names = {"conv_layers": "layers", "f_lin": "linears", "mods": "linears", "f_norm": "norm"}
    places = [(f"conv_layers.{i}", f"layers.{i}") for i in range(len(case.config["order"]) - 1)]
    for theirs, ours in [*places, ("classifier", "classifier")]:
        has_attention = f"param.{theirs}.mods.0.bias" in case.tensors
        kinds = ("norms.{}.bias", "norms.{}.weight", "attention.{}")
        kinds = kinds if has_attention else ("linears.{}.bias", *kinds[:2])
        count = len([n for n in case.tensors if n.startswith((f"param.{theirs}.f_lin", f"param.{theirs}.mods"))])
        count = count // 2 if has_attention else count
        for j, kind in enumerate(kinds):
            names |= {f"{theirs}.params.{j * count + o}": f"{ours}.{kind.format(o)}" for o in range(count)}
    return names


def _run_network(network: GraphSAINT, x: Tensor, edges: Tensor, weights: Tensor, labels: Tensor, norm: Tensor) -> tuple:
    """Return loss and outputs; rows of the published edges are targets."""
    outputs = network(x, edges.flip(0), weights)
    return sample.normalized_loss(outputs, labels, norm), outputs


ENTRIES = {
    "GraphSAINT network": Entry(
        _network,
        ("x", "edge_index", "edge_weight", "labels", "norm_loss"),
        ("loss", "output"),
        names=_network_names,
        call=_run_network,
    ),
    "GraphSAINT sampler + normalisation": Entry(
        lambda case: lambda: _saint(case), (), aside=("node_val", "node_test")
    ),
}
