"""Graph convolutions with an activation after each, whose output is an embedding rather than logits."""

from itertools import pairwise

from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from convnn.errors import check_at_least, check_choice
from convnn.nn.graphs._checks import check_features

ACTIVATIONS = {"prelu": nn.PReLU, "relu": nn.ReLU, "elu": nn.ELU, "rrelu": nn.RReLU}


class GCNEncoder(nn.Module):
    r"""Layers of GCN, with one activation after every one of them.

    .. math:: h_0 = x, \quad h_{l+1} = \sigma(\mathrm{GCN}_l(h_l))

    or with `skip` :math:`h_1 = \sigma(\mathrm{GCN}_0(x))`, :math:`h_{l+1} = \sigma(\mathrm{GCN}_l(W x + b + \sum_{k \le
    l} h_k))`. The widths are 2h, ..., 2h, h, and with `skip` all h.

    Args:
        in_channels: number of input channels.
        hidden: h, number of output channels.
        num_layers: number of layers, at least 2.
        act: "prelu", of one learned slope for all layers, "relu", "elu" or "rrelu".
        skip: whether each layer reads the sum of all before it.

    Shapes:
        x (N, C_in), edge_index (2, E), edge_weight (E,) or None; output (N, hidden).

    Raises:
        InputError: there are fewer than 2 layers, the activation is unknown, or shapes do not agree.

    Reference:
        The encoder of arXiv 2305.04658 (CSGCL), after those of GRACE and BGRL; `torch_geometric.nn.GCNConv`.
    """

    def __init__(
        self, in_channels: int, hidden: int = 256, num_layers: int = 2, *, act: str = "prelu", skip: bool = False
    ) -> None:
        super().__init__()
        check_at_least("num_layers", num_layers, 2)
        check_choice("act", act, ACTIVATIONS)
        widths = [in_channels, *[hidden if skip else 2 * hidden] * (num_layers - 1), hidden]
        self.in_channels = in_channels
        self.convs = nn.ModuleList(GCNConv(a, b) for a, b in pairwise(widths))
        self.act = ACTIVATIONS[act]()
        self.skip = nn.Linear(in_channels, hidden) if skip else None

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Map (N, C_in) to (N, hidden)."""
        check_features(x, self.in_channels)
        h = self.act(self.convs[0](x, edge_index, edge_weight))
        total = None if self.skip is None else self.skip(x)
        for conv in self.convs[1:]:
            total = None if total is None else total + h
            h = self.act(conv(h if total is None else total, edge_index, edge_weight))
        return h
