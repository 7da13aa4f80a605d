"""Triples of knowledge graphs, from files and drawn, and the queries that are made of them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from convnn.data import load_data
from convnn.data.triples import Known, make_paraphrases, read_triples
from convnn.errors import InputError

TRAIN = "paris\tcapital of\tfrance\n# a comment\n\nlyon\tin\tfrance\r\nparis\tin\tfrance\n"
TEST = "nice\tin\tfrance\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A graph of four entities, with a part to validate."""
    for name, text in (("train.txt", TRAIN), ("valid.tsv", "lyon\tin\tparis\n"), ("test.txt", TEST)):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_names_are_numbered_as_they_appear(folder: Path) -> None:
    graph = read_triples(folder)
    assert graph.entities == ("paris", "france", "lyon", "nice")
    assert graph.relations == ("capital of", "in")
    assert {part: t.tolist() for part, t in graph.parts.items()} == {
        "train": [[0, 0, 1], [2, 1, 1], [0, 1, 1]],
        "val": [[2, 1, 0]],
        "test": [[3, 1, 1]],
    }
    (folder / "valid.tsv").unlink()
    assert list(read_triples(folder).parts) == ["train", "test"]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("train.txt", "a\tb\n" + TRAIN, "line 1: it has 2 fields between tabs"),
        ("train.txt", TRAIN + "a\t \tc\n", "line 6: its relation is empty"),
        ("test.txt", "a b c\n" * 5, "5 bad lines: line 1.*line 3.*and 2 more"),
        ("test.txt", "# nothing\n", "holds nothing"),
        ("train.tsv", TRAIN, "has train.tsv and train.txt"),
        ("test.txt", None, "lacks test.txt"),
    ],
)
def test_bad_files_are_refused_whole(folder: Path, name: str, text: str | None, words: str) -> None:
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(text)
    with pytest.raises(InputError, match=words):
        load_data("triples", folder)


def test_bytes_that_are_no_text_and_folders_that_are_none(folder: Path) -> None:
    (folder / "test.txt").write_bytes(b"a\tb\t\xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_triples(folder)
    with pytest.raises(InputError, match="is not a folder"):
        load_data("wn18rr", folder)
    with pytest.raises(InputError, match="changes images"):
        load_data("paraphrases", augment=True)


def test_the_drawn_graph_asks_for_paraphrases_of_what_it_knows() -> None:
    graph = make_paraphrases(3)
    assert graph.parts["train"].equal(make_paraphrases(3).parts["train"])
    assert not graph.parts["test"].equal(make_paraphrases(4).parts["test"])
    names = [
        [(graph.entities[h], graph.relations[r], graph.entities[t]) for h, r, t in p.tolist()]
        for p in graph.parts.values()
    ]
    train, val, test = map(set, names)
    assert not train & (val | test)
    assert not val & test
    for head, relation, tail in val | test:
        assert (head, relation.replace("g", "f"), tail) in train


def others_in_loops(triples: Tensor, row: Tensor, of_tail: bool) -> set[int]:
    asked, kept = (2, [0, 1]) if of_tail else (0, [1, 2])
    return {int(t[asked]) for t in triples if t[kept].equal(row[kept])} - {int(row[asked])}


def test_all_that_fits_is_known_of_all_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    triples = torch.stack([torch.randint(n, (60,), generator=generator) for n in (5, 2, 5)], dim=1)
    known = Known(triples, 2)
    for of_tail in (True, False):
        pairs = known.others(triples, of_tail).T.tolist()
        assert len(pairs) == len(set(map(tuple, pairs)))
        for number, row in enumerate(triples):
            assert {entity for query, entity in pairs if query == number} == others_in_loops(triples, row, of_tail)


def test_every_triple_is_asked_for_its_tail_and_its_head() -> None:
    data = load_data("paraphrases", batch_size=32, limit_test=50)
    assert (data.task, data.kind, data.num_classes, data.test.num_samples) == ("completion", "triple", 120, 100)
    graph, seen = make_paraphrases(), []
    for batch in data.test:
        queries = batch.inputs
        assert queries.wanted.equal(batch.labels)
        for number, (triple, of_tail) in enumerate(zip(queries.triples, queries.of_tail.tolist(), strict=True)):
            seen.append((*triple.tolist(), of_tail))
            [rows] = torch.where(queries.others[0] == number)
            assert set(queries.others[1, rows].tolist()) == others_in_loops(graph.triples, triple, of_tail)
    assert len(set(seen)) == 100
    assert {triple[:3] for triple in seen} <= {tuple(t) for t in graph.parts["test"].tolist()}


def test_an_epoch_has_every_triple_once_in_an_order_of_its_own() -> None:
    train = load_data("paraphrases", batch_size=50).train
    orders = []
    for epoch in (0, 1, 0):
        train.set_epoch(epoch)
        orders.append(torch.cat([batch.inputs.triples for batch in train]))
    assert orders[0].equal(orders[2])
    assert not orders[0].equal(orders[1])
    assert orders[1].unique(dim=0).equal(make_paraphrases().parts["train"].unique(dim=0))
