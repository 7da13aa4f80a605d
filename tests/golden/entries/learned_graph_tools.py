"""Graphs that are learned, and clusters: Ada-NETS (arXiv 2202.03800), GDN (2205.09575), VGMGC (2210.07011)."""

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
from convnn.graphs.build.consensus import bernoulli_divergence, view_prior
from convnn.graphs.cluster import ClusteringGCN, MultiViewGraphClustering, View, cluster_loss
from convnn.ops.centroids import target_distribution
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


class MultiView(MultiViewGraphClustering):
    """The network on the tensors of a file."""

    def __init__(self, case: Case) -> None:
        config, count = case.config, case.config["views"]
        generator = {"hidden_channels": config["gen_hidden"], "latent_channels": config["gen_latent"], "dropout": 0.0}
        super().__init__(
            [case.tensors[f"x.{v}"].shape[1] for v in range(count)],
            config["classes"],
            shared_channels=case.tensors["x_shared"].shape[1],
            hidden_channels=config["hidden_dim"],
            latent_channels=config["latent_dim"],
            generator=generator | {name: config[name] for name in ("temperature", "threshold")},
            lam=config["lam_emd"],
            lam_kl=config["lam_elbo_kl"],
            published=True,
            **case.pick("order", "min_belief", "max_belief"),
        )
        names = ("x", "x_label", "adj_norm", "adj")
        self.views = [View(*(case.tensors[f"{name}.{v}"] for name in names)) for v in range(count)]
        self.case = case

    def forward(self, *_: object) -> Mapping[str, Tensor]:
        if len(_):  # called from the loss
            return super().forward(*_)
        tensors, weights = self.case.tensors, self.case.tensors["weights"]
        x, y = tensors["x_shared"], tensors["x_shared_label"]
        embedded = super().forward(self.views, x, weights)
        *each, fused = self.assignments(embedded)
        found = {} if "loss" not in tensors else self._losses(x, y, weights, tensors["noise"])
        found |= {"attn": embedded.scores, "adj_global": embedded.consensus, "x_global_pred": embedded.x_shared}
        found |= {"z_fused": embedded.fused, "q_fused": fused, "target": target_distribution(fused, detach=False)}
        for v, (z, q) in enumerate(zip(embedded.views, each, strict=True)):
            rebuilt = self.encoders[v].rebuild(embedded.latent[v])
            found |= {f"z.{v}": z, f"q.{v}": q, f"x_pred.{v}": rebuilt}
        return found

    def _losses(self, x: Tensor, y: Tensor, weights: Tensor, noise: Tensor) -> dict[str, Tensor]:
        parts = self.loss(self.views, x, y, weights=weights, noise=noise, pull=self.case.config["kl_weight"])
        soft, beliefs = self.generator.soft(self(self.views, x).scores, noise), weights.clamp(*self.beliefs)
        prior = view_prior([view.adjacency for view in self.views], beliefs)
        return {
            "loss": parts["loss"],
            "re_feat_loss": parts["features"],
            "re_loss": parts["graphs"],
            "kl_graph": parts["divergence"],
            "kl_cluster": parts["clusters"],
            "soft_adj": soft,
            "prior": prior,
            "bernoulli_kl": bernoulli_divergence(soft, prior),
        }


def _arrange(named: dict[str, Tensor], _: object) -> dict[str, Tensor]:
    """Transpose the published weights of the generator."""
    return {
        name: value.T if name.startswith("generator.") and name.endswith("weight") else value
        for name, value in named.items()
    }


def _view_names(case: Case) -> dict[str, str | None]:
    names: dict[str, str | None] = {"GraphGen.W": "generator.mix"}
    for part in ("encoder", "decoder"):
        names |= {f"GraphGen.{part}.bn{i}": None for i in (1, 2)}
        names |= {f"GraphGen.{part}.layer{i}": f"generator.{part[:-1]}.{3 * i - 2}" for i in (1, 2)}
    for v in range(case.config["views"]):
        for theirs, ours in ((f"graphenc_{v}.LatentMap", "encode"), (f"featdec_{v}", "decode")):
            names |= {f"{theirs}.enc{i}": f"encoders.{v}.{ours}.{2 * i - 2}" for i in (1, 2)}
    return names | {f"centroid_{v}": f"centers.{v}" for v in range(case.config["views"] + 1)}


ENTRIES = {
    "VGMGC": Entry(MultiView, (), ("loss",), names=_view_names, arrange=_arrange, aside=("labels",)),
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
