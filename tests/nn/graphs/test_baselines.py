"""GCN, SAGE, GAT and GIN against their equations, with dense matrices."""

import torch
from torch import Tensor

from convnn.nn import layer_factory

N, C, D = 6, 4, 6


def _case() -> tuple[Tensor, Tensor, Tensor]:
    """Return features, edges without loops, and the adjacency (target, source)."""
    torch.manual_seed(0)
    adjacency = (torch.rand(N, N, dtype=torch.float64) < 0.4).double().fill_diagonal_(0)
    adjacency[2] = 0  # a node without incoming edges
    target, source = adjacency.nonzero().T
    return torch.randn(N, C, dtype=torch.float64), torch.stack([source, target]), adjacency


def test_gcn_sums_by_the_degrees() -> None:
    x, edges, adjacency = _case()
    layer = layer_factory("GCN")(C, D).double()
    looped = adjacency + torch.eye(N)
    root = looped.sum(1).rsqrt()
    expected = (root[:, None] * looped * root) @ x @ layer.lin.weight.T + layer.bias
    torch.testing.assert_close(layer(x, edges), expected)


def test_sage_maps_the_node_and_the_mean_apart() -> None:
    x, edges, adjacency = _case()
    layer = layer_factory("SAGE")(C, D).double()
    mean = adjacency @ x / adjacency.sum(1, keepdim=True).clamp(min=1)
    torch.testing.assert_close(layer(x, edges), layer.lin_l(mean) + layer.lin_r(x))


def test_gin_sums_the_node_and_its_neighbours() -> None:
    x, edges, adjacency = _case()
    layer = layer_factory("GIN")(C, D).double()
    torch.testing.assert_close(layer(x, edges), layer.nn(x + adjacency @ x))


def test_gat_weighs_by_a_softmax() -> None:
    x, edges, adjacency = _case()
    for heads, channels in ((2, 3), (4, 6)):  # the channels are shared, or, where that is not possible, averaged
        layer = layer_factory("GAT", attention_heads=heads)(C, D).double()
        values = (x @ layer.lin.weight.T).unflatten(1, (heads, channels))
        there, here = ((values * a).sum(-1) for a in (layer.att_src, layer.att_dst))
        scores = torch.nn.functional.leaky_relu(here[:, None] + there[None], 0.2)
        weights = scores.masked_fill((adjacency + torch.eye(N) == 0)[..., None], -torch.inf).softmax(1)
        each = torch.einsum("ijh,jhc->ihc", weights, values)
        expected = (each.flatten(1) if heads == 2 else each.mean(1)) + layer.bias
        torch.testing.assert_close(layer(x, edges), expected)
