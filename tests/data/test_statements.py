"""Statements with qualifiers, from files and drawn, and what else completes them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from convnn.data import load_data
from convnn.data.statements import draw_statements, parse_statement
from convnn.data.triples import KnowledgeGraph, read_statements, with_contexts
from convnn.errors import InputError

CURIE = ("Q7186", "P166", "Q38104", "P585", "1903", "P1706", "Q41269", "P1706", "Q37463")
JSON = '{"P166_h": "Q7186", "P166_t": "Q38104", "N": 5, "P585": ["1903"], "P1706": ["Q41269", "Q37463"]}'


@pytest.mark.parametrize("line", [",".join(CURIE), "\t".join(CURIE), " , ".join(CURIE) + "\r", JSON, JSON + "\r"])
def test_a_statement_is_the_same_in_every_form(line: str) -> None:
    assert parse_statement(line) == CURIE


def test_names_have_commas_between_tabs_and_qualifiers_may_be_missing() -> None:
    assert parse_statement("Washington, D.C.\tin\tU.S.\tsince\t1790") == (
        "Washington, D.C.",
        "in",
        "U.S.",
        "since",
        "1790",
    )
    assert parse_statement('{"in_h": "Lyon", "in_t": "France"}') == parse_statement("Lyon,in,France")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a,b", "2 fields between commas"),
        ("a\tb\tc\td", "4 fields between tabs"),
        ("a,,c", "its relation is empty"),
        ("a,r,c,q,e,,f", "relation of qualifier 2 is empty"),
        ("a,r,c,q,", "entity of qualifier 1 is empty"),
        ('{"r_h": "a"', "begins as JSON and is none"),
        ('{"r_h": "a", "s_t": "b"}', "one key R_h"),
        ('{"r_h": "a", "r_t": "b", "s_t": "b"}', "one key R_h"),
        ('{"r_h": "a", "r_t": 3}', "an entity 3, which is no text"),
        ('{"r_h": "a", "r_t": "b", "q": ["c", null]}', "an entity None"),
        ('{"r_h": "a", "r_t": "b", "q": {"c": "d"}}', "which is no text"),
        ('{"r_h": "a", "r_t": " "}', "its tail is empty"),
    ],
)
def test_a_line_that_is_none_is_refused_with_its_reason(line: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_statement(line)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "n-ary_train.json").write_text(JSON + '\n{"in_h": "Q38104", "in_t": "Q7186"}\n')
    (tmp_path / "valid.csv").write_text("Q7186,in,Q38104,P585,1903\n")
    (tmp_path / "test.txt").write_text("# none\nQ7186\tin\tQ41269\n")
    return tmp_path


def test_files_of_any_form_become_numbers(folder: Path) -> None:
    graph = read_statements(folder)
    assert graph.entities == ("Q7186", "Q38104", "1903", "Q41269", "Q37463")
    assert graph.relations == ("P166", "P585", "P1706", "in")
    assert {part: rows.tolist() for part, rows in graph.parts.items()} == {
        "train": [[0, 0, 1, 1, 2, 2, 3, 2, 4], [1, 3, 0, *[-1] * 6]],
        "val": [[0, 3, 1, 1, 2, *[-1] * 4]],
        "test": [[0, 3, 3, *[-1] * 6]],
    }


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("test.txt", "a,b,c\na,b\n{\n", r"test.txt' has 2 bad lines: line 2: .*line 3: it begins as JSON"),
        ("train.txt", "a,b,c\n", "has n-ary_train.json and train.txt"),
        ("test.txt", "\n", "holds nothing"),
    ],
)
def test_bad_files_are_refused_whole(folder: Path, name: str, text: str, words: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=words):
        load_data("statements", folder)


def test_the_tail_of_what_is_drawn_follows_from_the_group_and_the_qualifier() -> None:
    parts = draw_statements(1)
    assert parts == draw_statements(1) != draw_statements(2)
    group = {names[0]: names[2] for names in parts["train"] if names[1] == "in"}
    stated = [names for part in parts.values() for names in part if names[1] == "has"]
    assert len(set(stated)) == len(stated) == 480
    tails: dict[tuple[str, str], set[str]] = {}
    for head, _, tail, when, value in stated:
        assert when == "when"
        tails.setdefault((group[head], value), set()).add(tail)
    assert {len(found) for found in tails.values()} == {1}
    assert len({next(iter(found)) for found in tails.values()}) > 20


def others_in_loops(rows: Tensor, row: Tensor, of_tail: bool) -> set[int]:
    """Return what else completes a row, among those with the same qualifiers in any order."""

    def about(one: Tensor) -> tuple[int, int, list[list[int]]]:
        return int(one[0 if of_tail else 2]), int(one[1]), sorted(one[3:].view(-1, 2).tolist())

    end = 2 if of_tail else 0
    return {int(one[end]) for one in rows if about(one) == about(row)} - {int(row[end])}


def test_what_completes_a_statement_is_known_of_those_with_its_qualifiers() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.stack([torch.randint(n, (150,), generator=generator) for n in (3, 2, 3, 2, 2, 2, 2)], dim=1)
    rows[::2, 5:] = -1
    rows[::4, 3:] = -1
    contexts = with_contexts(rows, 3)
    assert contexts[:, [0, 2]].equal(rows[:, [0, 2]])
    for of_tail in (True, False):
        for row, context in zip(rows, contexts, strict=True):
            same = (contexts[:, :2] == context[:2]).all(1) if of_tail else (contexts[:, 1:] == context[1:]).all(1)
            end = 2 if of_tail else 0
            found = set(contexts[same, end].tolist()) - {int(row[end])}
            assert found == others_in_loops(rows, row, of_tail)


def test_queries_have_their_qualifiers_and_leave_out_what_fits_them_too() -> None:
    data, graph = load_data("qualified", batch_size=50, limit_test=40), KnowledgeGraph.of_names(draw_statements())
    everything = graph.triples
    assert (data.task, data.kind, data.classes, data.test.num_samples) == ("completion", "triple", graph.entities, 80)
    assert data.input_shape == (3,)
    seen = []
    for batch in data.test:
        asked = batch.inputs
        assert asked.facts.equal(graph.parts["train"])
        for number, of_tail in enumerate(asked.of_tail.tolist()):
            row = torch.cat([asked.triples[number], asked.qualifiers[number]])
            assert bool((graph.parts["test"] == row).all(1).any())
            seen.append((*row.tolist(), of_tail))
            found = asked.others[1, asked.others[0] == number].tolist()
            assert set(found) == others_in_loops(everything, row, of_tail)
            assert len(found) == len(set(found))
    assert len(set(seen)) == 80
    batch = next(iter(data.train))
    assert (batch.inputs.qualifiers.shape, batch.inputs.others) == ((50, 2), None)
