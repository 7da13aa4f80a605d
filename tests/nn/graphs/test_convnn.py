"""ConvNN on given graphs against loops; on the graphs of maps it is in test_on_maps.py."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.nn.graphs import GraphConvNN, GraphConvNNAttn

EDGES = torch.tensor([[4, 0, 0, 2, 1, 0, 3, 3], [1, 1, 3, 1, 1, 0, 3, 3]])
"""Node 1 has more than three neighbours, 2 and 4 have none, 3 has one twice, 0 and 3 have themselves."""


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def results(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    out = function(*inputs)
    return [out, *torch.autograd.grad(out, inputs, rows(*out.shape, seed=9))]


def test_the_kernel_runs_over_the_first_edges_of_each_node() -> None:
    layer, x, weight = GraphConvNN(4, 6, K=3).double(), rows(5, 4).requires_grad_(), rows(8).requires_grad_()

    def in_loops(x: Tensor, weight: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        out = []
        for node in range(5):
            chosen = (EDGES[1] == node).nonzero().flatten()[:3]
            parts = [kernel[:, :, slot] @ x[EDGES[0, e]] * weight[e] for slot, e in enumerate(chosen)]
            out.append(bias + sum(parts))
        return torch.stack(out)

    def ours(x: Tensor, weight: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        given = {"weight": kernel, "bias": bias}
        return torch.func.functional_call(layer, given, (x, EDGES, weight))

    parameters = [one.detach().clone().requires_grad_() for one in (layer.weight, layer.bias)]
    torch.testing.assert_close(results(ours, x, weight, *parameters), results(in_loops, x, weight, *parameters))
    torch.testing.assert_close(layer(x, EDGES), layer(x, EDGES, torch.ones(8).double()))


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_attention_weighs_the_first_edges_of_each_node(metric: str) -> None:
    layer, x = GraphConvNNAttn(4, 6, K=3, metric=metric).double().eval(), rows(5, 4).requires_grad_()
    nn.init.normal_(layer.weight)

    def score(one: Tensor, other: Tensor) -> Tensor:
        return torch.cosine_similarity(one, other, dim=0) if metric == "cosine" else -(one - other).square().sum()

    def in_loops(x: Tensor) -> Tensor:
        out = []
        for node in range(5):
            sources = EDGES[0, EDGES[1] == node][:3].tolist()
            own = x.new_tensor(1.1 if metric == "cosine" else 0.1)
            scores = [own if j == node else score(layer.key(x[node]), layer.query(x[j])) for j in sources]
            shares = torch.stack(scores).softmax(0) if sources else x.new_zeros(0)
            parts = [layer.weight[:, 0, k] * shares[k] * layer.value(x[j]) for k, j in enumerate(sources)]
            out.append(layer.output(layer.pointwise(layer.bias + sum(parts))))
        return torch.stack(out)

    torch.testing.assert_close(results(lambda x: layer(x, EDGES), x), results(in_loops, x))


@pytest.mark.parametrize(
    "layer", [GraphConvNN(4, 6, K=2), GraphConvNNAttn(4, 6, K=2)], ids=["convolution", "attention"]
)
def test_graphs_of_two_kinds_of_nodes_and_without_edges(layer: nn.Module) -> None:
    layer = layer.double().eval()
    sources, targets = rows(5, 4), rows(3, 4, seed=1)
    edge_index = torch.tensor([[4, 0, 1, 2], [1, 1, 0, 2]])
    joined = torch.cat([targets, sources])
    shifted = edge_index + torch.tensor([[3], [0]])
    torch.testing.assert_close(layer((sources, targets), edge_index), layer(joined, shifted)[:3])
    nothing = layer(sources, torch.zeros(2, 0, dtype=torch.long))
    torch.testing.assert_close(nothing, nothing[:1].expand(5, 6))
    assert layer(rows(0, 4), torch.zeros(2, 0, dtype=torch.long)).shape == (0, 6)


def test_they_stand_in_a_sequential_of_torch_geometric() -> None:
    pyg = pytest.importorskip("torch_geometric.nn")
    torch.manual_seed(0)
    attention = GraphConvNNAttn(6, 2, K=3, attention_dropout=0.0)
    network = pyg.Sequential(
        "x, edge_index",
        [(GraphConvNN(4, 6, K=3), "x, edge_index -> x"), nn.ReLU(), (attention, "x, edge_index -> x")],
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    x, labels, losses = rows(5, 4).float(), torch.tensor([0, 1, 0, 1, 1]), []
    edge_index = torch.cat([torch.arange(5).expand(2, 5), EDGES.flip(0)], dim=1)
    for _ in range(60):
        loss = nn.functional.cross_entropy(network(x, edge_index), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "K": (lambda: GraphConvNN(4, 6, K=0), "^K=0 must be an integer of at least 1$"),
    "groups": (lambda: GraphConvNN(4, 6, groups=4), "^groups=4 must divide the 4 and 6 channels"),
    "metric": (lambda: GraphConvNNAttn(4, 6, metric="matmul"), "^metric='matmul' is not one of cosine, euclidean"),
    "x": (
        lambda: GraphConvNN(4, 6)(torch.ones(5, 3), EDGES),
        r"^x of shape \(5, 3\) and torch.float32 must be floating",
    ),
    "edge": (lambda: GraphConvNN(4, 6)(torch.ones(4, 4), EDGES), "^edge_index has sources from 0 to 4; they must lie"),
    "weight": (lambda: GraphConvNN(4, 6)(torch.ones(5, 4), EDGES, torch.ones(3)), r"must be floating and \(8,\), one"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name: str) -> None:
    call, message = BAD[name]
    with pytest.raises(InputError, match=message):
        call()
