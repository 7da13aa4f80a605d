"""The layers that others on a graph are compared with, as PyTorch Geometric has them."""

from torch import nn
from torch_geometric.nn import GATConv, GCNConv, GINConv, SAGEConv


class GCN(GCNConv):
    r"""Graph convolution: a linear map, then the sum of the neighbours by the degrees.

    .. math:: Y = D^{-1/2} (A + I) D^{-1/2} X W + b

    Reference:
        Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", arXiv 1609.02907,
        equation 2.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, bias=bias)


class SAGE(SAGEConv):
    r"""A linear map of each node, and another of the mean of its neighbours.

    .. math:: y_i = W_1 x_i + W_2 \operatorname{mean}_{j \to i} x_j + b

    Reference:
        Hamilton, Ying and Leskovec, "Inductive Representation Learning on Large Graphs", arXiv 1706.02216.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, bias=bias)


class GAT(GATConv):
    r"""Graph attention: neighbours weighted by a softmax of additive scores, with a self-loop.

    .. math:: y_i = \sum_{j \to i} \operatorname{softmax}_j(\operatorname{LeakyReLU}(a^\top [W x_i, W x_j])) W x_j + b

    The heads share the output channels; where their number does not divide them, as in a last layer, every head has all
    of them, and the output is their mean.

    Args:
        in_channels: channels of each node.
        out_channels: channels of the output.
        attention_heads: number of heads, at least 1.
        bias: learn b.

    Reference:
        Velickovic et al., "Graph Attention Networks", arXiv 1710.10903, equations 3 to 6.
    """

    def __init__(self, in_channels: int, out_channels: int, *, attention_heads: int = 1, bias: bool = True) -> None:
        shares = out_channels % attention_heads == 0
        channels = out_channels // attention_heads if shares else out_channels
        super().__init__(in_channels, channels, heads=attention_heads, concat=shares, bias=bias)


class GIN(GINConv):
    r"""Graph isomorphism network: two linear maps, with ReLU between, of the sum of a node and its neighbours.

    .. math:: y_i = W_2 \operatorname{ReLU}(W_1 (x_i + \sum_{j \to i} x_j) + b_1) + b_2

    Reference:
        Xu et al., "How Powerful are Graph Neural Networks?", arXiv 1810.00826, equation 4.1, with epsilon 0.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        first, second = (nn.Linear(channels, out_channels, bias) for channels in (in_channels, out_channels))
        super().__init__(nn.Sequential(first, nn.ReLU(), second))
        self.in_channels = in_channels
        self.out_channels = out_channels
