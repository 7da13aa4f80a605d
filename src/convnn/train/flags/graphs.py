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
    aggr: str = flag("softmax", "how messages are aggregated, such as softmax, power, add, mean or max")
    t: float = flag(1.0, "inverse temperature of the softmax over messages", least=0.0)
    learn_t: bool = flag(False, "learn it")
    p: float = flag(1.0, "power of the power mean of messages", above=0.0)
    learn_p: bool = flag(False, "learn it")
    learn_y: bool = flag(False, "learn the exponent of the degree in softmax_sum and power_sum, at first a half")
    msg_norm: bool = flag(False, "scale messages to the length of the node's features")
    learn_msg_scale: bool = flag(True, "learn a factor of that length")
    aggregators: str = flag("mean,max,min,std", "statistics of PNA, separated by commas; also sum and var")
    scalers: str = flag(
        "identity,amplification,attenuation", "functions of the degree that scale them; also linear and inverse_linear"
    )
    towers: int = flag(1, "number of maps side by side in PNA", least=1, most=WIDEST)
    pre_layers: int = flag(1, "number of linear layers before PNA's statistics", least=1, most=DEEPEST)
    post_layers: int = flag(1, "number of linear layers after them", least=1, most=DEEPEST)
    divide_input: bool = flag(False, "divide the channels among the towers of PNA")
