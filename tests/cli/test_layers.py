"""Tests of `convnn layers`, which prints all facts of every system."""

import json
from dataclasses import fields

import pytest

from convnn.cli import main
from convnn.nn import LAYERS, register_layer
from convnn.systems import System, list_systems

FACTS = [field.name for field in fields(System)]


@pytest.fixture
def _restored():
    before = dict(LAYERS)
    yield
    LAYERS.clear()
    LAYERS.update(before)


def test_nothing_is_cut_where_it_is_piped(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["layers"]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    for system in list_systems():
        title = f"--layer {system.layer} {system.name}" if system.layer else system.name
        start = lines.index(title)
        facts = lines[start + 1 : lines.index("", start)]
        assert f"selects {system.selects}" in facts
        assert f"weighs {system.weighs}" in facts
        assert f"aggregates {system.aggregates}" in facts
        assert f"paper {system.paper}" in facts
        assert f"checked {system.checked}" in facts
        assert f"code {system.where}" in facts


def test_json_has_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == [system.name for system in list_systems()]
    for system in list_systems():
        row = rows[system.name]
        assert all(row[fact] == getattr(system, fact) for fact in FACTS)
    assert rows["GreedyViG: DAGC"]["flags"] == ["--step", "--positional_size"]
    assert rows["GreedyViG: DAGC"]["number"] == 29
    assert rows["Multi-head attention"]["reads"] == "tokens"


@pytest.mark.parametrize("pattern", ["convnn", "ConvNN by *"])
def test_a_pattern_chooses_by_layer_or_name(pattern: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["layers", pattern, "--json"]) == 0
    layers = {row["layer"] for row in json.loads(capsys.readouterr().out)}
    assert layers == {"ConvNN_Pos" if "by" in pattern else "ConvNN"}
    assert main(["layers", pattern[:4] + "m"]) == 2
    assert "matches none of the" in capsys.readouterr().err


@pytest.mark.usefixtures("_restored")
def test_a_layer_of_your_own_stands_behind(capsys: pytest.CaptureFixture[str]) -> None:
    register_layer("Blur", lambda i, o, *, side=3: None, "the window, [its] mean")
    assert main(["layers"]) == 0
    end = capsys.readouterr().out.partition("Registered by you\n")[2].split()
    assert " ".join(end) == "--layer Blur selects the window, [its] mean reads maps flags"
