"""Graphs in time: CTGCN (arXiv 2003.09902), STC-Net (arXiv 2212.04761), Hyper-GCN (arXiv
2411.14796)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from convnn.nn import graphs
from convnn.objectives.skeletons import virtual_divergence_loss
from convnn.objectives.snapshots import connective_loss
from golden.case import Case
from golden.entry import Entry, Refused
from golden.run import our_name

# CTGCN

FORMS = {"C": "connective", "S": "structural"}
ACTIVATIONS = {"L": "none", "N": "selu"}
SNAPSHOTS = ("x", "edge_time", "edge_index", "edge_weight")
Graphs = tuple[Sequence[Tensor], Sequence[Tensor]]


def _cell(case: Case) -> dict[str, Any]:
    cores = case.config.get("max_core", -1)
    return {"rnn": case.config["rnn"].lower(), "max_cores": None if cores == -1 else cores}


def _core_network(case: Case) -> dict[str, Any]:
    names = {"hidden_channels": "hidden", "linear_layers": "trans_layers", "core_layers": "diffusion_layers"}
    form = {"form": FORMS[case.config["model_type"]], "activation": ACTIVATIONS[case.config["trans_act"]]}
    return case.pick("in_channels", "out_channels", **names) | form | _cell(case)


def _by_time(snapshots: int, time: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Graphs:
    """Return the edges and the weights of each snapshot."""
    of_times = [time == t for t in range(snapshots)]
    return [edge_index[:, one] for one in of_times], [edge_weight[one] for one in of_times]


def _one_graph(ours: nn.Module, x: Tensor, *edges: Tensor) -> Mapping[str, Tensor]:
    """Call a layer or network of one graph, whose features may be those of a single snapshot."""
    y = ours(x.flatten(0, -2), *(one for (one,) in _by_time(1, *edges)))
    y, *z = y if isinstance(y, tuple) else (y,)
    return {"output.y": y.view(*x.shape[:-1], -1)} | {
        name: one for one in z for name in ("output.trans", "output.trans0")
    }


def _snapshots(ours: nn.Module, x: Tensor, *edges: Tensor) -> Mapping[str, Tensor]:
    y = ours(x, *_by_time(x.shape[0], *edges))
    y, z = y if isinstance(y, tuple) else (y, [])
    return {"output.y": y} | {f"output.trans{t}": one for t, one in enumerate(z)}


def _cores(_: nn.Module, case: Case) -> dict[str, Tensor]:
    """Return the matrices of the cores, the first with the nodes themselves, filled up with zeros."""
    nodes = case.config["num_nodes"]
    count = case.tensors["aux.core_count"].shape[0]
    edges = zip(*_by_time(count, *(case.tensors[name] for name in SNAPSHOTS[1:])), strict=True)
    of_snapshots = [graphs.k_core_adjacencies(*one, nodes, _cell(case)["max_cores"]) for one in edges]
    matrices = torch.zeros_like(case.tensors["aux.core_adjacency"])
    for t, cores in enumerate(of_snapshots):
        matrices[t, 0] = torch.eye(nodes)
        for j, (edge_index, edge_weight) in enumerate(cores):
            matrices[t, j].index_put_(tuple(edge_index), edge_weight, accumulate=True)
    return {"aux.core_adjacency": matrices, "aux.core_count": torch.tensor([len(cores) for cores in of_snapshots])}


def _core_names(case: Case) -> dict[str, str | None]:
    """Name the parts of the networks; in ours, an activation stands after each linear map."""
    names: dict[str, str | None] = {f"linears.{i}": f"{2 * i}" for i in range(case.config["trans_layers"])}
    names |= {"linear": "0", "mlp": "linear", "duffision": "cores", "diffusion_list": "layers"}
    for t in range(case.config.get("snapshots", 0)):
        names |= {f"mlp_list.{t}": f"snapshots.{t}.linear", f"duffision_list.{t}": f"snapshots.{t}.cores"}
    return names


def _walk_loss(case: Case) -> Callable[..., Tensor]:
    return lambda *draws: connective_loss(*draws, negative_weight=case.config["Q"])


# STC-Net


def _links(_: nn.Module, case: Case) -> dict[str, Tensor]:
    ahead, behind = graphs.temporal_links(case.tensors["x"])
    return {"aux.forward_link": ahead, "aux.backward_link": behind}


class _Dilated(nn.Module):
    """A dilated convolution with the dilation of the file."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.options = case.pick("dilation") | {"window": case.config.get("window", False)}
        subsets = case.tensors["adjacency"].shape[0]
        self.conv = graphs.DilatedGraphConv(**case.pick("in_channels", "out_channels"), num_subsets=subsets)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return self.conv(x, adjacency, **self.options)


