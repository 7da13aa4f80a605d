"""Vision GNN (arXiv 2206.00272): the nearest positions by feature."""

from functools import partial
from math import isqrt

import torch
from torch import Tensor, nn

from convnn import nn as cnn
from golden.case import Case
from golden.entry import Entry, Refused, refuse

GROUPS = 4
"""Of every published 1x1 convolution in the graph."""
ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "leakyrelu": "leaky_relu", "hswish": "hardswish", "none": "none"}
FORMS = {"mr": "max_relative", "sage": "sage", "gin": "gin"}
NAMES = {
    "fc1": "before",
    "fc2": "after",
    "graph_conv.gconv.nn.0": "layer",
    "graph_conv.gconv.nn.1": "norm",
    "graph_conv.gconv.eps": "layer.eps",
    "graph_conv.gconv.nn1.0": "layer.edge.0",
    "graph_conv.gconv.nn1.1": "layer.edge.1.0.rows",
    "graph_conv.gconv.nn2.0": "layer",
    "graph_conv.gconv.nn2.1": "norm",
    "relative_pos": None,  # computed here, equal up to float32
}
OF_EDGES = NAMES | {"graph_conv.gconv.nn.1": "layer.norm_activation.0.rows"}


def _grapher(case: Case) -> nn.Module:
    form, norm, activation = (case.config[name] for name in ("conv", "norm", "act"))
    if norm not in (None, "batch") or activation not in ACTIVATIONS:
        raise Refused(f"norm={norm!r}, act={activation!r}: of normalisations batch alone, no activation that learns")
    if case.is_training:
        refuse(case, drop_path="drops images at random", stochastic="k random ranks of the k d, by one draw a batch")
    settings = case.pick("bias", K="kernel_size", graph_dilation="dilation", reduction="r")
    settings |= {"relative_side": _side(case), "edge_norm": norm == "batch", "edge_activation": ACTIVATIONS[activation]}
    if form == "edge":  # normalisation and activation stand within the maximum
        graph = partial(cnn.EdgeConv2d, scale_features=True, **settings)
        return cnn.Grapher2d(case.config["in_channels"], graph, expansion=2, norm=False, activation="none")
    graph = partial(cnn.ViG2d, graph_conv=FORMS[form], **settings)
    after = {"norm": norm == "batch", "activation": ACTIVATIONS[activation]}
    return cnn.Grapher2d(case.config["in_channels"], graph, expansion=2, **after)


def _side(case: Case) -> int:
    """Of the square that codes of positions are made for."""
    if not case.config["relative_pos"]:
        return 0
    side, positions = isqrt(case.config["n"]), case.tensors["input"][0, 0].numel()
    if case.config["n"] != side**2 and (case.config["n"] != positions or case.config["r"] > 1):
        raise Refused(f"relative_pos for n={case.config['n']} positions, no square: resized once more")
    return side


def _ungrouped(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """Published groups are blocks of one matrix here; those of `mr` cut through [x_0, m_0, x_1, m_1, ...]."""

    def whole(weight: Tensor) -> Tensor:
        return torch.block_diag(*weight.flatten(1).chunk(GROUPS))

    named = {name: whole(t) if name in ("layer.weight", "layer.edge.0.weight") else t for name, t in named.items()}
    if getattr(ours.layer, "graph_conv", "edge") != "max_relative":
        return named
    return named | {"layer.weight": named["layer.weight"].unflatten(1, (-1, 2)).mT}


def _inside(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    x = ours.before(case.tensors["input"])
    field = ours.layer.field(x)
    search = ours.layer.search
    return {"fc1_output": x, "neighbour_index": search.select(field, search.cells(field)).indices}


ENTRIES = {
    "gcn_lib.torch_vertex.Grapher": Entry(
        _grapher,
        names=lambda case: OF_EDGES if case.config["conv"] == "edge" else NAMES,
        arrange=_ungrouped,
        call=lambda ours, x: x + ours(x),
        also=_inside,
        aside=("relative_pos",),
    ),
}
