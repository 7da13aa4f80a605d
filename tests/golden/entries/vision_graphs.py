"""Vision GNN (arXiv 2206.00272): the nearest positions by feature."""

from functools import partial

import torch
from torch import Tensor, nn

from convnn import nn as cnn
from golden.case import Case
from golden.entry import Entry, Refused

GROUPS = 4
"""Of every published 1x1 convolution in the graph."""
NAMES = {"fc1": "before", "fc2": "after", "graph_conv.gconv.nn.0": "layer", "graph_conv.gconv.nn.1": "norm"}


def _grapher(case: Case) -> nn.Module:
    settings = case.pick(K="kernel_size", graph_dilation="dilation", reduction="r")
    if case.config["conv"] == "mr":
        return cnn.Grapher2d(case.config["in_channels"], partial(cnn.ViG2d, **settings), expansion=2)
    if case.config["conv"] == "edge" and case.config["norm"] is None and case.config["act"] == "relu":
        return _edge_grapher(case.config["in_channels"], settings)
    raise Refused(f"conv={case.config['conv']!r}")


def _edge_grapher(channels: int, settings: dict[str, int]) -> nn.Module:
    edge = cnn.EdgeConv2d(channels, 2 * channels, settings["K"], graph_dilation=settings["graph_dilation"])
    scaled = cnn.ViG2d(channels, channels, **settings)  # it searches scaled features there
    edge._neighbors, edge.select, edge.cells = scaled._neighbors, scaled.select, scaled.cells
    grapher = cnn.Grapher2d(channels, lambda *_: edge, expansion=2)
    grapher.norm = grapher.activation = nn.Identity()  # both stand within the maximum, or not at all
    return grapher


def _ungrouped(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """Published groups cut through [x_0, m_0, x_1, m_1, ...]: here they are blocks of one matrix (C_out, 2, C)."""
    blocks = torch.block_diag(*named["layer.weight"].flatten(1).chunk(GROUPS))
    is_interleaved = isinstance(ours.layer, cnn.ViG2d)
    return named | {"layer.weight": blocks.unflatten(1, (-1, 2)).mT if is_interleaved else blocks}


def _inside(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    x = ours.before(case.tensors["input"])
    field = ours.layer.field(x)
    return {"fc1_output": x, "neighbour_index": ours.layer.select(field, ours.layer.cells(field)).indices}


ENTRIES = {
    "gcn_lib.torch_vertex.Grapher": Entry(
        _grapher, names=NAMES, arrange=_ungrouped, call=lambda ours, x: x + ours(x), also=_inside
    ),
}
