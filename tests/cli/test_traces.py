"""The command that curates a folder of traces: whole files, the lines as they were, and bad lines by name."""

import argparse
import json
from pathlib import Path

import pytest

from convnn.cli import _traces
from convnn.cli._parser import Parser
from convnn.errors import InputError
from convnn.screen import make_console


def run(*words: object) -> int:
    parser = Parser(prog="convnn bench")
    _traces.add_parser(parser.add_subparsers(parser_class=Parser))
    args: argparse.Namespace = parser.parse_args(["traces", *map(str, words)])
    return args.run(args, make_console())


def trace(task: object = "relu", **changes: object) -> dict[str, object]:
    return {
        "task": task, "type": "fusion", "length": 100, "correct": True, "reference_time": 2.0, "kernel_time": 1.0,
        "reasoning": "gr\u00fcndlich",
    } | changes  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder of two files: three tasks, of which one has no right kernel."""
    first = [trace(), trace(length=50), trace("sum", kernel_time=3.0), trace("sum", correct=0)]
    second = [trace("exp", type="single", length=7, correct=1, tokenizer="words"), trace("exp", type="single")]
    for name, traces in (("a.jsonl", first), ("b.jsonl", second)):
        lines = (json.dumps(one, ensure_ascii=False) for one in traces)
        (tmp_path / name).write_text("\n".join(lines) + "\n\n", "utf-8")
    return tmp_path


def test_traces_are_kept_as_they_were(folder: Path, capsys: pytest.CaptureFixture) -> None:
    out = folder / "kept"
    assert run(folder, "--out", out, "--bins", 2) == 0
    a, b = ((folder / name).read_text("utf-8").splitlines() for name in ("a.jsonl", "b.jsonl"))
    assert (out / "traces.jsonl").read_text("utf-8").splitlines() == [a[1], b[0]]
    assert "kept 2 of 6 traces" in capsys.readouterr().out
    assert "kept of type single,1" in (out / "traces.csv").read_text()
    assert sorted(path.name for path in out.iterdir()) == ["traces.csv", "traces.jsonl"]
    with pytest.raises(InputError, match="would replace"):
        run(folder, "--out", out)
    assert run(folder, "--out", out, "--bins", 1, "--per_type", 1, "--max_length", 60, "--overwrite", "--json") == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"{", "the line is not JSON"),
        (b"\xff", "the line is not UTF-8"),
        (b"[" * 100_000, "the line is not JSON"),
        (b"[1]", r"the line is [1], not an object"),
        (json.dumps({"task": 1}).encode(), "there is no 'type'"),
        (json.dumps(trace(correct=2)).encode(), "correct=2 must be true or false"),
        (json.dumps(trace(length="long")).encode(), "length='long' must be a finite number"),
        (json.dumps(trace(length=-1)).encode(), "length=-1 must be at least 0"),
        (json.dumps(trace(kernel_time=float("nan"))).encode(), "kernel_time=nan must be a finite number"),
        (json.dumps(trace(reference_time=0)).encode(), "reference_time=0 must be above 0"),
        (json.dumps(trace(task=None)).encode(), "task=None must be a name"),
    ],
    ids=lambda one: one[:20] if isinstance(one, str) else "line",
)
def test_bad_lines_are_named(folder: Path, line: bytes, message: str, capsys: pytest.CaptureFixture) -> None:
    (folder / "b.jsonl").write_bytes((folder / "b.jsonl").read_bytes() + line)
    assert run(folder, "--out", folder / "kept", "--bins", 2) == 1
    assert f"{folder / 'b.jsonl'}:4: {message}" in capsys.readouterr().err
    assert len((folder / "kept" / "traces.jsonl").read_text("utf-8").splitlines()) == 2


def test_lengths_are_in_as_many_bins_as_each_task_can_fill(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert run(folder, "--out", folder / "kept", "--json") == 0
    assert "right, lengths 2/2" in json.loads(capsys.readouterr().out)
    with pytest.raises(InputError, match=r"^--bins=3 must be from 1 to 2, the fewest traces of a task$"):
        run(folder, "--out", folder / "other", "--bins", 3)
    with pytest.raises(InputError, match=r"^--per_task=0 must be at least 1$"):
        run(folder, "--out", folder / "other", "--per_task", 0)
    assert not (folder / "other").exists()


def test_nothing_to_read(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="is not a folder"):
        run(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="has no trace that can be read"):
        run(tmp_path / "empty", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (folder / "c.jsonl").write_text(json.dumps(trace(tokenizer="letters")))
    with pytest.raises(InputError, match="lengths are tokens of letters and words"):
        run(folder, "--out", tmp_path / "out")
