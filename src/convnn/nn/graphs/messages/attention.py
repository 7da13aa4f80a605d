"""Attention over the edges of a graph."""

from typing import NamedTuple

from torch import Tensor, nn
from torch_geometric.nn import TransformerConv
from torch_geometric.utils import add_self_loops, remove_self_loops

from convnn.errors import check_at_least
from convnn.nn.graphs._checks import check_graph


class Enhanced(NamedTuple):
    """What `GKEDM.enhance` returns.

    Attributes:
        logits: (N, C'), the output of the layer.
        enhanced: (N, H d), the features that it maps to them.
        edges: (2, E'), the edges that have a weight: those given without self-loops, then one for each node.
        weights: (E', H), the weight of each of them, which add up to 1 over the edges into a node.
    """

    logits: Tensor
    enhanced: Tensor
    edges: Tensor
    weights: Tensor


class GKEDM(nn.Module):
    r"""Attention over the neighbours, on top of a graph network whose classifier it replaces.

    .. math:: a_{ij} = \operatorname{softmax}_{j \in N(i)} \langle q_i, k_j \rangle / \sqrt d, \qquad
        z_i = \big\Vert_{h = 1}^{H} \sum_{j \in N(i)} a_{ij} v_j + W_s x_i + b_s, \qquad y_i = W_o z_i + b_o

    with q, k and v linear in x with a bias, N(i) the neighbours of i and i itself, once, whatever self-loops are given,
    and a softmax for each of H heads of d channels. z is what `TransformerConv` of PyTorch Geometric computes. The
    weights of a large network teach those of a small one by `convnn.objectives.attention_distillation`.

    Args:
        in_channels: C, of the network's features.
        out_channels: C', number of classes.
        heads: H.
        head_channels: d.

    Shapes:
        x (N, C); edge_index (2, E); output (N, C').

    Raises:
        InputError: an argument is less than 1; in forward: x or edge_index has another shape or type, or an edge names
            a node that is not there.

    Reference:
        Wu, "Graph Knowledge Enhancement and Distillation Module", arXiv 2403.15419. Its code is not public; the skip,
        the self-loop, and the absence of normalisation are assumptions.

    Example:
        >>> import torch
        >>> from convnn.nn.graphs import GKEDM
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> GKEDM(8, 3)(torch.randn(3, 8), edge_index).shape
        torch.Size([3, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, *, heads: int = 4, head_channels: int = 8) -> None:
        super().__init__()
        sizes = {"in_channels": in_channels, "out_channels": out_channels, "heads": heads}
        for name, size in (sizes | {"head_channels": head_channels}).items():
            check_at_least(name, size, 1)
        self.in_channels, self.out_channels = in_channels, out_channels
        self.attention = TransformerConv(in_channels, head_channels, heads=heads)
        self.classifier = nn.Linear(heads * head_channels, out_channels)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Map features (N, C) to (N, C')."""
        return self.enhance(x, edge_index).logits

    def enhance(self, x: Tensor, edge_index: Tensor) -> Enhanced:
        """Return the output with the features that it is made of, and the weights of the edges."""
        check_graph(x, edge_index, self.in_channels)
        edges, _ = add_self_loops(remove_self_loops(edge_index)[0], num_nodes=x.shape[0])
        enhanced, (_, weights) = self.attention(x, edges, return_attention_weights=True)
        return Enhanced(self.classifier(enhanced), enhanced, edges, weights)
