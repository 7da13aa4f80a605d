"""Graphs that are learned, and clusters: Ada-NETS (arXiv 2202.03800), GDN (arXiv 2205.09575)."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor

from convnn.graphs.build import (
    GDN,
    AdaptiveFilter,
    GDNLayer,
    cut_edges,
    edge_hinge,
    edge_nse,
    edge_se,
    nearest_lists,
    prefix_quality,
    quality_cut,
    reciprocal_neighbors,
    relative_huber,
    shared_neighbors,
    structure_space,
    symmetric_edges,
    upper_triangle,
)
from convnn.graphs.cluster import ClusteringGCN, cluster_loss
from golden.case import Case
from golden.entry import Entry, refuse


def _dense(edges: tuple[Tensor, Tensor], nodes: int) -> Tensor:
    """Return the weights (N, N), a row for each target."""
    (sources, targets), weights = edges
    return torch.zeros(nodes, nodes, dtype=weights.dtype).index_put((targets, sources), weights)


def _structure(case: Case) -> Mapping[str, Tensor]:
    tensors, K = case.tensors, case.config["k"]
    refuse(case, th_sim="a smallest similarity other than 0")
    nodes = tensors["x"].shape[0]
    near = nearest_lists(tensors["x"], K)
    ranked = structure_space(*near, case.config["lamb"])
    sets = {
        "r_k": reciprocal_neighbors(near.indices, K),
        "r_half": reciprocal_neighbors(near.indices, K // 2),
        "r_star": shared_neighbors(near.indices),
    }
    found = {name: torch.from_numpy(one.toarray()) for name, one in sets.items()}
    found |= {"knn_index": near.indices, "knn_dist": near.distances, "index": ranked.indices, "dist": ranked.distances}
    if "labels" in tensors:
        beta = case.config["beta"]
        best = quality_cut(ranked.indices, tensors["labels"], beta)
        each = prefix_quality(ranked.indices, tensors["labels"], beta)
        names = ("precision", "recall", "fscore")
        at_best = {name: value.gather(1, best[:, None] - 1)[:, 0] for name, value in zip(names, each, strict=True)}
        found |= {"k_best": best, **at_best}
    cuts = tensors["k_used"]
    if torch.equal(cuts, found.get("k_best", cuts)):
        found["k_used"] = cuts
    edges = cut_edges(*ranked, cuts)
    found |= {"adj_directed": _dense(edges, nodes), "adj": _dense(symmetric_edges(*edges, nodes), nodes)}
    return found


def _filter(case: Case) -> AdaptiveFilter:
    dropout = case.config.get("dropout", 0.0)
    return AdaptiveFilter(case.config["feature_dim"], case.config["nhid"], dropout=dropout)


def _filtered(model: AdaptiveFilter, x: Tensor, targets: Tensor) -> Mapping[str, Tensor]:
    shares = model(x)
    return {"loss": relative_huber(shares, targets), "output": shares, "feature": model.features(x)}


class Clustered(ClusteringGCN):
    """The network with its loss."""

    def __init__(self, case: Case) -> None:
        super().__init__(case.config["feature_dim"], case.config["nhid"])
        settings = case.pick("margin", negatives="losstype", positive_margin="pmargin", positive_weight="pweight")
        self.loss = partial(cluster_loss, **settings)

    def forward(self, x: Tensor, edges: Tensor, labels: Tensor) -> Mapping[str, Tensor]:
        z = super().forward(x, edges)
        positive, negative = self.loss(z, labels)
        parts = {"loss_pos": positive, "loss_neg": negative, "gcn_feature": self.features(x, edges)}
        return {"loss": positive + negative, "output": z, **parts}


def _layer(case: Case) -> GDNLayer:
    return GDNLayer(case.config["c_in"], case.config["c_out"], case.config["order"], normalize=case.config["normalize"])


def _step(layer: GDNLayer, s: Tensor, observed: Tensor) -> Tensor:
    """Published channels come first."""
    return layer(s.transpose(0, 1), observed).transpose(0, 1)


LOSSES = {"hinge": edge_hinge, "nse": edge_nse, "se": edge_se}


class Deconvolution(GDN):
    """The network with its loss."""

    def __init__(self, case: Case) -> None:
        super().__init__(*(case.config[name] for name in ("depth", "channels", "order")), share=case.config["share"])
        self.loss = LOSSES[case.config["loss"]]

    def forward(self, observed: Tensor, prior: Tensor | None, labels: Tensor) -> Mapping[str, Tensor]:
        scores = super().forward(observed, None if prior is None else prior[0])
        return {"loss": self.loss(upper_triangle(scores), labels), "output": scores}


ENTRIES = {
    "gdnCell": Entry(_layer, ("s_in", "a_o"), names={"coeffs_poly_fc": "weight"}, call=_step),
    "gdn": Entry(
        Deconvolution,
        ("a_o", "prior", "label"),
        ("loss", "output"),
        names={"coeffs_poly_fc": "weight", "module_list": "layers"},
    ),
    "AdaNETS structure space + quality + adjacency": Entry(lambda case: lambda: _structure(case), ()),
    "AdaNETS adaptive filter (AND)": Entry(
        _filter,
        ("input", "target"),
        ("loss", "output", "feature"),
        names={"out_proj": "project", "regressor": "predict"},
        call=_filtered,
    ),
    "AdaNETS GCN + ClusterLoss": Entry(
        Clustered,
        ("x", "edge_index", "labels"),
        ("loss", "output"),
        names={
            "sage1.fc_neigh": "first",
            "sage2.fc_neigh": "second",
            "sage1.bias": "first.bias",
            "sage2.bias": "second.bias",
            "fc": "head",
        },
    ),
}
