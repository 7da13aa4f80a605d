"""Graph data sets: facts about the published ones, small files in their formats, and those without files."""

import hashlib
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors

from convnn.data import graph_files, list_graph_datasets, load_graph
from convnn.errors import InputError
from fences import ROOT

SHARED = ROOT.parent / "shared" / "data"
WITHOUT_FILES = ["digits", "karate", "sbm", "erdos-renyi", "grid"]
PUBLISHED = {  # graphs, nodes, edges, features, classes, and how many nodes train, validate and test
    "Cora": (1, 2708, 10556, 1433, 7, [140, 500, 1000]),
    "CiteSeer": (1, 3327, 9104, 3703, 6, [120, 500, 1000]),
    "texas": (1, 183, 325, 1703, 5, [87, 59, 37]),
    "cornell": (1, 183, 298, 1703, 5, [87, 59, 37]),
    "wisconsin": (1, 251, 515, 1703, 5, [120, 80, 51]),
    "MUTAG": (188, 3371, 7442, 7, 2, []),
    "PROTEINS": (1113, 43471, 162088, 3, 2, []),
}
PAPERS = 504
PARTS = (slice(2), slice(PAPERS - 2, None), slice(PAPERS - 2))
MASKS = ("train_mask", "val_mask", "test_mask")


@pytest.mark.parametrize("name", PUBLISHED)
def test_what_is_known_of_a_published_set(name: str) -> None:
    if not SHARED.is_dir():
        pytest.skip("the published files are not at hand")
    data = load_graph(name, SHARED)
    graphs, nodes, edges, features, classes, parts = PUBLISHED[name]
    assert (len(data.graphs), data.num_features, data.num_classes) == (graphs, features, classes)
    assert sum(graph.num_nodes for graph in data.graphs) == nodes
    assert sum(graph.num_edges for graph in data.graphs) == edges
    assert [int(data.graphs[0][mask].sum()) for mask in MASKS if mask in data.graphs[0]] == parts
    assert data.graphs[0].is_directed() == (name in graph_files.NAMES["WebKB"])
    assert not list(SHARED.rglob("processed"))


def test_names() -> None:
    assert list_graph_datasets() == [*PUBLISHED, *WITHOUT_FILES]


def write_planetoid(raw: Path) -> str:
    """Write papers in a ring, of which two train, 500 validate and the last two test; return the digest."""
    raw.mkdir(parents=True)
    features, labels = np.eye(PAPERS, 3, dtype=np.float32), np.eye(2, dtype=np.int32)[np.arange(PAPERS) % 2]
    files = {
        **{key: sp.csr_matrix(features[part]) for key, part in zip(("x", "tx", "allx"), PARTS, strict=True)},
        **{key: labels[part] for key, part in zip(("y", "ty", "ally"), PARTS, strict=True)},
        "graph": {node: [(node + 1) % PAPERS, (node - 1) % PAPERS] for node in range(PAPERS)},
    }
    for key, content in files.items():
        (raw / f"ind.cora.{key}").write_bytes(pickle.dumps(content))
    (raw / "ind.cora.test.index").write_text(f"{PAPERS - 1}\n{PAPERS - 2}\n")
    written = ((raw / f"ind.cora.{key}").read_bytes() for key in [*files, "test.index"])
    return hashlib.sha256(b"".join(written)).hexdigest()


def write_webkb(raw: Path) -> None:
    """Write three pages in a row; page i % 3 is the test page of split i."""
    raw.mkdir(parents=True)
    (raw / "out1_node_feature_label.txt").write_text("id\tfeature\tlabel\n0\t1,0\t0\n1\t0,1\t1\n2\t1,1\t1\n")
    (raw / "out1_graph_edges.txt").write_text("from\tto\n0\t1\n1\t2\n")
    for split in range(10):
        test = np.arange(3) == split % 3
        np.savez(raw / f"texas_split_0.6_0.2_{split}.npz", train_mask=~test, val_mask=test & False, test_mask=test)


def write_tu(raw: Path) -> None:
    """Write a single node and an edge."""
    raw.mkdir(parents=True)
    for key, text in {"A": "2, 3\n3, 2\n", "graph_indicator": "1\n2\n2\n", "graph_labels": "-1\n1\n"}.items():
        (raw / f"MUTAG_{key}.txt").write_text(text)
    (raw / "MUTAG_node_labels.txt").write_text("0\n1\n1\n")


def test_planetoid_is_read_from_its_raw_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published = write_planetoid(tmp_path / "planetoid" / "Cora" / "raw")
    monkeypatch.setitem(graph_files.PLANETOID_SHA256, "Cora", published)
    data = load_graph("Cora", tmp_path)
    assert (data.graph.num_nodes, data.graph.num_edges, data.num_classes) == (PAPERS, 2 * PAPERS, 2)
    assert data.graph.test_mask.nonzero().flatten().tolist() == [PAPERS - 2, PAPERS - 1]


