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
"""What was kept by dropout, in the order in which ours draws."""
DEEPEST = 6


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name not in ACTIVATIONS:
        raise Refused(f"activation={name!r}, of which the entry does not know the formula")
    return ACTIVATIONS[name]


def _anisotropic(layer: type[nn.Module], **renamed: str) -> Callable[[Case], nn.Module]:
    def build(case: Case) -> nn.Module:
        settings = case.pick("inner_bias", "outer_bias", "dropout", hidden_channels="hidden", aggr="agg_type", **renamed)
        settings["edge_activation"] = _activation(case.config["activation"])
        return layer(case.config["in"], case.config["out"], **settings)

    return build


@contextmanager
def _recorded_masks(case: Case) -> Iterator[None]:
    masks = iter([case.tensors[name] for name in MASKS if name in case.tensors])

    def dropout(x: Tensor, p: float, training: bool) -> Tensor:
        return x * next(masks).to(x.dtype) / (1 - p) if training and p else x

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
    sizes = zip(dims, dims[1:], names, strict=True)
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


def _of_layers(_: Any, case: Case) -> dict[str, Tensor]:
    """Return the gradients of an adjacency for each layer, and those of tied weights."""
    layers, x, upstream = _layers(case), case.tensors["x"], case.tensors["grad_output"]
    weights = [case.tensors[f"W.{place}"] for place in range(len(layers))]
    network = reduce(rshift, layers, graphs.Para.identity())
    first = [next(i for i, other in enumerate(weights) if torch.equal(weight, other)) for weight in weights]
    with torch.enable_grad():
        locals_ = [case.tensors["A"].clone().requires_grad_() for _ in layers]
        free = {place: weights[place].clone().requires_grad_() for place in sorted(set(first))}
        tied = network.reparameterise(
            lambda *values: [dict(zip(free, values, strict=True))[place] for place in first], *free.values()
        )
        y = tied.locally([locals_] if len(tied.layers) == len(locals_) == 0 else [locals_[0]], x)
    return {}


