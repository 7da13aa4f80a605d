"""CatGCN: loops over categories and pairs, the layers of PyTorch Geometric that it is made of, and its limits."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

geometric = pytest.importorskip("torch_geometric.nn")

from convnn.errors import InputError  # noqa: E402
from convnn.nn import graphs  # noqa: E402
from small_graphs import directed, undirected  # noqa: E402

EXACT = {"rtol": 0, "atol": 1e-12}
CATEGORIES = torch.tensor([[0, 1, 2], [3, 3, 5], [4, 0, 4], [5, 2, 1], [6, 6, 6], [2, 0, 1], [1, 5, 3]])


def encoder(**settings: Any) -> nn.Module:
    torch.manual_seed(0)
    layer = graphs.CategoricalEncoder(7, 3, **{"latent_channels": 4, "dropout": 0.0} | settings).double()
    nn.init.normal_(layer.bias)
    return layer


def parts(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the global and the local part by loops over nodes, categories and pairs."""
    of_global, of_local = [], []
    for ids in x.tolist():
        rows = [layer.embedding.weight[one] for one in ids]
        n = len(rows)
        mixed = [
            F.relu((sum(rows) + layer.probe * row) / (n + layer.probe) @ layer.weight + layer.bias) for row in rows
        ]
        of_global.append(sum(mixed) / n)
        pairs = (rows[i] * rows[j] for i in range(n) for j in range(i))
        of_local.append(sum(pairs, torch.zeros(4, dtype=torch.float64)))
    return torch.stack(of_global), torch.stack(of_local)


