"""Flags that layers on graphs read: the settings in their signatures."""

from dataclasses import dataclass

from convnn.train.flags._flag import DEEPEST, WIDEST, flags_of

flag = flags_of("graphs")


@dataclass(frozen=True)
class GraphLayerFlags:
    """The help of each field describes it."""

    hops: int = flag(2, "number of propagations, or degree of a polynomial of the graph", least=0, most=DEEPEST)
    hidden_channels: int | None = flag(
        None, "channels of the messages of SIRGCN and SINCGCN; None: those of the output", least=1, most=WIDEST
    )
    aggr: str = flag("sum", "how messages are put together, such as sum, mean, max, sym: by degrees")
    context_aggr: str = flag("sum", "how SINCGCN puts together the neighbourhood that messages see: as --aggr")
    heads: int = flag(4, "number of heads of attention on graphs, each of --head_channels", least=1, most=WIDEST)
    probe: float = flag(
        1.0, "how much a category of CatGCN counts beside the others: more is less interaction", least=0.0
    )
    balance: float = flag(
        0.5, "share of CatGCN's global part, 0 to 1; the rest are products of pairs", least=0.0, most=1.0
    )
