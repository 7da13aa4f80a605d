"""Flags that networks and layers on graphs read: the settings in their signatures."""

from dataclasses import dataclass

from convnn.models import HIDDEN_ACTIVATIONS, NODE_NORMS, READOUTS, RESIDUALS
from convnn.train.flags._flag import DEEPEST, flags_of

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
