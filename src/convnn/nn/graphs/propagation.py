"""Linear propagation over a graph: nodes take the weighted mean of their neighbours, several times."""

from torch_geometric.nn import SGConv


class SGC(SGConv):
    """Simple graph convolution, as PyTorch Geometric has it."""

    def __init__(self, in_channels: int, out_channels: int, *, hops: int = 2, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, K=hops, bias=bias)
