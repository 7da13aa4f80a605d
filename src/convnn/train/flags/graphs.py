"""Flags that networks and layers on graphs read: the settings in their signatures."""

from dataclasses import dataclass

from convnn.models import HIDDEN_ACTIVATIONS, NODE_NORMS, READOUTS, RESIDUALS
from convnn.nn.graphs.chebyshev import DAMPINGS, HOMOPHILIES
from convnn.nn.graphs.holomorphic import HOLO_BASES, POWER_DAMPINGS
from convnn.nn.graphs.pair_bases import SUPPORTS
from convnn.nn.graphs.polar import ORTHONORMAL
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
    damping: str = flag("jackson", "how the terms of ChebGibbs are damped against oscillations", DAMPINGS)
    homophily: str = flag("auto", "whether neighbours are alike, the sign of ChebGibbs's filter", HOMOPHILIES)
    out_weight: float = flag(0.5, "weight of out-neighbours in Holo; in-neighbours have the rest", least=0.0, most=1.0)
    degree_exponent: float = flag(-0.25, "power of the degrees in Holo, negative")
    power_damping: str = flag("exp", "how the powers of the graph are damped in Holo", POWER_DAMPINGS)
    zero_order: bool = flag(False, "Holo begins with the features themselves")
    holo_basis: str = flag(
        "powers", "whose powers Holo learns a polynomial of: the graph's or its resolvent's", HOLO_BASES
    )
    orthonormal: str = flag("bjorck", "how GCORN makes a weight orthonormal", ORTHONORMAL)
    bjorck_order: int = flag(2, "order of the iteration that does", least=1, most=3)
    bjorck_steps: int = flag(25, "number of its steps", least=1, most=DEEPEST)
    exponents: str = flag("-0.3,-0.35,-0.4", "powers of the degrees in PDF's matrices, separated by commas")
    support: str = flag("sparse", "which pairs of nodes PDF's filter connects: near ones or all", SUPPORTS)
    support_hops: int = flag(1, "number of edges between near ones", least=1, most=DEEPEST)
    normalize_bases: bool = flag(False, "standardise PDF's bases over the pairs")
    linear_filter: bool = flag(False, "PDF's filter is linear instead of an MLP")
    shared_filter: bool = flag(False, "PDF has one filter for all channels")
    edge_softmax: bool = flag(True, "scale PDF's filter to the sum 1 over the neighbours of a node")
