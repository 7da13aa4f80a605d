"""Layers on graphs whose messages differ: of both ends of an edge, of categories, of attention; and their composition.

SIR-GCN (arXiv 2403.12529), SINC-GCN (arXiv 2511.11046), CatGCN (arXiv 2009.05303), GKEDM (arXiv 2403.15419), and graph
networks as parametric coKleisli morphisms (arXiv 2212.00542).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, reduce
from operator import rshift
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from convnn.nn import graphs
from convnn.objectives import attention_distillation, distilled_cross_entropy
from golden.case import Case
from golden.entry import Entry, Refused

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "sigmoid": torch.sigmoid,
    "identity": lambda x: x,
    "leaky_relu_0.2": partial(F.leaky_relu, negative_slope=0.2),
}
MASKS = ("mask.key", "mask.query", "mask.edge", "mask.neigh")
"""What dropout kept, in the order in which ours draws."""
DEEPEST = 6
"""Layers of the deepest composite in the files."""


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name not in ACTIVATIONS:
        raise Refused(f"activation={name!r}, of which the entry does not know the formula")
    return ACTIVATIONS[name]


def _sir(case: Case, layer: type[nn.Module], **more: Any) -> nn.Module:
    settings = case.pick("inner_bias", "outer_bias", "dropout", hidden_channels="hidden", aggr="agg_type")
    activation = _activation(case.config["activation"])
    return layer(case.config["in"], case.config["out"], edge_activation=activation, **settings, **more)


def _sinc(case: Case) -> nn.Module:
    return _sir(case, graphs.SINCGCN, context_aggr=case.config["neigh_agg_type"])


@contextmanager
def _recorded_masks(case: Case) -> Iterator[None]:
    masks = iter([case.tensors[name] for name in MASKS if name in case.tensors])

    def dropout(x: Tensor, p: float, training: bool) -> Tensor:
        return x * (next(masks) != 0) / (1 - p) if training and p else x

    with patch.object(F, "dropout", dropout):
        yield


def _catgcn(case: Case) -> nn.Module:
    config = case.config
    if config["propagation"] not in ("pna", "none"):
        raise Refused(f"propagation={config['propagation']!r}: a baseline, not CatGCN")
    settings = {name: _widths(config[name]) for name in ("global_hidden", "local_hidden")}
    settings |= case.pick("probe", "balance", "dropout", latent_channels="dim")
    return graphs.CatGCN(config["num_categories"], config["out"], hops=config["hops"], **settings)


def _widths(text: str) -> tuple[int, ...]:
    return () if text in ("none", "") else tuple(int(width) for width in text.split(","))


def _gkedm(case: Case) -> nn.Module:
    return graphs.GKEDM(case.config["in_channels"], case.config["num_classes"], **case.pick("heads", "head_channels"))


def _attended(ours: nn.Module, x: Tensor, edge_index: Tensor) -> dict[str, Tensor]:
    logits, enhanced, edges, weights = ours.enhance(x, edge_index)
    return {
        "output.logits": logits,
        "output.enhanced": enhanced,
        "output.attention": weights,
        "aux.attention_index": edges,
    }


def _distillation(case: Case) -> Callable[..., dict[str, Tensor]]:
    from torch_geometric.utils import softmax

    nodes, alpha = case.config["num_nodes"], case.config["alpha"]

    def losses(
        scores: Tensor, logits: Tensor, teacher: Tensor, edges: Tensor, train: Tensor, labels: Tensor
    ) -> dict[str, Tensor]:
        student = softmax(scores, edges[1], num_nodes=nodes)
        distillation = attention_distillation((edges, teacher), (edges, student), nodes)
        loss = distilled_cross_entropy(logits, labels, train.bool(), distillation, alpha=alpha)
        return {"loss": loss, "attention_loss": distillation, "student_attention": student}

    return losses


def _layers(case: Case) -> list[nn.Module]:
    dims, names = case.config["dims"], case.config["activations"]
    sizes = zip(dims[:-1], dims[1:], names, strict=True)
    return [graphs.GCNN(one, other, activation=_activation(name)).double() for one, other, name in sizes]


def _composite(case: Case) -> Callable[..., dict[str, Tensor]]:
    layers = _layers(case)

    def composite(x: Tensor, A: Tensor, *weights: Tensor | None) -> dict[str, Tensor]:
        used, hidden = [weight for weight in weights if weight is not None], {}
        for depth in range(1, len(layers) + 1):
            parameters = {f"maps.{place}.weight": weight for place, weight in enumerate(used[:depth])}
            network = reduce(rshift, layers[:depth], graphs.Para.identity())
            hidden[f"hidden.{depth - 1}"] = functional_call(network, parameters, (A, x))
        return {"output": hidden[f"hidden.{len(layers) - 1}"], **hidden}

    return composite


def _of_layers(_: object, case: Case) -> dict[str, Tensor]:
    """Return the gradients where every layer has an adjacency of its own, and those of tied weights."""
    layers, x, upstream = _layers(case), case.tensors["x"], case.tensors["grad_output"]
    weights = [case.tensors[f"W.{place}"] for place in range(len(layers))]
    network = reduce(rshift, layers, graphs.Para.identity())
    for layer, weight in zip(layers, weights, strict=True):
        layer.weight.copy_(weight)
    adjacencies = [case.tensors["A"].clone().requires_grad_() for _ in layers]
    owner = [next(i for i, other in enumerate(weights) if torch.equal(weight, other)) for weight in weights]
    free = {place: weights[place].clone().requires_grad_() for place in sorted(set(owner))}
    order = list(free)
    tied = network.reparameterise(lambda *values: [values[order.index(place)] for place in owner], *free.values())
    with torch.enable_grad():
        of_layers = torch.autograd.grad(network.locally(adjacencies, x), adjacencies, upstream)
        of_weights = torch.autograd.grad(tied(case.tensors["A"], x), list(tied.free), upstream)
    found = {f"grad_A_local.{place}": gradient for place, gradient in enumerate(of_layers)}
    return found | {f"grad_W_tied.{place}": gradient for place, gradient in zip(order, of_weights, strict=True)}


ENTRIES = {
    "SIRConv": Entry(
        lambda case: _sir(case, graphs.SIRGCN), inputs=("x", "edge_index"), draws=_recorded_masks, aside=MASKS
    ),
    "SIREConv": Entry(
        lambda case: _sir(case, graphs.SIRGCN, edge_dim=case.config["edge"]),
        inputs=("x", "edge_index", "edge_attr"),
        draws=_recorded_masks,
        aside=MASKS,
    ),
    "SINCConv": Entry(_sinc, inputs=("x", "edge_index"), draws=_recorded_masks, aside=MASKS),
    "CatGCN": Entry(
        _catgcn,
        inputs=("field_index", "edge_index"),
        names={
            "field_embedding": "encoder.embedding",
            "grn": "encoder",
            "grn_layer_stack": "encoder.global_head.lins",
            "nfm_layer_stack": "encoder.local_head.lins",
        },
        call=lambda ours, *inputs: F.log_softmax(ours(*inputs), dim=1),
    ),
    "GKEDM": Entry(_gkedm, inputs=("x", "edge_index"), names={"att": "attention", "cls": "classifier"}, call=_attended),
    "attention_distillation": Entry(
        _distillation,
        inputs=("student_scores", "logits", "teacher_attention", "attention_index", "train_mask", "y"),
        outputs=("loss",),
    ),
    "GCNN in Para(CoKl(R^{n x n} x -))": Entry(
        _composite,
        inputs=("x", "A", *(f"W.{place}" for place in range(DEEPEST))),
        also=_of_layers,
        aside=("edge_index",),
    ),
}