def test_a_changed_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_planetoid(tmp_path / "planetoid" / "Cora" / "raw")
    monkeypatch.setattr(pickle, "load", lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(
        InputError, match=r"^data_path='.*': the files of Cora are not the published ones; copy them again$"
    ):
        load_graph("Cora", tmp_path)


def test_webkb_has_ten_splits_and_its_direction(tmp_path: Path) -> None:
    write_webkb(tmp_path / "webkb" / "texas" / "raw")
    graph = load_graph("texas", tmp_path, split=4).graph
    assert graph.edge_index.tolist() == [[0, 1], [1, 2]]
    assert graph.test_mask.tolist() == [False, True, False]
    with pytest.raises(InputError, match=r"^split=10 of texas must lie between 0 and 9$"):
        load_graph("texas", tmp_path, split=10)


def test_tu_has_many_graphs(tmp_path: Path) -> None:
    write_tu(tmp_path / "tu" / "MUTAG" / "raw")
    data = load_graph("MUTAG", tmp_path)
    assert [graph.num_nodes for graph in data.graphs] == [1, 2]
    assert [graph.y.tolist() for graph in data.graphs] == [[0], [1]]
    with pytest.raises(InputError, match=r"^dataset 'MUTAG' has 2 graphs; take one of its `graphs`$"):
        _ = data.graph


def test_nothing_is_written_and_nothing_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_webkb(tmp_path / "webkb" / "texas" / "raw")
    before = sorted(tmp_path.rglob("*"))
    load_graph("texas", tmp_path)
    assert sorted(tmp_path.rglob("*")) == before
    assert capsys.readouterr() == ("", "")


def test_a_missing_file_is_named_and_not_fetched(tmp_path: Path) -> None:
    raw = tmp_path / "tu" / "MUTAG" / "raw"
    write_tu(raw)
    (raw / "MUTAG_A.txt").unlink()
    with pytest.raises(InputError, match=r"^'.*raw' lacks MUTAG_A.txt; get them from https://www"):
        load_graph("MUTAG", tmp_path)


def test_a_broken_file_is_one_sentence(tmp_path: Path) -> None:
    raw = tmp_path / "webkb" / "texas" / "raw"
    write_webkb(raw)
    (raw / "out1_graph_edges.txt").write_text("from\tto\n0\tone\n")
    with pytest.raises(InputError, match=r"^data_path='.*': the files of texas cannot be read \(ValueError: .*\)$"):
        load_graph("texas", tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("Cora",), r"^name='Cora' is read from files; give data_path, the folder that holds planetoid/Cora/raw$"),
        (("MUTAG", "nowhere"), r"^data_path='nowhere' has no folder tu/MUTAG/raw$"),
        (("cora",), r"^name='cora' is not one of Cora, .*; did you mean 'Cora'\?$"),
    ],
    ids=["no path", "no folder", "no such set"],
)
def test_bad_input(arguments: tuple, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_graph(*arguments)


def test_without_torch_geometric_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_geometric.datasets", None)
    message = r"^load_graph needs the package torch_geometric: pip install 'convnn\[graph\]'$"
    with pytest.raises(InputError, match=message):
        load_graph("karate")


@pytest.mark.parametrize("name", WITHOUT_FILES)
def test_without_files_the_seed_decides(name: str) -> None:
    one, same = load_graph(name, seed=1).graph, load_graph(name, seed=1).graph
    assert set(one.keys()) == set(same.keys())
    assert all(torch.equal(one[key], same[key]) for key in set(one.keys()))
    assert one.is_undirected()
    assert not one.has_self_loops()
    if "train_mask" in one:
        assert (sum(one[mask].int() for mask in MASKS) == 1).all()


@pytest.mark.parametrize(
    ("name", "part"), [("digits", "train_mask"), ("sbm", "edge_index"), ("erdos-renyi", "edge_index")]
)
def test_another_seed_is_another_draw(name: str, part: str) -> None:
    one, other = load_graph(name).graph, load_graph(name, seed=1).graph
    assert one[part].shape != other[part].shape or not torch.equal(one[part], other[part])


def test_a_draw_leaves_the_global_generator_alone() -> None:
    state = torch.get_rng_state()
    load_graph("sbm")
    assert torch.equal(torch.get_rng_state(), state)


def test_digits_are_joined_to_the_nearest() -> None:
    pixels, labels = load_digits(return_X_y=True)
    graph = load_graph("digits").graph
    assert graph.y.tolist() == labels.tolist()
    assert graph.y[graph.train_mask].bincount().tolist() == [20] * 10
    found = NearestNeighbors(n_neighbors=11).fit(pixels).kneighbors(pixels[:50], return_distance=False)[:, 1:]
    edges = set(map(tuple, graph.edge_index.T.tolist()))
    assert all((digit, int(near)) in edges for digit, row in enumerate(found) for near in row[:9])  # the tenth may tie


def test_blocks_are_denser_within() -> None:
    graph = load_graph("sbm").graph
    within = (graph.y[graph.edge_index[0]] == graph.y[graph.edge_index[1]]).sum().item()
    assert within / (4 * 50 * 49) == pytest.approx(0.2, abs=0.02)
    assert (graph.num_edges - within) / (4 * 50 * 150) == pytest.approx(0.02, abs=0.005)


def test_the_grid_joins_the_eight_around() -> None:
    graph = load_graph("grid").graph
    apart = (graph.x[graph.edge_index[0]] - graph.x[graph.edge_index[1]]).abs().amax(1)
    torch.testing.assert_close(apart, torch.full_like(apart, 1 / 9))
    degrees = graph.edge_index[0].bincount()
    assert degrees.bincount().tolist() == [0, 0, 0, 4, 0, 32, 0, 0, 64]
