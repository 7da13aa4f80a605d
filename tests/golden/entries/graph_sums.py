"""Layers on graphs that sum over neighbours.

SGC (arXiv 1902.07153), LightGCN (arXiv 2002.02126), DeeperGCN (arXiv 2006.07739), PNA (arXiv 2004.05718) and HGNN
(arXiv 1809.09401).
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.nn import graphs
from convnn.objectives import ranking
from convnn.ops import select
from golden.case import Case
from golden.entry import Entry, Refused

# SGC


def _propagated(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    """Return S, which is what the unit vectors become, and the features after the last propagation."""
    x, edges, weights = case.tensors["x"], case.tensors["edge_index"], case.tensors.get("edge_weight")
    _, matrix = graphs.propagations(torch.eye(len(x), dtype=x.dtype), edges, weights, hops=1)
    return {"S": matrix, "propagated": _last(x, edges, weights, case.config["K"])}


def _last(x: Tensor, edge_index: Tensor, edge_weight: Tensor | None, hops: int) -> Tensor:
    *_, last = graphs.propagations(x, edge_index, edge_weight, hops=hops)
    return last


def _sgc_training(case: Case) -> Mapping[str, Tensor]:
    """Train the linear map as published: all training nodes in every step."""
    labels, chosen = case.tensors["y"], case.tensors["train_index"]
    features = _last(case.tensors["x"], case.tensors["edge_index"], None, case.config["K"])
    linear = nn.Linear(features.shape[1], len(case.tensors["init.W.bias"])).double()
    linear.load_state_dict(case.named("init.W"))
    optimizer = _optimizer(case, linear)

    def step() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(linear(features[chosen]), labels[chosen])
        loss.backward()
        return loss.detach()

    losses = torch.stack([optimizer.step(step) for _ in range(case.config["epochs"])])
    found = {f"param.W.{name}": value.detach() for name, value in linear.named_parameters()}
    output = linear(features).detach()
    return found | {"loss": losses, "output": output, "prediction": output.argmax(1), "propagated": features}


def _optimizer(case: Case, linear: nn.Module) -> torch.optim.Optimizer:
    kind = case.config["optimiser"].lower()
    if kind == "adam":
        return torch.optim.Adam(linear.parameters(), **case.pick("lr", "weight_decay"))
    if kind == "lbfgs":
        return torch.optim.LBFGS(linear.parameters(), **case.pick("lr"))
    raise Refused(f"optimiser {kind!r}")


# LightGCN


class Recommender(nn.Module):
    """Everything that the published code computes for a batch; the loss comes first, since gradients are its own."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        config = case.config
        sizes, keep_prob = (config["num_users"], config["num_items"]), config["keep_prob"] if config["dropout"] else 1.0
        self.model = graphs.LightGCN(*sizes, dim=config["dim"], num_layers=config["num_layers"], keep_prob=keep_prob)
        self.decay = config["decay"]

    def forward(self, interactions: Tensor, users: Tensor, positives: Tensor, negatives: Tensor) -> dict[str, Tensor]:
        of_users, of_items = self.model(interactions.T)
        chosen, other = ((of_users[users] * of_items[items]).sum(1) for items in (positives, negatives))
        first = [self.model.users(users), self.model.items(positives), self.model.items(negatives)]
        loss, bpr = ranking.bpr_loss(chosen, other, first, decay=self.decay), ranking.bpr_loss(chosen, other)
        return {
            "loss": loss,
            "bpr": bpr,
            "reg": (loss - bpr) / self.decay,
            "out_users": of_users,
            "out_items": of_items,
            "gamma": chosen,
            "rating": (of_users[users] @ of_items.T).sigmoid(),
        }


def _matrix(ours: Recommender, case: Case) -> dict[str, Tensor]:
    """Return A with its normalisation: what the unit vectors become in one propagation of all edges."""
    pairs = case.tensors["interactions"].T + torch.tensor([[0], [ours.model.users.num_embeddings]])
    units = torch.eye(len(case.tensors["A_hat"]), dtype=torch.double)
    _, matrix = graphs.propagations(units, torch.cat([pairs, pairs.flip(0)], 1), hops=1, loops=0.0)
    return {"A_hat": matrix}


