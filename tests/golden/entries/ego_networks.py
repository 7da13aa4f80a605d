"""Subgraph permutation equivariant networks (arXiv 2111.11840): maps, layers and the network up to its head."""

from collections.abc import Mapping

from torch import Tensor, nn

from convnn.nn import graphs
from golden.case import Case
from golden.entry import Entry

MAPS = ((2, 2), (2, 1), (1, 2), (1, 1), (2, 0), (1, 0))
NAMES = {f"eqblock_p{a}p{b}": f"maps.{a}_to_{b}" for a, b in MAPS}
NAMES |= {"gnp2": "norms.2", "gnp1": "norms.1", "all_bias": "bias", "l": "layers"}


def _maps(case: Case) -> nn.Module:
    widths = case.config["in_channels"], case.config["out_channels"]
    return nn.ModuleDict({f"{a}_to_{b}": graphs.EquivariantMap(a, b, *widths) for a, b in MAPS})


def _call_maps(ours: nn.ModuleDict, *inputs: Tensor) -> dict[str, Tensor]:
    order = dict(zip((2, 1), inputs, strict=True))
    return {f"output.{a}_to_{b}": ours[f"{a}_to_{b}"](order[a]) for a, b in MAPS}


def _sets(case: Case) -> dict[int, int]:
    return {int(size): int(name) for size, name in case.config["size_to_weights"].items()}


class _Layer(nn.Module):
    """The layer on features of edges, as the published code calls it."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        forms, widths = (case.config[name] for name in ("rep_in", "rep_out")), ("in_channels", "out_channels")
        channels = (case.config[name] for name in widths)
        self.conv = graphs.SubgraphEquivariantConv(*channels, *forms, sizes=_sets(case))
        self.hops = case.config["hops"]

    def forward(self, edge_index: Tensor, T2: Tensor, T1: Tensor | None, batch: Tensor) -> Mapping[str, Tensor]:
        egos = graphs.EgoNetworks.of_graph(edge_index, len(batch), self.hops)
        out = self.conv(egos, egos.place(T2, edge_index), T1, batch)
        if len(out) == 1:
            return dict.fromkeys(("output.T0", "output.O0", "output"), out[0])
        return {"output.T2": out[0], "output.T1": out[1], "aux.out_edge_index": egos.pairs}


def _network(case: Case) -> nn.Module:
    hidden, labels = case.config["hidden"], case.config["in_channels"] - 1
    ours = graphs.SPEN(labels, 2, hidden=hidden, num_layers=3, hops=case.config["hops"], sizes=_sets(case))
    ours.head = nn.Identity()  # the file ends before it
    return ours


def _pooled(ours: nn.Module, edge_index: Tensor, T2: Tensor, batch: Tensor) -> Tensor:
    egos = graphs.EgoNetworks.of_graph(edge_index, len(batch), ours.hops)
    return ours.pooled(egos, egos.place(T2, edge_index), batch)


ENTRIES = {
    "equivariant_maps": Entry(_maps, inputs=("T2", "T1"), names={"all_bias": "bias"}, call=_call_maps),
    "eq_gconv": Entry(
        _Layer,
        inputs=("edge_index", "T2", "T1", "batch"),
        names={theirs: f"conv.{ours}" if "." in ours else ours for theirs, ours in NAMES.items()},
    ),
    "SPEN": Entry(
        _network,
        inputs=("edge_index", "T2", "batch"),
        outputs=("output.pooled",),
        names=NAMES,
        call=_pooled,
    ),
}
