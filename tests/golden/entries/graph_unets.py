"""UNet-GNN for airways (arXiv 1908.08588): the graph of voxels, the module on it, the network."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from convnn.models.segmentation import GraphBottleneck3d, GraphUNet3d
from convnn.nn.graphs import GAT
from convnn.ops import edges
from golden.case import Case
from golden.entry import Entry, Refused

NAMES = {
    theirs.removeprefix("gnn_module."): ours.removeprefix("bottleneck.")
    for theirs, ours in GraphUNet3d.published_names.items()
    if theirs.startswith("gnn_module.")
}
OF_ATTENTION = {
    f"graph_convol_{i}.{theirs}": f"on_map.conv.layers.{i - 1}.{ours}"
    for i in (1, 2)
    for theirs, ours in {"weight_neighbour": "lin.weight", "attention": "both", "bias": "bias"}.items()
} | {f"graph_convol_{i}.weight_self": None for i in (1, 2)}
CUBES = ("window", "distance", "max_distance", "dist", "dist_max", "reach")
"""What the size of the window may be called; 5 is published."""


class _ConstantAttention(GAT):
    """Attention without gradient, as published: no score learns."""

    def edge_update(
        self, alpha_j: Tensor, alpha_i: Tensor, edge_attr: Any, index: Tensor, ptr: Any, dim_size: Any
    ) -> Tensor:
        return super().edge_update(alpha_j, alpha_i, edge_attr, index, ptr, dim_size).detach()


class _OnRows(GraphBottleneck3d):
    """The module on rows (M, C), which are the voxels of a volume; all in one line where no size is given."""

    def __init__(self, case: Case, **settings: Any) -> None:
        config = case.config
        rows = case.tensors["x"].shape[0]
        size: Sequence[int] = config.get("grid", (rows, 1, 1))
        if prod(size) != rows:
            raise ValueError(f"grid={size} has other than {rows} voxels")
        if "neighbours" in config:
            graph = {"K": config["neighbours"], "periodic": config["periodic"]}
        else:
            graph = {"adjacency": "knn", "K": config["k"], "window": _window(case)}
        channels = config["channels"]
        super().__init__(channels[0], channels[1], channels[-1], **graph, **settings)
        self.size = tuple(size)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mT.reshape(1, -1, *self.size)).flatten(2)[0].mT


def _window(case: Case) -> int | None:
    if case.config.get("candidates", "all") == "all":
        return None
    return next((case.config[name] for name in CUBES if name in case.config), 5)


def _attention(case: Case) -> _OnRows:
    channels = case.config["channels"]
    if len(channels) != 3:
        raise Refused(f"channels={channels}, other than two layers")
    return _OnRows(case, layer=_ConstantAttention, num_layers=2, mlp=False)


def _means(named: dict[str, Tensor], ours: _OnRows) -> dict[str, Tensor]:
    """Published matrices are transposed, and sums over K neighbours divided by K + 1."""
    factors = {"lin_l.weight": ours.published_factor, "lin_r.weight": 1.0}
    ends = {name: ".".join(name.split(".")[-2:]) for name in named}
    return {name: factors[end] * named[name].mT if (end := ends[name]) in factors else named[name] for name in named}


def _halves(named: dict[str, Tensor], _: Any) -> dict[str, Tensor]:
    """Published attention is one vector, for the neighbour first."""
    found = {}
    for name, value in named.items():
        layer, _, end = name.rpartition(".")
        if end == "both":
            of_source, of_target = value.flatten().chunk(2)
            found |= {f"{layer}.att_src": of_source, f"{layer}.att_dst": of_target}
        else:
            found[name] = value.mT if name.endswith("lin.weight") else value
    return found


def _adjacency(ours: _OnRows, case: Case) -> dict[str, Tensor]:
    """Return rows and columns of the published matrix in order, and its entries, which are sums of 1 / (K + 1)."""
    volume = case.tensors["x"].mT.reshape(1, -1, *ours.size)
    sources, targets = edges.from_neighbors(ours.on_map.neighbors(volume)).edge_index
    pairs, counts = torch.stack([targets, sources]).unique(dim=1, return_counts=True)
    return {"adjacency_index": pairs, "adjacency_value": counts.double() / (ours.K + 1)}


def _network(case: Case) -> GraphUNet3d:
    config = case.config
    if config["levels"] != 3 or config["padding"] != 1 or not config["adjacency"].startswith("dynamic, all"):
        raise Refused("other than three levels with padding and neighbours from everywhere")
    return GraphUNet3d(config["featmaps"], adjacency="knn", K=config["k"])


def _names(case: Case) -> dict[str, str]:
    return {name: GraphUNet3d.our_name(name) for name in case.named("param")}


ENTRIES = {
    "NodeGNN": Entry(_OnRows, inputs=("x",), names=NAMES, arrange=_means, also=_adjacency),
    "NodeGNNwithAttention": Entry(_attention, inputs=("x",), names=OF_ATTENTION, arrange=_halves, also=_adjacency),
    "UNet3DGNNPlugin": Entry(
        _network,
        names=_names,
        arrange=lambda named, ours: ours.arranged(named),
        call=lambda ours, x: ours(x).sigmoid(),
        aside=("aux.published_layout_output",),
    ),
}
