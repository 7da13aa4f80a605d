"""Facts of what reads graphs in time: snapshots, and skeletons. None of it has a `--layer`."""

from functools import partial

from convnn.nn.graphs import _family  # noqa: F401
from convnn.nn.graphs._deferred import DeferredPlain
from convnn.systems import PUBLISHED, System, register_system

_fact = partial(System, family="graphs")

_CELL = {"rnn": "gru", "max_cores": None}
_NETWORK = {
    "hidden_channels": 500,
    "form": "connective",
    "linear_layers": 1,
    "core_layers": 2,
    "activation": "none",
    **_CELL,
    "bias": True,
}
DeferredPlain("temporal.cores", "k_core_adjacencies", max_cores=None)
DeferredPlain("temporal.cores", "CoreDiffusion", **_CELL, bias=True)
DeferredPlain("temporal.snapshots", "CoreStack", num_layers=1, **_CELL)
DeferredPlain("temporal.snapshots", "CGCN", **_NETWORK)
DeferredPlain("temporal.snapshots", "CTGCN", **_NETWORK)
register_system(
    _fact(
        number=5,
        name="CTGCN: k-cores and snapshots in order",
        selects="the neighbours within each k-core, from the densest to the whole graph",
        weighs="by the weights of the edges",
        aggregates="a sum for each core, a recurrent network over the cores, and another over the snapshots",
        paper="arXiv 2003.09902",
        checked=f"{PUBLISHED}, of layer, networks and loss; loops with cells of torch; GINConv of PyTorch Geometric",
        where="convnn.nn.graphs.CoreDiffusion convnn.nn.graphs.CTGCN convnn.nn.graphs.CGCN"
        " convnn.nn.graphs.k_core_adjacencies convnn.objectives.snapshots.connective_loss",
    )
)
