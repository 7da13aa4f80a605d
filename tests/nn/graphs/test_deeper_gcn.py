"""DeeperGCN against its equations, and against the layer of PyTorch Geometric."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.errors import InputError, UnsupportedError

geometric = pytest.importorskip("torch_geometric.nn")

from convnn.nn import graphs  # noqa: E402
from small_graphs import directed, features, undirected  # noqa: E402

EDGES = directed(7, 20)


def network(block: str, **settings) -> graphs.DeeperGCN:
    torch.manual_seed(0)
    return graphs.DeeperGCN(3, 5, hidden_channels=4, num_layers=4, block=block, **settings).double()


@pytest.mark.parametrize("block", ["res+", "res", "plain"])
def test_ours_is_written_out(block: str) -> None:
    """In training without dropout, so that every normalisation matters; in evaluation in the golden files."""
    ours, x = network(block, dropout=0.0), features(7, 3)
    g = [one for one in ours.modules() if isinstance(one, graphs.GENConv)]
    n = [one for one in ours.modules() if isinstance(one, torch.nn.BatchNorm1d)]
    h = ours.encode(x)
    if block == "res+":
        h = g[0](h, EDGES)
        for layer, norm in zip(g[1:], n[:-1], strict=True):
            h = h + layer(norm(h).relu(), EDGES)
        h = n[-1](h).relu()
    else:
        h = n[0](g[0](h, EDGES)).relu()
        for layer, norm in zip(g[1:], n[1:], strict=True):
            h = norm(layer(h, EDGES)).relu() + (h if block == "res" else 0)
    torch.testing.assert_close(ours(x, EDGES), ours.classify(h), rtol=0, atol=1e-13)


def test_residual_before_activation_is_that_of_torch_geometric() -> None:
    conv = graphs.GENConv(4, 4, mlp_layers=1).double()
    norm, h = torch.nn.BatchNorm1d(4).double().eval(), features(7, 4)
    theirs = geometric.DeepGCNLayer(conv, norm, torch.nn.ReLU(), block="res+")
    torch.testing.assert_close(theirs(h, EDGES), h + conv(norm(h).relu(), EDGES), rtol=0, atol=0)


def test_dropout_follows_every_activation() -> None:
    ours, x = network("res+", dropout=1.0), features(7, 3)
    torch.testing.assert_close(ours(x, EDGES), ours.classify.bias.expand(7, 5))
    assert not torch.equal(ours.eval()(x, EDGES), ours.classify.bias.expand(7, 5))


def test_other_layers_read_what_they_read() -> None:
    x, weights = features(7, 3), torch.rand(20, dtype=torch.double)
    ours = network("res+", layer=partial(graphs.SGC, hops=1))
    assert ours.eval()(x, EDGES, weights).shape == (7, 5)
    assert not torch.equal(ours(x, EDGES, weights), ours(x, EDGES))
    with_edges = network("res", layer=partial(graphs.GENConv, edge_dim=2, mlp_layers=1)).eval()
    assert with_edges(x, EDGES, features(20, 2)).shape == (7, 5)
    assert network("plain", norm="layer").eval()(x[:1], EDGES[:, :0]).shape == (1, 5)


@pytest.mark.slow
def test_sixteen_layers_train_with_residuals_alone() -> None:
    labels = torch.arange(60) % 3
    x = F.one_hot(labels, 8).float() + torch.randn(60, 8)
    edges = undirected(60, 120)
    edges = edges[:, (labels[edges[0]] == labels[edges[1]]) | (torch.rand(240) < 0.1)]

    def loss_of(block: str) -> float:
        torch.manual_seed(0)
        ours = graphs.DeeperGCN(8, 3, hidden_channels=16, num_layers=16, block=block, dropout=0.0)
        optimizer = torch.optim.Adam(ours.parameters(), 0.01)
        for _ in range(25):
            loss: Tensor = F.cross_entropy(ours(x, edges), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return loss.item()

    assert loss_of("res+") < 0.3 < loss_of("plain")


def test_bad_input() -> None:
    with pytest.raises(UnsupportedError, match=r"^block='dense' was never published; choose 'res\+'"):
        network("dense")
    with pytest.raises(InputError, match=r"^block='rez' is not one of res\+, res"):
        network("rez")
    with pytest.raises(InputError, match=r"^norm='no' is not one of batch"):
        network("res", norm="no")
    with pytest.raises(InputError, match=r"^num_layers=0 must be an integer of at least 1$"):
        graphs.DeeperGCN(3, 5, num_layers=0)
    with pytest.raises(InputError, match=r"^dropout=1\.5 must lie between 0 and 1$"):
        network("res", dropout=1.5)
