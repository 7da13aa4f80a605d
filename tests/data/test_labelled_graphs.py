"""Graphs as data for training: parts, folds, batches of graphs side by side, and what is refused."""

from pathlib import Path

import pytest
import torch

from convnn.data import example_of, load_data, load_graph, load_part
from convnn.data.labelled_graphs import FOLDS, GraphLoader, ten_folds
from convnn.data.options import Options
from convnn.errors import InputError
from convnn.nn.graphs.batch import GraphBatch, side_by_side

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
needs_files = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the published graphs")


def test_nodes_are_one_batch_of_the_whole_graph() -> None:
    graph, data = load_graph("sbm").graph, load_data("sbm", batch_size=7)
    assert (data.kind, data.input_shape, data.num_classes) == ("node", (16,), 4)
    for part, mask in (("train", graph.train_mask), ("val", graph.val_mask), ("test", graph.test_mask)):
        loader = data.parts[part]
        (batch,) = loader
        assert len(loader) == 1
        assert torch.equal(batch.inputs.nodes, mask.nonzero().squeeze(1))
        assert torch.equal(batch.labels, graph.y[mask])
        assert torch.equal(batch.inputs.x, graph.x)
        assert torch.equal(batch.inputs.edge_index, graph.edge_index)
        assert torch.equal(batch.indices, torch.arange(int(mask.sum())))


def test_a_graph_without_val_nodes_has_two_parts() -> None:
    assert list(load_data("karate").parts) == ["train", "test"]


def test_split_draws_another_graph_and_other_parts() -> None:
    first, same, other = (next(iter(load_data("sbm", split=split).train)).inputs for split in (None, 0, 1))
    assert torch.equal(first.x, same.x)
    assert not torch.equal(first.x, other.x)
    drawn, again = (next(iter(load_data("digits-graph", split=2, seed=seed).train)).inputs for seed in (0, 1))
    assert torch.equal(drawn.nodes, again.nodes)  # the seed of a run does not change its data


def test_a_limit_keeps_some_of_the_nodes() -> None:
    nodes, few = (next(iter(load_data("sbm", limit_train=n).train)).inputs.nodes for n in (None, 9))
    assert len(few) == 9
    assert set(few.tolist()) < set(nodes.tolist())


def test_processes_share_the_nodes() -> None:
    whole = next(iter(load_data("sbm").train))
    parts = [next(iter(load_data("sbm", process_index=index, num_processes=3).train)) for index in range(3)]
    assert torch.equal(torch.cat([part.inputs.nodes for part in parts]), whole.inputs.nodes)
    assert torch.equal(torch.cat([part.labels for part in parts]), whole.labels)


def test_folds_divide_the_samples_into_equal_shares_of_each_class() -> None:
    labels = torch.tensor([0] * 40 + [1] * 20)[torch.randperm(60)]
    tests = []
    for fold in range(FOLDS):
        parts = ten_folds(labels, fold)
        assert torch.equal(torch.cat(list(parts.values())).sort().values, torch.arange(60))
        assert [labels[part].bincount().tolist() for part in parts.values()] == [[32, 16], [4, 2], [4, 2]]
        assert torch.equal(parts["val"], ten_folds(labels, (fold + 1) % FOLDS)["test"])
        tests.append(parts["test"])
    assert torch.equal(torch.cat(tests).sort().values, torch.arange(60))


def _graphs() -> list[GraphBatch]:
    sizes = (3, 1, 0, 4, 2, 2, 5)
    return [
        GraphBatch(torch.full((size, 2), float(size)), torch.randint(0, size, (2, 2 * size)) if size else NO_EDGES)
        for size in sizes
    ]


NO_EDGES = torch.empty(2, 0, dtype=torch.long)


def test_graphs_side_by_side_are_those_of_pytorch_geometric() -> None:
    from torch_geometric.data import Batch, Data

    graphs = _graphs()
    ours = side_by_side(graphs, 2)
    theirs = Batch.from_data_list([Data(x=graph.x, edge_index=graph.edge_index) for graph in graphs])
    assert torch.equal(ours.x, theirs.x)
    assert torch.equal(ours.edge_index, theirs.edge_index)
    assert torch.equal(ours.graph_of, theirs.batch)
    assert ours.num_graphs == len(graphs)
    assert side_by_side([], 2).x.shape == (0, 2)


def test_every_graph_comes_once_in_an_epoch_in_an_order_of_its_own() -> None:
    options = Options(name="MUTAG", data_path=Path(), batch_size=3, device=torch.device("cpu"))
    loader = GraphLoader(_graphs(), torch.arange(7), options.settings("train", ((), ())))
    orders = []
    for epoch in (0, 1):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert [batch.inputs.num_graphs for batch in batches] == [3, 4]  # the last one joins the batch before it
        orders.append(torch.cat([batch.labels for batch in batches]).tolist())
        for batch in batches:
            sizes = batch.inputs.graph_of.bincount(minlength=batch.inputs.num_graphs)
            assert sizes.tolist() == [len(_graphs()[label].x) for label in batch.labels.tolist()]
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(7))


@needs_files
def test_rows_of_words_are_divided_by_their_sum() -> None:
    scaled, raw = (
        next(iter(load_data("texas", SHARED, **given).train)).inputs for given in ({}, {"scale_rows": False})
    )
    sums = raw.x.sum(1, keepdim=True)
    torch.testing.assert_close(scaled.x * sums.clamp(min=1), raw.x)
    assert set(raw.x.unique().tolist()) == {0.0, 1.0}


@needs_files
def test_undirected_adds_the_reverse_of_each_edge() -> None:
    given, both = (next(iter(load_data("texas", SHARED, undirected=way).train)).inputs for way in (None, True))
    edges = set(map(tuple, given.edge_index.T.tolist()))
    assert set(map(tuple, both.edge_index.T.tolist())) == edges | {(b, a) for a, b in edges}


@needs_files
def test_published_parts() -> None:
    cora = load_data("Cora", SHARED)
    assert {part: loader.num_samples for part, loader in cora.parts.items()} == {"train": 140, "val": 500, "test": 1000}
    part = load_part("MUTAG", SHARED, "test", split=9)
    assert (part.kind, part.input_shape, part.loader.num_samples) == ("graph", (7,), 18)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("sbm", {"augment": True}, "augment=True changes images; dataset='sbm' has graphs, so leave it out"),
        ("karate", {"split": 1}, "split=1 is for .*; dataset='karate' does not read it"),
        ("sbm", {"scale_rows": True}, "scale_rows=True is for Cora, .*; dataset='sbm' does not read it"),
        ("sbm", {"split": -1}, "split=-1 must be an integer of at least 0"),
        ("Cora", {"data_path": "nowhere"}, "data_path='nowhere' has no folder planetoid/Cora/raw"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_data(name, **given)


def test_folds_end_at_nine() -> None:
    with pytest.raises(InputError, match="split=10 must lie between 0 and 9"):
        ten_folds(torch.tensor([0, 1] * 20), 10)


def test_without_pytorch_geometric_a_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for part in ("torch_geometric.utils", "torch_geometric"):
        monkeypatch.setitem(sys.modules, part, None)
    with pytest.raises(InputError, match=r"dataset='sbm' needs the package torch_geometric: .*convnn\[graph\]"):
        load_data("sbm")


def test_the_example_of_a_graph_has_the_nodes_asked_for() -> None:
    example = example_of((5,), "node", count=3)
    assert example.x.shape == (3, 5)
    assert example.edge_index.tolist() == [[0, 1, 1, 2], [1, 2, 0, 1]]
    assert example_of((5,), "graph").edge_index.shape == (2, 0)
