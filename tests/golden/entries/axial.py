"""MobileViG, MobileViGv2 (arXiv 2406.05850) and GreedyViG (arXiv 2405.06849): neighbours in the same row and column."""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.models.mobilevig import GraphBlock
from convnn.nn.vision_graphs.near_axial import distance_threshold
from golden.case import Case
from golden.entry import Entry, refuse

NAMES = {
    "cpe.pe": "positional",
    "fc1": "before",
    "graph_conv.nn.0": "layer",
    "graph_conv.nn.1": "norm",
    "fc2": "after",
    "layer_scale_1": "mixer_scale",
    "layer_scale_2": "ffn_scale",
}


def _graph(layer: type, case: Case) -> partial:
    return partial(layer, step=case.config["K"], positional_size=0)


def _operator(layer: type) -> Entry:
    """Return the entry of the 1x1 convolution of features and differences, whose `in_channels` count both."""

    def build(case: Case) -> nn.Module:
        outputs = case.config["out_channels"]
        graph = _graph(layer, case)(case.config["in_channels"] // 2, outputs)
        return nn.Sequential(OrderedDict(layer=graph, norm=nn.BatchNorm2d(outputs), activation=nn.GELU()))

    return Entry(
        build,
        names={"nn.0": "layer", "nn.1": "norm"},
        also=lambda ours, case: _inside(ours.layer, case.tensors["input"], case),
    )


def _grapher(layer: type) -> Entry:
    return Entry(
        lambda case: cnn.Grapher2d(case.config["in_channels"], _graph(layer, case), positional_size=7),
        names=NAMES,
        also=lambda ours, case: _inside(ours.layer, ours.before(ours.positional(case.tensors["input"])), case),
    )


def _block(layer: type) -> Entry:
    def build(case: Case) -> nn.Module:
        if case.is_training:
            refuse(case, drop_path="blocks are left out at random")
        return GraphBlock(case.config["in_dim"], _graph(layer, case), **case.pick("use_layer_scale"))

    def inside(block: nn.Module, case: Case) -> dict[str, Tensor]:
        x = block.mixer.before(block.mixer.positional(case.tensors["input"]))
        return _inside(block.mixer.layer, x, case)

    return Entry(build, names=NAMES, also=inside)


def _inside(graph: nn.Module, x: Tensor, case: Case) -> dict[str, Tensor]:
    """Return intermediate results of the dynamic graph: threshold, close positions, and their largest differences."""
    if not isinstance(graph, cnn.DAGC2d):
        return {}
    field = graph.field(x)
    threshold = distance_threshold(x.permute(0, 2, 3, 1)).flatten()
    indices, _, absent = graph.neighbors(x)
    kept = torch.zeros(*indices.shape[:2], indices.shape[1], dtype=torch.bool)
    kept.scatter_(2, indices, True if absent is None else ~absent)
    itself = torch.eye(indices.shape[1], dtype=torch.bool)  # theirs includes itself if the threshold is above 0
    kept = torch.where(itself, threshold.view(-1, 1, 1) > 0, kept)
    most = field.to_map(graph.relative_max(field, field.features))
    return {"threshold": threshold, "edges": kept, "relative_max": most}


ENTRIES = {
    "mobilevigv2.MRConv4d": _operator(cnn.MGC2d),
    "mobilevigv2.Grapher": _grapher(cnn.MGC2d),
    "mobilevigv2.MGC": _block(cnn.MGC2d),
    "mobilevig.Grapher": Entry(
        lambda case: cnn.Grapher2d(case.config["in_channels"], _graph(cnn.SVGA2d, case), expansion=2),
        names=NAMES,
        call=lambda ours, x: x + ours(x),
    ),
    "greedyvig.DynamicMRConv4d": _operator(cnn.DAGC2d),
    "greedyvig.Grapher": _grapher(cnn.DAGC2d),
    "greedyvig.DynamicGraphConvBlock": _block(cnn.DAGC2d),
}