def both(layer: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the heads of the layer read."""
    seen = []
    hooks = [
        head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for head in (layer.global_head, layer.local_head)
    ]
    layer(x)
    for hook in hooks:
        hook.remove()
    return tuple(seen)


@pytest.mark.parametrize("probe", [0.0, 1.0, 39.0])
@pytest.mark.parametrize("columns", [1, 3])
def test_it_is_what_loops_compute(probe: float, columns: int) -> None:
    layer, x = encoder(probe=probe, balance=0.3, global_hidden=(5,), local_hidden=(4, 6)), CATEGORIES[:, :columns]
    of_global, of_local = parts(layer, x)
    torch.testing.assert_close(both(layer, x), (of_global, of_local), **EXACT)
    expected = 0.3 * layer.global_head(of_global) + 0.7 * layer.local_head(of_local)
    upstream = torch.randn(7, 3, dtype=torch.float64)
    results = ((y, *torch.autograd.grad(y, list(layer.parameters()), upstream)) for y in (layer(x), expected))
    torch.testing.assert_close(*results, **EXACT)


def test_the_global_part_is_gcn_on_the_complete_graph_of_the_categories() -> None:
    layer, n, probe = encoder(probe=2.0), 3, 2.0
    conv = geometric.GCNConv(4, 4, bias=False, add_self_loops=False).double()
    with torch.no_grad():
        conv.lin.weight.copy_(layer.weight.T)
    everybody = torch.cartesian_prod(torch.arange(n), torch.arange(n)).T
    weights = 1 + probe * (everybody[0] == everybody[1]).double()
    rows = [F.relu(conv(layer.embedding(ids), everybody, weights) + layer.bias).mean(0) for ids in CATEGORIES]
    torch.testing.assert_close(both(layer, CATEGORIES)[0], torch.stack(rows), **EXACT)


def test_the_probe_goes_from_full_interaction_to_none() -> None:
    layer = encoder(probe=0.0)
    embedded = layer.embedding(CATEGORIES)
    same = F.relu(embedded.mean(1) @ layer.weight + layer.bias)
    torch.testing.assert_close(both(layer, CATEGORIES)[0], same, **EXACT)
    layer = encoder(probe=1e12)
    alone = F.relu(embedded @ layer.weight + layer.bias).mean(1)
    torch.testing.assert_close(both(layer, CATEGORIES)[0], alone, rtol=0, atol=1e-10)


@pytest.mark.parametrize("balance", [0.0, 1.0])
def test_the_balance_leaves_one_part_alone(balance: float) -> None:
    layer = encoder(balance=balance)
    head = layer.global_head if balance else layer.local_head
    part = both(layer, CATEGORIES)[0 if balance else 1]
    torch.testing.assert_close(layer(CATEGORIES), head(part), **EXACT)


def test_one_category_has_no_pair() -> None:
    assert torch.equal(both(encoder(), CATEGORIES[:, :1])[1], torch.zeros(7, 4, dtype=torch.float64))


def test_features_of_0_and_1_are_sets_of_any_size() -> None:
    layer, distinct = encoder(), CATEGORIES[[0, 3, 5, 6]]
    features = F.one_hot(distinct, 7).sum(1).double()
    torch.testing.assert_close(layer(features), layer(distinct), **EXACT)
    sets = torch.zeros(3, 7, dtype=torch.float64)
    sets[0, 4], sets[1, :6] = 1, 1
    expected = [layer(torch.tensor([[4]])), layer(torch.arange(6).unsqueeze(0)), layer(torch.zeros_like(sets[:1]))]
    torch.testing.assert_close(layer(sets), torch.cat(expected), **EXACT)
    for part in both(layer, sets):
        assert torch.equal(part[2], torch.zeros(4, dtype=torch.float64))  # the empty set


def test_features_are_factors_of_the_embeddings() -> None:
    layer = encoder(probe=0.5)
    x = torch.randn(2, 7, dtype=torch.float64, requires_grad=True)
    rows = x.unsqueeze(2) * layer.embedding.weight
    mixed = F.relu((rows.sum(1, keepdim=True) + 0.5 * rows) / 7.5 @ layer.weight + layer.bias).mean(1)
    products = torch.stack([(rows[:, :i] * rows[:, i : i + 1]).sum(1) for i in range(1, 7)]).sum(0)
    expected = 0.5 * layer.global_head(mixed) + 0.5 * layer.local_head(products)
    results = [(y, torch.autograd.grad(y.square().sum(), x)[0]) for y in (layer(x), expected)]
    torch.testing.assert_close(*results, **EXACT)


def catgcn(**settings: Any) -> nn.Module:
    torch.manual_seed(0)
    return graphs.CatGCN(7, 3, **{"latent_channels": 4, "dropout": 0.0} | settings).double()


@pytest.mark.parametrize("hops", [0, 1, 5])
def test_propagation_is_that_of_sgc(hops: int) -> None:
    layer, edge_index = catgcn(hops=hops), directed()
    z = layer.encoder(CATEGORIES)
    conv = geometric.SGConv(3, 3, K=hops, bias=False).double()
    nn.init.eye_(conv.lin.weight)
    torch.testing.assert_close(layer(CATEGORIES, edge_index), conv(z, edge_index), **EXACT)
    weights = torch.rand(edge_index.shape[1], dtype=torch.float64)
    torch.testing.assert_close(layer(CATEGORIES, edge_index, weights), conv(z, edge_index, weights), **EXACT)


def test_a_node_without_edges_keeps_its_vector_and_loops_count_once() -> None:
    layer = catgcn(hops=3)
    y = layer(CATEGORIES, torch.tensor([[0, 0, 0, 1], [1, 0, 0, 0]]))
    torch.testing.assert_close(y[2:], layer.encoder(CATEGORIES)[2:], **EXACT)
    torch.testing.assert_close(y, layer(CATEGORIES, torch.tensor([[0, 1], [1, 0]])), **EXACT)


def test_no_order_matters() -> None:
    layer, edge_index, generator = catgcn(), directed(), torch.Generator().manual_seed(1)
    y = layer(CATEGORIES, edge_index)
    columns, order = torch.randperm(3, generator=generator), torch.randperm(7, generator=generator)
    torch.testing.assert_close(layer(CATEGORIES[:, columns], edge_index), y, **EXACT)
    torch.testing.assert_close(layer(CATEGORIES[order], order.argsort()[edge_index]), y[order], **EXACT)


def test_parameters_and_their_first_values() -> None:
    layer = graphs.CatGCN(100, 5, latent_channels=64)
    assert sum(p.numel() for p in layer.parameters()) == 100 * 64 + 64**2 + 64 + 2 * 65 * 5
    bound = (6 / 128) ** 0.5
    assert 0.9 * bound < layer.encoder.weight.abs().max() <= bound
    assert not layer.encoder.bias.any()
    assert 0.9 < layer.encoder.embedding.weight.std() < 1.1


def test_dropout_is_of_training_and_of_the_global_part() -> None:
    layer = encoder(dropout=0.5)
    whole = both(layer.eval(), CATEGORIES)
    torch.manual_seed(0)
    some = both(layer.train(), CATEGORIES)
    assert torch.equal(some[1], whole[1])
    assert not torch.equal(some[0], whole[0])
    often = both(layer, CATEGORIES.repeat(400, 1))[0].view(400, 7, 4)
    torch.testing.assert_close(often.mean(0), whole[0], rtol=0.3, atol=0.1)


def test_it_learns_what_the_mean_of_embeddings_cannot_tell() -> None:
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(2, (200, 2), generator=generator)
    x, labels = bits + torch.tensor([0, 2]), bits[:, 0] ^ bits[:, 1]
    edge_index = undirected(200, 0)
    torch.manual_seed(0)
    layer = graphs.CatGCN(4, 2, latent_channels=8, dropout=0.0)
    optimizer = torch.optim.Adam(layer.parameters(), 0.05)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(layer(x, edge_index), labels).backward()
        optimizer.step()
    assert (layer(x, edge_index).argmax(1) == labels).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"balance": 1.5}, r"^balance=1\.5 must lie between 0 and 1$"),
        ({"probe": -0.5}, r"^probe=-0\.5 must be at least 0, "),
        ({"hops": -1}, r"^hops=-1 must be an integer of at least 0$"),
        ({"dropout": 1}, r"^dropout=1 must be at least 0 and less than 1$"),
        ({"latent_channels": 0}, r"^latent_channels=0 must be an integer of at least 1$"),
        ({"local_hidden": (4, 0)}, r"^local_hidden=0 must be an integer of at least 1$"),
    ],
    ids=str,
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        graphs.CatGCN(7, 3, **settings)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (CATEGORIES + 1, r"^x has categories from 1 to 7; they must lie between 0 and 6$"),
        (CATEGORIES - 1, r"^x has categories from -1 to 5; they must lie between 0 and 6$"),
        (CATEGORIES[0], r"^x of shape \(3,\) and torch\.int64 must be \(N, n\) int64"),
        (CATEGORIES[:, :0], r"^x of shape \(7, 0\) and torch\.int64 must be \(N, n\) int64, n categories of each node"),
        (CATEGORIES.int(), r"^x of shape \(7, 3\) and torch\.int32 must be \(N, n\) int64"),
        (CATEGORIES.double(), r"^x of shape \(7, 3\) and torch\.float64 must be .*, or \(N, 7\) floating$"),
    ],
    ids=str,
)
def test_inputs_are_checked(x: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        catgcn()(x, torch.tensor([[0, 1], [1, 2]]))


def test_edges_are_checked() -> None:
    with pytest.raises(InputError, match=r"^edge_index has sources from 0 to 7; they must lie between 0 and 6$"):
        catgcn()(CATEGORIES, torch.tensor([[0, 7], [1, 2]]))