def _drop(case: Case) -> AbstractContextManager:
    """Draw the published numbers for the entries of A, in the order of rows and columns."""
    if "drop_uniform" not in case.tensors:
        return nullcontext()
    rows, columns = case.tensors["drop_index"]
    order = (rows * (columns.max() + 1) + columns).argsort()
    return patch("torch.rand", return_value=case.tensors["drop_uniform"][order])


def _figures(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    def of(score: Tensor, train: Tensor, test: Tensor) -> dict[str, Tensor]:
        found = {"topk": select.highest(score, max(case.config["K"]), excluded=train.bool())}
        for k in case.config["K"]:
            for figure in (ranking.recall, ranking.precision, ranking.ndcg):
                value = figure(found["topk"][:, :k], test.bool())
                found[f"{figure.__name__}@{k}"] = torch.tensor(value, dtype=torch.double)
        return found

    return of


# DeeperGCN

GENERALIZED = ("aggr", "t", "learn_t", "p", "learn_p", "y", "learn_y", "msg_norm", "learn_msg_scale", "mlp_layers")


def _gen_conv(case: Case) -> nn.Module:
    sizes = case.config["in_channels"], case.config["out_channels"]
    return graphs.GENConv(*sizes, norm=_norm(case), **case.pick(*GENERALIZED, "edge_dim"))


def _norm(case: Case) -> str:
    return str(case.config.get("norm", "batch")).lower()


def _names_of_aggregation(aggr: str) -> dict[str, str]:
    inside = "aggr_module.mean" if aggr.endswith("_sum") else "aggr_module"
    moved = {"t": f"{inside}.t", "p": f"{inside}.p", "y": "aggr_module.y"}
    return moved | {"msg_norm.msg_scale": "msg_norm.scale", "edge_encoder": "lin_edge"}


def _after_training(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    """Return the running statistics after a step, where the file has those before it, too."""
    places, before = dict(ours.named_buffers()), case.named("before")
    if not before:
        return {}
    for name, value in before.items():
        places[name].copy_(value)
    ours(*(case.tensors.get(name) for name in ("x", "edge_index", "edge_attr")))
    return {f"buffer.{name}": places[name] for name in before}


def _deeper_gcn(case: Case) -> nn.Module:
    if case.config["conv"] != "gen":
        raise Refused(f"conv={case.config['conv']!r}: other layers are given as `layer`")
    layer = partial(graphs.GENConv, norm=_norm(case), **case.pick(*GENERALIZED[1:], aggr="gcn_aggr"))
    settings = case.pick("hidden_channels", "num_layers", "dropout", "block")
    return graphs.DeeperGCN(
        case.config["in_channels"], case.config["num_tasks"], layer=layer, norm=_norm(case), **settings
    )


def _names_of_network(case: Case) -> dict[str, str]:
    names = {"node_features_encoder": "encode", "node_pred_linear": "classify"}
    names |= _names_of_aggregation(case.config["gcn_aggr"])
    count, ahead = case.config["num_layers"], case.config["block"] == "res+"
    for i in range(count):
        names[f"gcns.{i}"] = f"blocks.{i}" if ahead and not i else f"blocks.{i}.conv"
        names[f"norms.{i}"] = f"blocks.{i + ahead}.norm"
    return names | ({f"norms.{count - 1}": "last.0"} if ahead else {})


# PNA

PRINCIPAL = ("aggregators", "scalers", "post_layers")


def _with_averages(ours: nn.Module, case: Case) -> nn.Module:
    """Set the averages to those of the file, which were rounded to float32."""
    averages = case.config["avg_deg"]
    ours.aggr_module.given = averages["log"], averages["lin"]
    return ours


def _pna(case: Case) -> nn.Module:
    sizes = case.config["in_channels"], case.config["out_channels"]
    settings = case.pick(*PRINCIPAL, "edge_dim", "towers", "pre_layers", "divide_input")
    return _with_averages(graphs.PNAConv(*sizes, deg=case.tensors["degree_histogram"], **settings), case)


def _pna_simple(case: Case) -> nn.Module:
    sizes, histogram = (case.config["in_channels"], case.config["out_channels"]), case.tensors["degree_histogram"]
    return _with_averages(graphs.PNAConvSimple(*sizes, deg=histogram, **case.pick(*PRINCIPAL)), case)


# HGNN

HYPERGRAPH = ("x", "hyperedge_index", "hyperedge_weight", "hyperedge_value", "W")


def _on_hypergraph(ours: nn.Module, x: Tensor, *hypergraph: Tensor | None) -> Tensor:
    return ours(x, *_arguments(*hypergraph))


def _arguments(
    index: Tensor, weight: Tensor | None, value: Tensor | None, named_w: Tensor | None
) -> tuple[Tensor | None, ...]:
    """Return the hypergraph in our order; weights of hyperedges are W in the definition."""
    return index, named_w if weight is None else weight, value


def _hypergraph(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    """Return H and G, which is what the unit vectors become."""
    index, weight, value = _arguments(*(case.tensors.get(name) for name in HYPERGRAPH[1:]))
    units = torch.eye(len(case.tensors["x"]), dtype=torch.double)
    incidence = torch.zeros_like(case.tensors["H"]).index_put(tuple(index), value, accumulate=True)
    return {"H": incidence, "G": graphs.propagate_hyperedges(units, index, weight, value)}


def _keep_as_published(case: Case) -> AbstractContextManager:
    """Drop out what the file says, which drops in evaluation too."""
    if "dropout_keep" not in case.tensors:
        return nullcontext()
    kept = case.tensors["dropout_keep"] / (1 - case.config["dropout"])
    return patch("torch.nn.functional.dropout", lambda x, *_: x * kept)


def _hgnn(case: Case) -> nn.Module:
    sizes = case.config["in_channels"], case.config["num_classes"]
    return graphs.HGNN(*sizes, **case.pick("dropout", hidden_channels="hidden"))


def _construction(case: Case) -> Callable[..., Mapping[str, Tensor]]:
    settings = case.pick("m_prob", k="K_neigs", prob="is_probH")

    def built(*modalities: Tensor | None) -> dict[str, Tensor]:
        index, value = graphs.knn_hypergraph([x for x in modalities if x is not None], **settings)
        units = torch.eye(len(modalities[0]), dtype=torch.double)
        incidence = torch.zeros_like(case.tensors["H"]).index_put(tuple(index), value)
        return {"H": incidence, "G": graphs.propagate_hyperedges(units, index, None, value)}

    return built


GRAPH = ("x", "edge_index", "edge_weight")
ENTRIES = {
    "SGC": Entry(
        lambda case: graphs.SGC(case.config["in_channels"], case.config["out_channels"], hops=case.config["K"]),
        inputs=GRAPH,
        names={"W": "lin"},
        also=_propagated,
    ),
    "SGC training": Entry(_sgc_training, inputs=(), call=lambda found: found),
    "LightGCN": Entry(
        Recommender,
        inputs=("interactions", "users", "pos", "neg"),
        names={"embedding_user": "model.users", "embedding_item": "model.items"},
        also=_matrix,
        aside=("drop_keep",),
        draws=_drop,
    ),
    "ranking metrics": Entry(_figures, inputs=("score", "train", "test"), outputs=()),
    "GENConv": Entry(
        _gen_conv,
        inputs=("x", "edge_index", "edge_attr"),
        names=lambda case: _names_of_aggregation(case.config["aggr"]),
        also=_after_training,
    ),
    "DeeperGCN": Entry(
        _deeper_gcn,
        inputs=("x", "edge_index"),
        names=_names_of_network,
        call=lambda ours, *graph: ours(*graph).log_softmax(1),
    ),
    "PNAConv": Entry(_pna, inputs=("x", "edge_index", "edge_attr")),
    "PNAConvSimple": Entry(_pna_simple, inputs=("x", "edge_index", "edge_attr"), names={"post_nn": "post"}),
    "HGNN_conv": Entry(
        lambda case: graphs.HGNNConv(case.config["in_channels"], case.config["out_channels"], **case.pick("bias")),
        inputs=HYPERGRAPH,
        call=_on_hypergraph,
        also=_hypergraph,
    ),
    "HGNN": Entry(
        _hgnn,
        inputs=HYPERGRAPH,
        call=_on_hypergraph,
        names={"hgc1": "first", "hgc2": "second"},
        also=_hypergraph,
        draws=_keep_as_published,
    ),
    "construct_H_with_KNN": Entry(_construction, inputs=("X", "X2")),
}
