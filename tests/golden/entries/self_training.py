"""Complementary views, stages of pseudo-labels, and helper tasks (arXiv 2311.11821, 1902.11038 and 2006.09136)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.graphs.views import complementary_views
from convnn.models.gnn import GNN
from convnn.nn import graphs
from convnn.nn.graphs.batch import GraphBatch
from convnn.objectives.self_training import (
    CrossView,
    GrowingLabels,
    HelperTask,
    MultiTaskGCN,
    align_clusters,
    cross_view,
    helper_loss,
)
from golden.case import Case
from golden.entry import Entry


@contextmanager
def _kept(masks: Sequence[Tensor]) -> Iterator[None]:
    """Let dropout keep what the masks say, one after the other."""
    left = iter(masks)

    def dropout(x: Tensor, p: float, training: bool) -> Tensor:
        return x * next(left) / (1 - p) if training and p else x

    with patch.object(F, "dropout", dropout):
        yield


def _cgcl(case: Case) -> dict[str, Tensor]:
    """Train an epoch, or compute both losses at the same parameters.

    The published encoder sums over the edges that leave a node: ours gets all edges reversed.
    """
    config = case.config
    network = GNN(
        graphs.GCN,
        in_channels=config["in_channels"],
        d_hidden=config["hidden"],
        num_layers=1,
        dropout=config["dropout"],
        hidden_activation="elu",
        linear_head=True,
    ).double()
    scheme = CrossView(config["hidden"], dropout=config["edge_dropout"]).double()
    published = {"convs.0": network.layers[0]}
    published |= {f"edge_decoder.mul_layers.{i}": part for i, part in enumerate(scheme.decoder.children())}
    learned = {f"{name}.{key}": value for name, part in published.items() for key, value in part.named_parameters()}
    with torch.no_grad():
        for name, value in case.named("param").items():
            learned[name].copy_(value)
    graph = GraphBatch(case.tensors["x"], case.tensors["edge_index"].flip(0))
    found = _epoch(case, network, scheme, graph, learned)
    network.eval()
    scheme.eval()
    z = network.embed(graph)
    return found | {"z_full": z, "prob_full": scheme.score(z, graph.edge_index)}


def _epoch(case: Case, network: GNN, scheme: CrossView, graph: GraphBatch, learned: dict) -> dict[str, Tensor]:
    config, found = case.config, {}
    with patch.object(torch, "rand", lambda *_, **__: case.tensors["view_mask"].double()):
        views = complementary_views(graph.edge_index)
    masks = [case.tensors.get(f"keep_{what}_{i}") for i in (0, 1) for what in ("x", "pos", "neg")]
    absent = iter([case.tensors[f"neg_{i}"].flip(0) for i in (0, 1)])
    optimizer = torch.optim.Adam(learned.values(), config["lr"], weight_decay=config["weight_decay"])
    seen: list[Tensor] = []
    watches = [
        network.norms[0].register_forward_hook(lambda *call: seen.append(F.elu(call[2]))),
        scheme.decoder.register_forward_hook(lambda *call: seen.append(call[2])),
    ]
    with patch.object(cross_view, "sample_absent_links", lambda *_: next(absent)), _kept(masks):
        for i, terms in enumerate(scheme.steps(network, graph, views)):
            optimizer.zero_grad()
            terms["links"].backward()
            found |= {f"loss_{i}": terms["links"], f"z_{i}": seen[0], f"pos_logit_{i}": seen[1]}
            found |= {f"grad_{i}.{name}": value.grad.clone() for name, value in learned.items()}
            seen.clear()
            if config["optimizer_step_between_views"]:
                optimizer.step()
    for watch in watches:
        watch.remove()
    return found | {f"param_after.{name}": value.detach() for name, value in learned.items()}


class _Given(nn.Module):
    """A network whose features and logits are given."""

    def __init__(self, features: Tensor, logits: Tensor) -> None:
        super().__init__()
        self.features, self.logits = features, logits

    def embed(self, graph: GraphBatch) -> Tensor:
        return self.features

    def forward_head(self, features: Tensor) -> Tensor:
        return self.logits


def _m3s_select(case: Case) -> dict[str, Tensor]:
    network = _Given(case.tensors["embedding"], case.tensors["logits"])
    return _advance(case, network, GraphBatch(case.tensors["embedding"], torch.empty(2, 0, dtype=torch.long)))


def _scheme(case: Case) -> GrowingLabels:
    labels = torch.where(case.tensors["train_mask"] != 0, case.tensors["y"], -1)
    settings = {"clusters": case.config["n_clusters"], "check": case.config["clustering"]}
    return GrowingLabels(labels, case.tensors["top_t"], **settings)


def _advance(case: Case, network: nn.Module, graph: GraphBatch, scheme: GrowingLabels | None = None) -> dict:
    """End a stage; pseudo-labels count where there is no label."""
    scheme = _scheme(case) if scheme is None else scheme
    before, clusters = scheme.labels.clone(), case.tensors.get("cluster")
    network.eval()
    features = network.embed(graph)
    logits = network.forward_head(features)
    found = {"logits": logits, "prob": logits.softmax(1), "rep": F.normalize(features)}
    scheme.advance(network, graph, clusters)
    found |= {"new_mask": (scheme.labels >= 0).long(), "new_label": scheme.labels}
    if "pseudo_label" in case.tensors:
        opinion = align_clusters(found["rep"], clusters, before, classes=len(scheme.quota))
        found["pseudo_label"] = torch.where(before >= 0, case.tensors["pseudo_label"], opinion)
    return found


class _M3SNetwork(nn.Module):
    """Graph convolutions, each with a norm and a learned slope, and a linear head."""

    def __init__(self, widths: Sequence[int], classes: int, momentum: float) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for i, o in pairwise(widths):
            parts += [graphs.GCN(i, o), nn.BatchNorm1d(o, momentum=momentum), nn.PReLU()]
        self.parts, self.head = nn.ModuleList(parts), nn.Linear(widths[-1], classes)

    def embed(self, graph: GraphBatch) -> Tensor:
        h = graph.x
        for part in self.parts:
            h = part(h, graph.edge_index) if isinstance(part, graphs.GCN) else part(h)
        return h

    def forward_head(self, features: Tensor) -> Tensor:
        return self.head(features)


def _m3s_stage(case: Case) -> dict[str, Tensor]:
    config, scheme = case.config, _scheme(case)
    widths = [case.tensors["x"].shape[1], *config["hidden"]]
    network = _M3SNetwork(widths, len(scheme.quota), config["bn_momentum"]).double()
    learned = dict(network.named_parameters()) | dict(network.named_buffers())

    def ours(name: str) -> str:
        name = name.replace("classifier.linear", "head").replace("encoder.model.module_", "parts.")
        return name.replace(".module.", ".")

    with torch.no_grad():
        for name, value in (case.named("param") | case.named("buffer")).items():
            learned[ours(name)].copy_(value)
    graph = GraphBatch(case.tensors["x"], case.tensors["edge_index"])
    optimizer = torch.optim.Adam(network.parameters(), config["lr"], weight_decay=config["weight_decay"])
    for _ in range(config["epochs"]):
        for terms in scheme.steps(network, graph):
            optimizer.zero_grad()
            terms["labels"].backward()
            optimizer.step()
    after = {name: learned[ours(name.removeprefix("param_after."))] for name in case.tensors if "param_after." in name}
    return {name: value.detach() for name, value in (after | _advance(case, network, graph, scheme)).items()}


class _SSGCN(nn.Module):
    def __init__(self, case: Case) -> None:
        super().__init__()
        config, tensors = case.config, case.tensors
        first, *hidden, classes = config["dims"]
        self.network = MultiTaskGCN(first, classes, hidden=hidden, dropout=config["dropout"])
        labels = torch.full_like(tensors["y"], -1)
        labels[tensors["idx_train"]] = tensors["y"][tensors["idx_train"]]
        settings = {"outputs": config["ss_dim"], "weight": config["loss_weight"]}
        self.scheme = HelperTask(config["task"], (first, *hidden)[-1], tensors["ss_target"], labels, **settings)
        self.masks = [tensors[f"keep_{what}_{layer}"] for what in ("main", "ss") for layer in range(len(hidden))]

    def forward(self, x: Tensor, edges: Tensor) -> dict[str, Tensor]:
        found: list[Tensor] = []
        heads = [self.network.head, self.scheme.head]
        watches = [head.register_forward_hook(lambda *call: found.append(call[2])) for head in heads]
        with _kept(self.masks):
            terms = self.scheme(self.network, GraphBatch(x, edges))
        for watch in watches:
            watch.remove()
        logits, output = found
        scheme, known = self.scheme, self.scheme.labels >= 0
        return {
            "loss": terms["labels"] + terms["helper"],
            "loss_target": F.cross_entropy(logits[known], scheme.labels[known]),
            "loss_ss": helper_loss(scheme.task, output, scheme.target, scheme.labels),
            "logits": logits,
            "ss_output": output,
        }


def _ss_gcn_names(case: Case) -> dict[str, str | None]:
    layers = len(case.config["dims"]) - 1
    names = {f"net_layer.{layer}": f"network.layers.{layer}.lin" for layer in range(layers - 1)}
    return names | {f"net_layer.{layers - 1}": "network.head", "ss_classifier": "scheme.head"}


def _logits_eval(ours: _SSGCN, case: Case) -> dict[str, Tensor]:
    ours.eval()
    return {"logits_eval": ours.network(GraphBatch(case.tensors["x"], case.tensors["edge_index"]))}


def _cluster_labels(case: Case) -> dict[str, Tensor]:
    labels = torch.full_like(case.tensors["y"], -1)
    labels[case.tensors["idx_train"]] = case.tensors["y"][case.tensors["idx_train"]]
    settings: dict[str, Any] = {"classes": case.config["n_classes"], "members": "all"}
    return {"pseudo_label": align_clusters(case.tensors["x"], case.tensors["cluster"], labels, **settings)}


ENTRIES = {
    "CGCL": Entry(lambda case: lambda: _cgcl(case), ()),
    "m3s_select": Entry(lambda case: lambda: _m3s_select(case), ()),
    "M3S stage": Entry(lambda case: lambda: _m3s_stage(case), ()),
    "SSGCN": Entry(
        _SSGCN, ("x", "edge_index"), ("loss",), names=_ss_gcn_names, also=_logits_eval, aside=("idx_unlabeled",)
    ),
    "node_clustering_labels": Entry(lambda case: lambda: _cluster_labels(case), (), aside=("centroids",)),
}
