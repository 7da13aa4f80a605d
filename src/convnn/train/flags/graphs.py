"""Flags that layers on graphs read: the settings in their signatures."""

from dataclasses import dataclass

from convnn.train.flags._flag import DEEPEST, flags_of

flag = flags_of("graphs")


@dataclass(frozen=True)
class GraphLayerFlags:
    """The help of each field describes it."""

    hops: int = flag(2, "number of propagations, or degree of a polynomial of the graph", least=0, most=DEEPEST)
