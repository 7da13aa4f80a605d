"""What the layers that sum over neighbours have in common: they stand where those of PyTorch Geometric do."""

import copy

import pytest
import torch
from torch import Tensor, nn

from convnn.nn import LAYERS

geometric = pytest.importorskip("torch_geometric.nn")

from small_graphs import directed, features  # noqa: E402

NAMES = ["SGC", "LGC", "GEN", "PNA", "HGNN"]
EDGES = directed()


class Two(nn.Module):
    """A network of PyTorch Geometric."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.first, self.second = LAYERS[name].build(3, 4), LAYERS[name].build(4, 2)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.second(self.first(x, edge_index).relu(), edge_index)


@pytest.mark.parametrize("name", NAMES)
def test_networks_become_heterogeneous(name: str) -> None:
    network, x = Two(name).double().eval(), features(7, 3)
    kinds = (["node"], [("node", "one", "node"), ("node", "other", "node")])
    hetero = geometric.to_hetero(network, kinds)
    for part in ("first", "second"):
        for kind in ("one", "other"):
            getattr(hetero, part)[f"node__{kind}__node"].load_state_dict(getattr(network, part).state_dict())
    none = EDGES[:, :0]
    both = hetero({"node": x}, {("node", "one", "node"): EDGES, ("node", "other", "node"): none})["node"]
    hidden = (network.first(x, EDGES) + network.first(x, none)).relu()
    torch.testing.assert_close(both, network.second(hidden, EDGES) + network.second(hidden, none))


@pytest.mark.parametrize("name", NAMES)
def test_layers_stand_in_sequences_and_are_copied(name: str) -> None:
    layer, x = LAYERS[name].build(3, 4).double().eval(), features(7, 3)
    sequence = geometric.Sequential("x, edge_index", [(layer, "x, edge_index -> x"), nn.ReLU()])
    assert torch.equal(sequence(x, EDGES), layer(x, EDGES).relu())
    assert torch.equal(copy.deepcopy(layer)(x, EDGES), layer(x, EDGES))
    assert str(layer).startswith(f"{type(layer).__name__}(3, 4")


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_nodes_and_edges_changes_nothing(name: str) -> None:
    layer, x = LAYERS[name].build(3, 4).double().eval(), features(7, 3)
    permuted, shuffled = torch.randperm(7), torch.randperm(EDGES.shape[1])
    places = permuted.argsort()
    moved = torch.stack([places[EDGES[0]], EDGES[1] if name == "HGNN" else places[EDGES[1]]])  # or hyperedges
    torch.testing.assert_close(layer(x[permuted], moved[:, shuffled]), layer(x, EDGES)[permuted], rtol=0, atol=1e-13)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_layers_compile_as_one_graph(name: str) -> None:
    layer, x = LAYERS[name].build(3, 4).double(), features(7, 3)
    compiled = torch.compile(copy.deepcopy(layer), backend="aot_eager", fullgraph=True)
    outs = [one(x, EDGES) for one in (compiled, layer)]
    torch.testing.assert_close(*outs, rtol=0, atol=1e-13)
    grads = [
        torch.autograd.grad(out.sum(), list(one.parameters())) for out, one in zip(outs, (compiled, layer), strict=True)
    ]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
