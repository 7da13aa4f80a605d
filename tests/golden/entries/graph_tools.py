"""What is done to graphs: GraphSAINT (arXiv 1907.04931), k-core embedding."""

from collections.abc import Mapping

import torch
from scipy.sparse import csr_array
from torch import Tensor

from convnn.data.geometric import import_geometric
from convnn.graphs import sample
from convnn.graphs.coarsen import Coarsening, GWCoarsen, graph_kernel, multilevel_labels
from convnn.graphs.coarsen.dense_kmeans import draw_probability, lloyd
from convnn.graphs.embed.cores import core_walk_counts, undirected_lists
from convnn.graphs.embed.propagation import propagate
from convnn.graphs.embed.skip_gram import SkipGram
from convnn.nn import graphs
from convnn.ops.cores import core_numbers
from convnn.ops.walks import RandomWalks, Recorded
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
    data = import_geometric("data").Data(edge_index=tensors["edge_index"].flip(0), train_mask=train, num_nodes=nodes)
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


def _network(case: Case) -> torch.nn.Module:
    config, x = case.config, case.tensors["x"]
    heads = next((int(config[name]) for name in ("mulhead", "attention", "heads") if name in config), 0)
    return graphs.GraphSAINT(
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


def _run_network(
    network: torch.nn.Module, x: Tensor, edges: Tensor, weights: Tensor, labels: Tensor, norm: Tensor
) -> tuple:
    """Return loss and outputs; rows of the published edges are targets."""
    outputs = network(x, edges.flip(0), weights)
    return sample.normalized_loss(outputs, labels, norm), outputs


COUNTS = {
    "linear": {"mode": "linear"},
    "linear_offset3_min2": {"mode": "linear", "offset": 3, "n_min": 2},
    "power1": {"mode": "power"},
    "power2": {"mode": "power", "power": 2},
    "sigmoid": {"mode": "sigmoid"},
}
"""The names of counts of walks in the files."""


def _propagation(case: Case) -> Mapping[str, Tensor]:
    tensors, nodes = case.tensors, int(case.tensors["num_nodes"])
    lists, weights = undirected_lists(tensors["edge_index"], nodes, tensors["edge_weight"])
    cores, known = core_numbers(lists), torch.zeros(nodes, dtype=torch.bool)
    known[tensors["embedded_nodes"]] = True
    arrays = (one.numpy() for one in (weights, lists.indices, lists.starts))
    adjacency, inside = csr_array(tuple(arrays), shape=(nodes, nodes)), tensors["core_embedding"]
    output, step = propagate(adjacency, known, inside, max_iter=case.config["max_itr"], start=tensors["init"])
    core = case.config["core_index"]
    assert torch.equal(known, cores >= (int(cores.max()) if core is None else core))
    harmonic = propagate(adjacency, known, inside)[0]
    return {"core_number": cores, "output": output, "step": step, "harmonic": harmonic}


def _core_walk(case: Case) -> Mapping[str, Tensor]:
    tensors, nodes = case.tensors, int(case.tensors["num_nodes"])
    lists, weights = undirected_lists(tensors["edge_index"], nodes, tensors["edge_weight"])
    cores, n = core_numbers(lists), case.config["n_walks"]
    found = {"core_number": cores}
    for name in (name for name in tensors if name.startswith("n_walks.")):
        kind = name.removeprefix("n_walks.")
        found[name] = core_walk_counts(cores, n, **COUNTS[kind], published=True)
        each = torch.arange(1, int(cores.max()) + 1)
        found[f"n_walks_by_core.{kind}"] = core_walk_counts(each, n, **COUNTS[kind])
    length = case.config["walk_length"] - 1
    found["walks"] = RandomWalks(lists, weights)(torch.arange(nodes), length, tensors["uniform"])
    return found


def _augmented(case: Case) -> Mapping[str, Tensor]:
    """Return pools and everything before them; the edges of the file are there both ways where it is undirected."""
    tensors, config = case.tensors, case.config
    sampler = sample.AugmentedSampler(
        tensors["edge_index"],
        tensors["edge_weight"],
        tensors["vertex_weight"].shape[0],
        walk_length=config["random_walk_length"],
        augmentation=config["augmentation_step"],
        num_parts=config["num_partition"],
        pool_size=config["pool_size"],
        shuffle_base=config["shuffle_base"],
        p=config["p"],
        q=config["q"],
        batch=config["random_walk_batch_size"],
        method="alias",
        seed=Recorded(tensors["uniform"]),
    )
    samples, count = sampler.sample(), tensors["walks"].shape[0] // sampler.batch
    sampler.stream.position = 0
    walks = [sampler.random_walks() for _ in range(count)]
    assert sampler.edges is not None
    return {
        "vertex_weight": sampler.weights,
        "partition": torch.stack([sampler.partition.part, sampler.partition.place], 1),
        "edge_prob": sampler.edges.shares,
        "edge_alias": sampler.edges.aliases,
        "walks": torch.cat(walks),
        "samples": samples,
    }


def _skip_gram(case: Case) -> Mapping[str, Tensor]:
    tensors, config = case.tensors, case.config
    model = SkipGram(
        *tensors["vertex"].shape,
        negative_weight=config["negative_weight"],
        weight_decay=config["weight_decay"],
        dtype=torch.float64,
    )
    with torch.no_grad():
        model.vertex.weight.copy_(tensors["vertex"])
        model.context.weight.copy_(tensors["context"])
    heads, tails = tensors["positive"].T
    logits = model.logits(heads, tails)
    rates = torch.full(heads.shape, config["lr"], dtype=torch.float64)
    losses = model.step(tensors["positive"], tensors["negative"], rates)
    return {
        "logits": logits,
        "loss": losses,
        "vertex_out": model.vertex.weight,
        "context_out": model.context.weight,
    }


def _coarsening(case: Case) -> Mapping[str, Tensor]:
    """Return labels and matrices from the stored starts; a drawn start says of each draw how probable it was."""
    tensors, config = case.tensors, case.config
    adjacency, kernel = tensors["adj"], graph_kernel(tensors["adj"], config["kernel"])
    weights = tensors["weight"] if "weight" in tensors else torch.ones(adjacency.shape[0], dtype=torch.float64)
    weights = weights / weights.sum()
    values, vectors = torch.linalg.eigh(kernel)
    features = vectors * values.clamp_min(0).sqrt()
    labels = [lloyd(features, weights, start, config["max_iter"]) for start in tensors["h_init"]]
    each = [Coarsening(one, weights) for one in labels]
    objectives = torch.tensor([one.objective(kernel) for one in each], dtype=torch.float64)
    best = each[int(objectives.argmin())]
    roots = weights.sqrt()
    weighted = roots[:, None] * kernel * roots
    found = {
        "kernel": kernel,
        "labels_per_start": torch.stack(labels),
        "objective_per_start": objectives,
        "assignment": best.labels,
        "Cp": best.membership,
        "mass": best.mass,
        "C_bar": best.mean,
        "C_w": best.projection,
        "adj_coarse": best.adjacency(adjacency),
        "similarity_coarse": best.similarity(kernel),
        "spectral_coarse": best.spectral(kernel),
        "objective": objectives.min(),
        "plan_cost": torch.tensor(best.plan_cost(kernel), dtype=torch.float64),
        "bound": torch.tensor(best.spectral_bound(kernel), dtype=torch.float64),
        "eig": torch.linalg.eigvalsh(weighted).flip(0),
        "eig_coarse": torch.linalg.eigvalsh(best.spectral(weighted)).flip(0),
    }
    if "mgc_assignment" in tensors:
        merged = multilevel_labels(adjacency, config["n"])
        found |= {"mgc_assignment": merged, "mgc_adj": Coarsening(merged, weights).adjacency(adjacency)}
    if "draw_probability" in tensors:
        centers = tensors["centers_per_start"].tolist()
        drawn = [[draw_probability(kernel, row[:i], 2) for i in range(1, len(row))] for row in centers]
        found["draw_probability"] = torch.stack([torch.stack(row) for row in drawn])
    weight = "degree" if torch.equal(weights, adjacency.sum(1) / adjacency.sum()) else weights
    init = "multilevel" if config["init"] == "mgc" else config["init"]
    ours = GWCoarsen(
        config["n"],
        kernel=config["kernel"],
        weight=weight,
        init=init,
        n_init=config["n_init"],
        power=2,
        max_iter=config["max_iter"],
        random_state=config["seed"],
    )
    assert torch.equal(ours.fit_predict(adjacency), best.labels)
    return found


ENTRIES = {
    "weighted kernel k-means coarsening": Entry(
        lambda case: lambda: _coarsening(case),
        (),
        aside=("assignment_published", "inertia_per_start", "success_per_start", "lift", "gw2_pot"),
    ),
    "GraphVite SGNS step (LINE/DeepWalk/node2vec kernel, SGD)": Entry(lambda case: lambda: _skip_gram(case), ()),
    "GraphVite augmented samples": Entry(lambda case: lambda: _augmented(case), ()),
    "k-core propagation": Entry(lambda case: lambda: _propagation(case), ()),
    "CoreWalk counts and walks": Entry(lambda case: lambda: _core_walk(case), (), aside=("walks_published",)),
    "GraphSAINT network": Entry(
        _network,
        ("x", "edge_index", "edge_weight", "labels", "norm_loss"),
        ("loss", "output"),
        names=_network_names,
        call=_run_network,
    ),
    "GraphSAINT sampler + normalisation": Entry(lambda case: lambda: _saint(case), (), aside=("node_val", "node_test")),
}
