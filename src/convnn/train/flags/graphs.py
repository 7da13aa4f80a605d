"""Flags that networks and layers on graphs read: the settings in their signatures."""

from dataclasses import dataclass

from convnn.models import HIDDEN_ACTIVATIONS, NODE_NORMS, READOUTS, RESIDUALS
from convnn.train.flags._flag import DEEPEST, WIDEST, flags_of

flag = flags_of("graphs")


@dataclass(frozen=True)
class GraphLayerFlags:
    """The help of each field describes it."""

    hidden_activation: str = flag("relu", "activation between the layers of gnn", tuple(HIDDEN_ACTIVATIONS))
    node_norm: str = flag("none", "normalisation before it", tuple(NODE_NORMS))
    residual: str = flag(
        "none", "what the layers of gnn add to: nothing, their input, or (res+) with the norm first", RESIDUALS
    )
    linear_head: bool = flag(False, "end gnn in a linear map, after as many layers")
    readout: str = flag("mean", "how gnn pools the nodes of each graph", READOUTS)
    hops: int = flag(2, "number of propagations, or degree of a polynomial of the graph", least=0, most=DEEPEST)
    hidden_channels: int | None = flag(
        None, "channels of the messages of SIRGCN and SINCGCN; None: those of the output", least=1, most=WIDEST
    )
    aggr: str = flag("sum", "how messages are put together, such as sum, mean, max, sym: by degrees")
    context_aggr: str = flag("sum", "how SINCGCN puts together the neighbourhood that messages see: as --aggr")
    heads: int = flag(4, "number of heads of GKEDM, each of --head_channels", least=1, most=WIDEST)
    probe: float = flag(
        1.0, "how much a category of CatGCN counts beside the others: more is less interaction", least=0.0
    )
    balance: float = flag(
        0.5, "share of CatGCN's global part, 0 to 1; the rest are products of pairs", least=0.0, most=1.0
    )
