"""Contrastive losses: InfoNCE by kernels of the distance (arXiv 2303.15103), of neighbours (SCGC, arXiv
2204.12656), of communities (CSGCL, arXiv 2305.04658), and across domains (CoCo, arXiv 2306.04979).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor, nn

from convnn.graphs import communities
from convnn.nn import graphs
from convnn.objectives import contrastive
from convnn.ops.centroids import target_distribution
from convnn.ops.influence import influence_matrix
from golden.case import Case
from golden.entry import Entry, Refused

EPS = 1e-6
"""What the published code of InfoNCE adds to every sum."""
SETTINGS = {"gamma": "gamma", "distance_p": "p", "gamma_lambd": "weight", "temperature2": "second_temperature"}
MIXTURES = {"origin": None, "sum": "sum", "product": "concat"}


def _info_nce(case: Case) -> Callable[..., Tensor]:
    config = case.config
    temperature = config.get("temperature", 0.1)
    if order := config.get("acos_order"):
        score = contrastive.ArcCosine(order, temperature, EPS)
        return lambda z1, z2, bank: contrastive.info_nce(z1, z2, score, bank=bank, eps=EPS)
    kind = config.get("loss_type", "origin")
    if kind == "spectral":
        return lambda z1, z2, _: contrastive.spectral_contrast(z1, z2, eps=EPS)
    settings = {ours: config[theirs] for theirs, ours in SETTINGS.items() if theirs in config}
    loss = partial(contrastive.kernel_info_nce, temperature=temperature, mixture=MIXTURES[kind], eps=EPS, **settings)
    return lambda z1, z2, bank: loss(z1, z2, bank=bank)


LAYERS_OF_ENCODER = {"enc_1": "0", "enc_2": "2", "enc_3": "4", "z_layer": "6"}
LAYERS_OF_DECODER = {"dec_1": "0", "dec_2": "2", "dec_3": "4", "x_bar_layer": "6"}
NAMES_OF_SCGC = {f"ae.{theirs}": f"network.encoder.{ours}" for theirs, ours in LAYERS_OF_ENCODER.items()}
NAMES_OF_SCGC |= {f"ae.{theirs}": f"network.decoder.{ours}" for theirs, ours in LAYERS_OF_DECODER.items()}
NAMES_OF_SCGC |= {"cluster_layer": "loss.centers"}


def _scgc(case: Case) -> nn.Module:
    config, tensors = case.config, case.tensors
    decodes = case.layer == "SCGC"
    network = contrastive.Autoencoder(tensors["x"].shape[1], config["hidden"], config["n_z"], decodes=decodes)
    influence = _influence(case)
    settings = case.pick("tau", "alpha", "beta", freedom="v")
    loss = contrastive.SCGCLoss(config["n_clusters"], config["n_z"], influence, **settings)
    return nn.ModuleDict({"network": network, "loss": loss})


def _influence(case: Case) -> Tensor:
    edges, nodes, config = case.tensors["edges"], case.tensors["x"].shape[0], case.config
    return influence_matrix(
        edges, nodes, config["order"], cumulative=config["influence"], dtype=case.tensors["x"].dtype
    )


def _run_scgc(ours: nn.ModuleDict, x: Tensor) -> dict[str, Tensor]:
    z, decoded = ours["network"](x)
    loss = ours["loss"]
    terms = loss(z, x, decoded)
    q = loss.assign(z)
    found = {"loss": sum(terms.values()), "z": z, "q": q, "p": target_distribution(q), "x_bar": decoded}
    found |= {"loss_contrast": terms["contrast"] / loss.alpha, "loss_kl": terms["clusters"] / loss.beta}
    return found | {"loss_re": terms.get("reconstruction")}


def _graphs_of_scgc(_: nn.Module, case: Case) -> dict[str, Tensor]:
    edges, x = case.tensors["edges"], case.tensors["x"]
    return {"influence": _influence(case), "adj": influence_matrix(edges, x.shape[0], 1, dtype=x.dtype)}


SCGC = Entry(_scgc, inputs=("x",), names=NAMES_OF_SCGC, call=_run_scgc, also=_graphs_of_scgc)


@contextmanager
def _drawn(*draws: Tensor) -> Iterator[None]:
    """Let torch.rand return stored numbers, one tensor after the other."""
    left = iter(draws)
    with patch.object(torch, "rand", lambda *_, **__: next(left)):
        yield


def _views(case: Case) -> dict[str, Tensor]:
    """Return strengths and both views; negative votes are refused, from which the published code makes NaN."""
    config, tensors = case.config, case.tensors
    edges, x, community = (tensors[name] for name in ("edge_index", "x", "community"))
    of_communities, of_nodes = communities.community_strength(edges, community, tensors.get("edge_weight"))
    if bool((x.abs().mT @ of_nodes < 0).any()):
        raise Refused("a vote is negative: the published code drops every feature with the largest probability")
    score = communities.communal_edge_scores(edges, community, of_communities)
    with _drawn(tensors["u_edge"], tensors["u_feature"]):
        kept = communities.communal_edge_dropping(edges, score, config["ced_rate"], config["ced_threshold"])
        rate, cap = config["cav_rate"], config["cav_threshold"]
        voted = communities.communal_attribute_voting(x, of_nodes, rate, cap, dense=config["dense"])
    return {
        "community_strength": of_communities,
        "node_strength": of_nodes,
        "edge_score": score,
        "keep_prob": kept.probability,
        "kept_edge_index": kept.edge_index,
        "drop_prob": voted.probability,
        "x_out": voted.x,
    }


def _csgcl(case: Case) -> nn.Module:
    config, tensors = case.config, case.tensors
    settings = {"act": config["activation"], "skip": config.get("skip", False)}
    encoder = graphs.GCNEncoder(tensors["x1"].shape[1], config["hidden"], config["num_layers"], **settings)
    settings = case.pick("tau", start="t0", largest="gamma_max", rows="batch_size")
    loss = contrastive.CSGCLLoss(config["hidden"], tensors["node_strength"], config["proj"], **settings)
    ours = nn.ModuleDict({"encoder": encoder, "loss": loss})
    ours.epoch = config["epoch"]
    return ours


NAMES_OF_CSGCL = {
    "encoder.conv": "encoder.convs",
    "encoder.activation": "encoder.act",
    "encoder.fc_skip": "encoder.skip",
}
NAMES_OF_CSGCL |= {"fc1": "loss.head.0", "fc2": "loss.head.2"}


def _run_csgcl(ours: nn.ModuleDict, x1: Tensor, edges_1: Tensor, x2: Tensor, edges_2: Tensor) -> dict:
    views = ours["encoder"](x1, edges_1), ours["encoder"](x2, edges_2)
    (loss,) = ours["loss"](*views, ours.epoch).values()
    (before,) = ours["loss"](*views, 0).values()
    return {"loss": loss, "loss_infonce": before, "z1": views[0], "z2": views[1]}


def _kernel_layer(case: Case) -> nn.Module:
    filters, nodes, width = case.tensors["param.z"].shape
    settings = case.pick("hops", max_step="walk")
    return graphs.RandomWalkKernelConv(width, filters, nodes, **settings)


def _coco(case: Case) -> nn.Module:
    config, tensors = case.config, case.tensors
    settings = case.pick(
        "hops", "filters", "filter_nodes", "hidden", max_step="walk", num_layers="gnn_layers", out_channels="out"
    )
    network = graphs.CoCo(
        tensors["x_source"].shape[1], config["n_classes"], kernel_layers=config["kernel_layers"], **settings
    )
    weights = case.pick("tau", cross_branch="weight_cross_branch", cross_domain="weight_cross_domain")
    return nn.ModuleDict({"network": network, "loss": contrastive.CoCoLoss(**weights)})


def _names_of_coco(case: Case) -> dict[str, str]:
    names = {"gnn.out": "network.out", "ker.out": "network.kernels.out", "head": "network.head"}
    names |= {"w": "weight", "b": "bias"}
    for i in range(case.config["gnn_layers"]):
        for j, place in ((1, 0), (2, 2)):
            names[f"gnn.{i}.w{j}"] = f"network.convs.{i}.nn.{place}.weight"
            names[f"gnn.{i}.b{j}"] = f"network.convs.{i}.nn.{place}.bias"
    for i in range(case.config["kernel_layers"]):
        names |= {f"ker.{i}.{name}": f"network.kernels.convs.{i}.{name}" for name in ("theta", "z")}
        names |= {f"ker.{i}.{w}": f"network.kernels.maps.{i}.{name}" for w, name in (("w", "weight"), ("b", "bias"))}
    return names


def _run_coco(ours: nn.ModuleDict, *inputs: Tensor) -> dict[str, Tensor]:
    source, target = ours["network"](*inputs[:3]), ours["network"](*inputs[3:6])
    loss = ours["loss"]
    terms = loss(source, target, inputs[6])
    weights = {"source": 1, "cross_branch": loss.cross_branch, "cross_domain": loss.cross_domain}
    found = {"loss": sum(terms.values())} | {f"loss_{name}": terms[name] / weights[name] for name in terms}
    for domain, (z, zk, logits) in (("source", source), ("target", target)):
        found |= {f"z_{domain}": z, f"z_kernel_{domain}": zk, f"logits_{domain}": logits}
    return found | {"pseudo_label": target[2].argmax(1)}


BOTH_DOMAINS = [f"{name}_{domain}" for domain in ("source", "target") for name in ("x", "edge_index", "batch")]


ENTRIES = {
    "KernelInfoNCE": Entry(_info_nce, inputs=("z1", "z2", "bank"), outputs=("loss",)),
    "SCGC": SCGC,
    "SCGC*": SCGC,
    "ncontrast": Entry(
        lambda case: partial(contrastive.neighbor_contrast, **case.pick("tau")), ("z", "weight"), ("loss",)
    ),
    "csgcl_augment": Entry(lambda case: lambda: _views(case), ()),
    "CSGCL": Entry(
        _csgcl,
        inputs=("x1", "edge_index_1", "x2", "edge_index_2"),
        names=NAMES_OF_CSGCL,
        call=_run_csgcl,
    ),
    "random_walk_kernel_layer": Entry(_kernel_layer, inputs=("x", "edge_index")),
    "CoCo": Entry(_coco, inputs=(*BOTH_DOMAINS, "y_source"), names=_names_of_coco, call=_run_coco),
}
