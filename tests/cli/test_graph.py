"""`convnn graph`: files of edges, whole results, and lines that are wrong."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import load_npz

from convnn.cli import main
from convnn.errors import InputError
from convnn.graphs import edge_file
from convnn.graphs.edge_file import read_edges
from convnn.graphs.random_features import GraphRandomFeatures


@pytest.fixture
def edges(tmp_path: Path) -> Path:
    """Return a file of a ring of 30 nodes with chords."""
    path = tmp_path / "edges.csv"
    path.write_text("source,target\n" + "".join(f"{i},{(i + step) % 30}\n" for i in range(30) for step in (1, 2)))
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("separator", [",", "\t", " ", ", ", ";"])
def test_edges_and_weights_are_read(separator: str, tmp_path: Path) -> None:
    text = "\n".join(separator.join(row) for row in (("0", "3"), ("3", "1", "2.5"), ("2", "2")))
    found = read_edges(written(tmp_path / "a.txt", f"# a comment\n{text}\n\n"))
    assert found.edge_index.tolist() == [[0, 3, 2], [3, 1, 2]]
    assert found.edge_weight.tolist() == [1, 2.5, 1]
    assert found.num_nodes == 4
    assert not found.bad


def test_blocks_are_read_as_one(edges: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edges.write_text(edges.read_text() + "7,x\n1,2\n")
    whole, told = read_edges(edges), []
    monkeypatch.setattr(edge_file, "BLOCK", 50)
    parts = read_edges(edges, lambda *one: told.append(one))
    assert parts.edge_index.equal(whole.edge_index)
    assert whole.edge_index.shape == (2, 61)
    assert (
        list(map(str, parts.bad))
        == list(map(str, whole.bad))
        == ["line 62: 'x' is no node; it must be a whole number of at least 0"]
    )
    assert len(told) > 3
    assert told[-1] == (edges.stat().st_size,) * 2


@pytest.mark.parametrize("block", [1 << 20, 3])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("3", "it has 1 field"),
        ("3,4,1,2", "it has 4 fields"),
        ("-1,4", "'-1' is no node"),
        ("1.5,4", "'1.5' is no node"),
        ("1,4,0", "'0' is no weight"),
        ("1,4,nan", "'nan' is no weight"),
        ("1,4,inf", "'inf' is no weight"),
        ("1,4,heavy", "'heavy' is no weight"),
        ("99999999999999999999,4", "is no node"),
        ("a,b", "'a' is no node"),
    ],
)
def test_bad_lines(line: str, reason: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge_file, "BLOCK", block)
    path = written(tmp_path / "a.csv", f"0,1\n1,2\n{line}\n2,0\n")
    found = read_edges(path)
    assert [one.number for one in found.bad] == [3]
    assert reason in found.bad[0].reason
    assert found.edge_index.tolist() == [[0, 1, 2], [1, 2, 0]]
    with pytest.raises(InputError, match=r"has 1 bad line: line 3: "):
        found.check(path)


def test_embed_writes_a_vector_for_each_node(edges: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["graph", "embed", str(edges), "--dim", "4", "--epochs", "2", "--out"]
    assert main([*words, str(tmp_path / "a.npy"), "--num_parts", "2"]) == 0
    assert capsys.readouterr().out.endswith("a.npy: 30 nodes of 60 edges, 4 numbers each\n")
    vectors = np.load(tmp_path / "a.npy")
    assert vectors.shape == (30, 4)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()
    assert main([*words, str(tmp_path / "b.npy"), "--num_parts", "2"]) == 0
    assert (np.load(tmp_path / "b.npy") == vectors).all()
    assert main([*words, str(tmp_path / "a.npy")]) == 2
    assert "would replace" in capsys.readouterr().err


def test_features_are_those_of_the_estimator(edges: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    edges.write_text("0,1,2\n2,1,0.5\n3,3\n4,2\n")
    words = ["graph", "features", str(edges), "--walks", "6", "--seed", "3", "--out", str(tmp_path / "a.npz")]
    assert main([*words, "--modulation", "diffusion", "--antithetic", "--max_length", "4", "--p_halt", "0.2"]) == 0
    assert "a.npz: 5 nodes of 4 edges, " in capsys.readouterr().out
    graph = torch.zeros(5, 5)
    for i, j, weight in ((0, 1, 2.0), (2, 1, 0.5), (3, 3, 1.0), (4, 2, 1.0)):
        graph[i, j] = graph[j, i] = weight
    model = GraphRandomFeatures("diffusion", walks=6, p_halt=0.2, antithetic=True, max_length=4, random_state=3)
    assert (load_npz(tmp_path / "a.npz").toarray() == model.fit_transform(graph).to_dense().numpy()).all()


def test_coarsen_writes_supernodes_and_their_edges(edges: Path, tmp_path: Path) -> None:
    folder = tmp_path / "coarse"
    assert main(["graph", "coarsen", str(edges), "--out", str(folder), "--n", "6", "--n_init", "2"]) == 0
    with (folder / "supernodes.csv").open() as file:
        labels = torch.tensor([int(row["supernode"]) for row in csv.DictReader(file)])
    assert labels.shape == (30,)
    assert labels.unique().tolist() == list(range(6))
    with (folder / "edges.csv").open() as file:
        coarse = {(int(row["source"]), int(row["target"])): float(row["weight"]) for row in csv.DictReader(file)}
    source, target = read_edges(edges).edge_index
    for (p, q), weight in coarse.items():
        between = (labels[source] == p) & (labels[target] == q) | (labels[source] == q) & (labels[target] == p)
        assert weight == between.sum().item() * (2 if p == q else 1)


def test_bad_lines_end_the_command_or_are_skipped(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path, out = written(tmp_path / "a.csv", "0,1\n1,x\n1,2\n"), tmp_path / "a.npy"
    words = ["graph", "embed", str(path), "--dim", "2", "--out", str(out)]
    assert main(words) == 2
    assert "has 1 bad line: line 2: 'x' is no node" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]
    assert main([*words, "--skip_bad_lines"]) == 1
    assert "a.csv', line 2: 'x' is no node" in capsys.readouterr().err
    assert np.load(out).shape == (3, 2)


@pytest.mark.parametrize(
    ("text", "words", "message"),
    [
        ("", "embed", "holds no edge"),
        ("a,b\n", "embed", "holds no edge"),
        ("0,1\n1,70000\n", "embed", "2 edges but a node 70,000; nodes must be numbered from 0 on"),
        ("0,1\n", "embed --n 3", "--n is a flag of convnn graph coarsen"),
        ("0,1\n", "coarsen --dim 3", "--dim is a flag of convnn graph embed"),
        ("0,1\n", "coarsen --directed", "--directed must not be given"),
        ("0,1\n", "embed --num_parts 3", "num_parts=3 must be at most the 2 nodes"),
        ("0,1\n", "embed --augmentation 50", "--augmentation=50 must be at most --walk_length=40"),
        ("0,1\n", "embed --seed -1", "--seed=-1"),
        ("0,1\n", "features --dim 3", "--dim is a flag of convnn graph embed, not of convnn graph features"),
        ("0,1\n", "embed --antithetic", "--antithetic is a flag of convnn graph features"),
        ("0,1\n", "features --directed", "--directed must not be given"),
        ("0,1\n", "features --modulation difusion", "did you mean 'diffusion'?"),
        ("0,1\n", "features --walks 3 --antithetic", "--walks=3 must be even"),
        ("0,1\n", "features --normalization adjacency", "needs --sigma2=1.0 below 1"),
        ("0,1\n", "shrink", "invalid choice: 'shrink'"),
    ],
)
def test_mistakes_are_one_sentence(
    text: str, words: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    task, *rest = words.split()
    path = written(tmp_path / "a.csv", text)
    assert main(["graph", task, str(path), "--out", str(tmp_path / "out"), *rest]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [path]
    assert main(["graph", "embed", str(tmp_path / "none.csv"), "--out", "x"]) == 2
    assert "none.csv' cannot be read: No such file" in capsys.readouterr().err