def _shares(ours: _Dilated, case: Case) -> dict[str, Tensor]:
    dilated = graphs.dilate_adjacency(case.tensors["adjacency"], **ours.options)
    return {"aux.dilated_adjacency": graphs.normalize_targets(dilated)}


# Hyper-GCN

HYPER_NAMES = {
    "edge_importance": "importance",
    "hyper_joint": "virtual",
    "to_V": "to_points",
    "to_W": "to_weights",
    "conv_d": "conv",
    "bn": "norm",
    "down": "shortcut",
    "residual": "shortcut",
}


def _hyper_conv(case: Case) -> nn.Module:
    if not case.config.get("hyper", True):
        raise Refused("hyper=False: the published code raises for it")
    sizes = case.pick("in_channels", "out_channels", "k", num_virtual="num_virtual", reduction="rel_reduction")
    return graphs.AdaptiveHyperGraphConv(**sizes, adjacency=case.tensors["adjacency"])


def _after(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    """Return the running statistics, which the step has changed."""
    named, buffers = case.named("aux.after"), dict(ours.named_buffers())
    return {f"aux.after.{name}": buffers[our_name(name, HYPER_NAMES)] for name in named}


ENTRIES = {
    "CoreDiffusion": Entry(
        lambda case: graphs.CoreDiffusion(**case.pick("in_channels", "out_channels"), **_cell(case)),
        inputs=SNAPSHOTS,
        outputs=("output.y",),
        call=_one_graph,
        also=_cores,
    ),
    "CGCN": Entry(
        lambda case: graphs.CGCN(**_core_network(case)),
        inputs=SNAPSHOTS,
        outputs=("output.y",),
        names=_core_names,
        call=_one_graph,
        also=_cores,
    ),
    "CTGCN": Entry(
        lambda case: graphs.CTGCN(**_core_network(case), snapshots=case.config["snapshots"]),
        inputs=SNAPSHOTS,
        names=_core_names,
        call=_snapshots,
        also=_cores,
    ),
    "CurveConv": Entry(
        lambda case: graphs.CurveConv(**case.pick("in_channels", "out_channels", "kernel_size")),
        inputs=("x",),
        outputs=("output.y",),
        also=_links,
    ),
    "DilatedGraphConv": Entry(
        _Dilated,
        inputs=("x", "adjacency"),
        outputs=("output.y",),
        names={"weight": "conv.weight", "bias": "conv.bias"},
        also=_shares,
    ),
    "HYPERGC": Entry(_hyper_conv, inputs=("x",), outputs=("output.y",), names=HYPER_NAMES, also=_after),
    "MultiScale_TemporalConv": Entry(
        lambda case: graphs.MultiScaleTemporalConv(
            **case.pick("in_channels", "out_channels", "kernel_size", "stride", "dilations", "residual")
        ),
        inputs=("x",),
        outputs=("output.y",),
        names=HYPER_NAMES,
        also=_after,
    ),
    "DivergenceLoss": Entry(lambda _: virtual_divergence_loss, inputs=("x",), outputs=("loss",)),
    "NegativeSamplingLoss": Entry(
        _walk_loss, inputs=("x", "draw_node", "draw_positive", "draw_negative"), outputs=("loss",)
    ),
}
