"""IGLU: gradients of the whole graph, plain loops, and bad input."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.data.geometric import import_geometric
from convnn.errors import InputError
from convnn.objectives.cached import LazyTrainer
from convnn.objectives.cached.blocks import block
from convnn.ops import edges
from convnn.ops.ragged import Lists
from small_graphs import directed, features

Data = import_geometric("data").Data
geometric = import_geometric("nn")
GCN = partial(geometric.GCNConv, normalize=False)
GIN = lambda inputs, outputs: geometric.GINConv(nn.Sequential(nn.Linear(inputs, outputs), nn.Tanh()))  # noqa: E731
KINDS = {"GCN": GCN, "SAGE": geometric.SAGEConv, "GAT": geometric.GATConv, "GIN": GIN}
NODES, WIDTHS = 17, (3, 5, 4, 2)


class Hidden(nn.Module):
    """A layer, normalised over features, and tanh."""

    def __init__(self, layer: nn.Module, width: int) -> None:
        super().__init__()
        self.layer = layer
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, *graph: Tensor) -> Tensor:
        return self.norm(self.layer(x, *graph)).tanh()


def graph(*, weighted: bool = False) -> Data:
    """Return a directed graph with self-loops and repeated edges, of whose nodes eleven are for training."""
    data = Data(x=features(NODES, WIDTHS[0]), edge_index=directed(NODES, 60), y=torch.arange(NODES) % WIDTHS[-1])
    data.train_mask = torch.arange(NODES) % 3 > 0
    if weighted:
        data.edge_weight = torch.rand(60, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return data


def network(make: Callable[..., nn.Module] = GCN) -> list[nn.Module]:
    torch.manual_seed(0)
    *hidden, last = [make(a, b) for a, b in pairwise(WIDTHS)]
    layers = [Hidden(layer, width) for layer, width in zip(hidden, WIDTHS[1:], strict=False)]
    return [layer.double() for layer in (*layers, last)]


def trainer(data: Data, layers: list[nn.Module], batch_size: int = 4, **settings: object) -> LazyTrainer:
    descents = [torch.optim.SGD(layer.parameters(), 0.1) for layer in layers]
    return LazyTrainer(layers[:-1], layers[-1], data, descents, batch_size, **settings)


def forward(layers: list[nn.Module], data: Data) -> Tensor:
    x, weights = data.x, () if data.edge_weight is None else (data.edge_weight,)
    for layer in layers:
        x = layer(x, data.edge_index, *weights)
    return x


def full_loss(layers: list[nn.Module], data: Data) -> Tensor:
    return F.cross_entropy(forward(layers, data)[data.train_mask], data.y[data.train_mask])


def descend(goal: Tensor, parameters: list[Tensor], lr: float = 0.1) -> None:
    with torch.no_grad():
        for value, slope in zip(parameters, torch.autograd.grad(goal, parameters), strict=True):
            value -= lr * slope


@pytest.mark.parametrize("kind", KINDS)
def test_with_fresh_caches_the_batches_have_the_gradient_of_the_whole_graph(kind: str) -> None:
    data, layers = graph(weighted=kind == "GCN"), network(KINDS[kind])
    lazy = trainer(data, layers)
    lazy.refresh_gradients()
    full = torch.autograd.grad(full_loss(layers, data), [p for layer in layers for p in layer.parameters()])
    found = []
    for k, layer in enumerate(layers):
        blocks = lazy.head_blocks if k == 2 else lazy.layer_blocks
        assert len(blocks) == (3 if k == 2 else 5)
        goal = torch.stack([lazy.objective(k, one) for one in blocks]).sum()
        found += torch.autograd.grad(goal, list(layer.parameters()))
    torch.testing.assert_close(found, list(full), rtol=1e-12, atol=1e-14)


def test_refreshed_every_step_each_step_descends_the_loss_of_the_whole_graph() -> None:
    data, layers, plain = graph(weighted=True), network(), network()
    lazy = trainer(data, layers, batch_size=NODES, refresh="step")
    losses = [lazy.epoch() for _ in range(3)]
    for epoch in range(3):
        for layer in plain:  # one layer after the other
            loss = full_loss(plain, data)
            descend(loss, list(layer.parameters()))
        assert losses[epoch] == pytest.approx(loss.item(), rel=1e-12)
    ours, theirs = ([p for layer in some for p in layer.parameters()] for some in (layers, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_an_epoch_is_the_loops_of_the_definition() -> None:
    """Several batches, caches refreshed once an epoch: all from autograd on the whole graph."""
    data, layers, plain = graph(), network(geometric.SAGEConv), network(geometric.SAGEConv)
    lazy = trainer(data, layers)
    orders = [torch.tensor([3, 1, 0, 4, 2]), torch.tensor([0, 2, 4, 1, 3]), torch.tensor([2, 0, 1])]
    lazy.epoch(orders)
    lazy.epoch(orders)
    for _ in range(2):
        alphas, x = _alphas(plain, data), data.x
        for k, layer in enumerate(plain):
            for i in orders[k].tolist():
                batch = (lazy.head_blocks if k == 2 else lazy.layer_blocks)[i].batch
                rows = layer(x, data.edge_index)[batch]
                if k < 2:
                    goal = (alphas[k][batch] * rows).sum()
                else:
                    goal = F.cross_entropy(rows, data.y[batch], reduction="sum") / 11
                descend(goal, list(layer.parameters()))
            x = layer(x, data.edge_index).detach()
    ours, theirs = ([p for layer in some for p in layer.parameters()] for some in (layers, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def _alphas(layers: list[nn.Module], data: Data) -> list[Tensor]:
    """Return the gradients of the loss at the hidden embeddings."""
    kept = [data.x]
    for layer in layers:
        kept.append(layer(kept[-1], data.edge_index))
    loss = F.cross_entropy(kept[-1][data.train_mask], data.y[data.train_mask])
    return list(torch.autograd.grad(loss, kept[1:-1]))


def test_without_layers_it_is_logistic_regression_on_propagated_features() -> None:
    data, head = graph(weighted=True), GCN(3, 2).double()
    weight = head.lin.weight.detach().clone().T.requires_grad_()
    bias = head.bias.detach().clone().requires_grad_()
    lazy = LazyTrainer([], head, data, [torch.optim.SGD(head.parameters(), 0.5)], NODES)
    propagated = edges.propagate(data.x, data.edge_index, data.edge_weight)
    for _ in range(4):
        lazy.epoch()
        loss = F.cross_entropy((propagated @ weight + bias)[data.train_mask], data.y[data.train_mask])
        descend(loss, [weight, bias], 0.5)
    torch.testing.assert_close(head.lin.weight, weight.T, rtol=1e-12, atol=1e-14)


def test_embeddings_fit_the_parameters_after_an_epoch_and_need_not_be_kept() -> None:
    data, layers, others = graph(), network(geometric.SAGEConv), network(geometric.SAGEConv)
    orders = [torch.arange(5)] * 2 + [torch.arange(3)]
    first = trainer(data, layers, seed=4)
    first.epoch(orders)
    torch.testing.assert_close(first.logits(), forward(layers, data), rtol=1e-12, atol=1e-14)
    for one, other in zip(layers, others, strict=True):
        other.load_state_dict(one.state_dict())
    resumed = trainer(data, others, seed=4)
    assert first.epoch(orders) == resumed.epoch(orders)
    torch.testing.assert_close(first.logits(), resumed.logits(), rtol=0, atol=0)


def test_it_trains() -> None:
    data, layers = graph(), network(geometric.SAGEConv)
    before = full_loss(layers, data).item()
    lazy = LazyTrainer(
        layers[:-1], layers[-1], data, [torch.optim.Adam(layer.parameters(), 0.01) for layer in layers], 6
    )
    for _ in range(60):
        lazy.epoch()
    assert full_loss(layers, data).item() < before / 5


def test_labels_of_several_classes_and_sums() -> None:
    data, layers = graph(), network(geometric.SAGEConv)
    data.y = F.one_hot(data.y, 2).double()
    loss = lambda logits, y: F.binary_cross_entropy_with_logits(logits, y, reduction="none").sum(1)  # noqa: E731
    lazy = trainer(data, layers, reduction="sum", loss=loss)
    lazy.refresh_gradients()
    total = loss(forward(layers, data)[data.train_mask], data.y[data.train_mask]).sum()
    goal = torch.stack([lazy.objective(0, one) for one in lazy.layer_blocks]).sum()
    ours, full = (torch.autograd.grad(one, list(layers[0].parameters())) for one in (goal, total))
    torch.testing.assert_close(ours, full, rtol=1e-12, atol=1e-14)
    assert lazy.epoch() == pytest.approx(total.item() / 11, rel=0.2)  # before the head's steps


def test_a_block_is_the_neighbourhood_of_one_hop() -> None:
    edge_index, batch = directed(NODES, 60), torch.tensor([8, 2, 16])
    lists, order = Lists.of_edges(edge_index, NODES)
    found = block(batch, lists, order.double())
    nodes, _, _, mask = import_geometric("utils").k_hop_subgraph(batch, 1, edge_index, num_nodes=NODES)
    assert found.nodes[:3].tolist() == [8, 2, 16]
    assert found.nodes.sort().values.equal(nodes)
    into = mask & torch.isin(edge_index[1], batch)
    assert sorted(found.nodes[found.edge_index].T.tolist()) == sorted(edge_index[:, into].T.tolist())
    assert found.edge_weight.long().sort().values.equal(into.nonzero().flatten())
    alone = block(torch.tensor([16]), lists, None)  # no edge enters the last node
    assert alone.edge_index.shape == (2, 0)
    assert alone.nodes.tolist() == [16]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size=0 must be an integer of at least 1"),
        ({"refresh": "never"}, "refresh='never' is not one of epoch, step"),
        ({"reduction": "none"}, "reduction='none' is not one of mean, sum"),
        ({"head_reduction": "none"}, "head_reduction='none' is not one of mean, sum"),
        ({"layer_batches": [torch.tensor([1, 1])]}, "must be different nodes"),
        ({"layer_batches": [torch.tensor([17])]}, "batch has nodes from 17 to 17 of a graph of 17"),
    ],
)
def test_wrong_arguments(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        trainer(graph(), network(geometric.SAGEConv), **settings)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Sequential(nn.Dropout(0.5)), r"layers\[0\] has dropout=0.5"),
        (geometric.GATConv(3, 3, dropout=0.25), r"layers\[0\] has dropout=0.25"),
        (geometric.BatchNorm(3), r"layers\[0\] has BatchNorm1d, whose rows depend on the whole batch"),
        (geometric.GCNConv(3, 3), r"layers\[0\] returns other rows for a batch"),
        (lambda x, _: x - x.mean(0), r"layers\[0\] returns other rows for a batch"),
    ],
)
def test_layers_whose_rows_depend_on_more_than_their_neighbours(layer: object, message: str) -> None:
    head = geometric.SAGEConv(3, 2).double()
    layer = layer.double() if isinstance(layer, nn.Module) else layer
    with pytest.raises(InputError, match=message):
        LazyTrainer([layer], head, graph(), [None, torch.optim.SGD(head.parameters(), 0.1)], 4)


def test_training_nodes_optimisers_and_widths_must_fit() -> None:
    data, layers = graph(), network(geometric.SAGEConv)
    with pytest.raises(InputError, match="optimizers must be 3, one for each layer and one for the head, not 2"):
        LazyTrainer(layers[:-1], layers[-1], data, [None, None])
    lazy = trainer(data, layers)
    wider = geometric.SAGEConv(3, 6).double()
    lazy.layers[0] = wider
    with pytest.raises(InputError, match=r"layers\[0\] returns rows of shape \(6,\), but those kept have \(5,\)"):
        lazy.epoch()
    data.train_mask[:] = False
    with pytest.raises(InputError, match="train_mask must have at least one training node"):
        trainer(data, layers)
