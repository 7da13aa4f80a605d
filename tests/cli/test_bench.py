"""`convnn bench`: tables, a page, results that are kept, and what is refused."""

import json
import re
from pathlib import Path

import pytest

from convnn.bench import Candidate, Result, Verdict
from convnn.bench.folder import Folder
from convnn.bench.measure import Times
from convnn.bench.table import summaries
from convnn.bench.timing import Timing
from convnn.cli import bench, main
from convnn.errors import InputError
from fences import ROOT

FOLDER = ROOT / "tests" / "bench"
RELU = str(FOLDER / "definitions" / "relu.py")


def planted(*names: str) -> list[str]:
    return [str(FOLDER / "planted" / f"{name}.py") for name in names]


def timing(baseline: float, runtime: float) -> Timing:
    return Timing(Times.of([baseline]), Times.of([runtime]), baseline / runtime, float("nan"))


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Judge without running anything: files named honest are right, twice as fast as the definition."""
    seen: list[str] = []

    def run(task, candidate: Candidate, **_: object) -> Result:
        seen.append(candidate.name)
        if "honest" in candidate.name:
            return Result(task.name, candidate.name, Verdict(True, num_cases=3), timing(2.0, 1.0))
        return Result(task.name, candidate.name, Verdict(False, "values", "a <difference> of 1"))

    monkeypatch.setattr(bench, "judge", run)
    return seen


@pytest.mark.slow
def test_a_kernel_is_judged_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["bench", "run", RELU, "--candidate", *planted("relu_clipped"), "--out", str(tmp_path / "out"), "--json"]
    assert main([*argv, "--rounds", "0", "--seed", "5"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["facts"]["seed"] == 5
    assert found["results"][0]["verdict"]["reason"] == "values"
    assert found["summary"][0]["correct"] == 0


def test_what_is_found_is_written_as_a_page_a_table_and_json(
    tmp_path: Path, judged: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    names = planted("relu_honest", "relu_clipped")
    assert main(["bench", "run", RELU, "--candidate", *names, "--out", str(out)]) == 1
    assert "relu_clipped at relu: wrong: values" in capsys.readouterr().out
    page = (out / "bench.html").read_text()
    assert "<title>2 kernels at 1 task</title>" in page
    assert "a &lt;difference&gt; of 1" in page
    assert not re.search(r"(?:src|href)=", page)
    assert "| relu | relu\\_honest | right |" in (out / "bench.md").read_text()
    document = json.loads((out / "bench.json").read_text())
    assert [one["candidate"] for one in document["summary"]] == ["relu_honest", "relu_clipped"]
    assert document["summary"][0]["fast"] == {"0": 1.0, "0.5": 1.0, "0.8": 1.0, "1": 1.0, "1.5": 1.0, "2": 0.0}


@pytest.mark.parametrize("flag", ["--rounds", "--seconds", "--threads"])
def test_numbers_out_of_range_leave_no_folder(
    flag: str, tmp_path: Path, judged: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["bench", "run", RELU, "--candidate", *planted("relu_honest"), "--out", str(tmp_path / "out"), flag, "-1"])
        == 2
    )
    assert f"{flag}=-1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert not judged


def test_results_are_kept_and_taken_over_where_nothing_changed(tmp_path: Path, judged: list[str]) -> None:
    out, own = tmp_path / "out", tmp_path / "honest.py"
    own.write_text("x = 1\n")
    argv = ["bench", "run", RELU, "--candidate", str(own), *planted("relu_clipped"), "--out", str(out)]
    main(argv)
    assert judged == ["honest", "relu_clipped"]
    assert main(argv) == 2  # without --resume or --overwrite
    main([*argv, "--resume"])
    assert len(judged) == 2
    own.write_text("x = 2\n")
    main([*argv, "--resume"])
    assert judged[2:] == ["honest"]
    seed = json.loads((out / "run.json").read_text())["seed"]
    assert main([*argv, "--resume", "--seed", str(seed + 1)]) == 2
    main([*argv, "--overwrite"])
    assert len(judged) == 5


def test_a_result_comes_back_as_it_was_kept(tmp_path: Path) -> None:
    folder = Folder(tmp_path, {"seed": 1}, resume=False)
    kept = Result("t", "c", Verdict(True, num_cases=3, max_difference=0.5), timing(2.0, 1.0), ("pytorch_wrap",), "d")
    folder.keep(kept)
    found = folder.known("t", "c", "d")
    assert found is not None
    assert json.dumps(found.as_json()) == json.dumps(kept.as_json())
    assert found.timing is not None
    assert found.timing.speedup == 2.0
    assert folder.known("t", "c", "another") is None
    folder.file_of("t", "c").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        folder.known("t", "c", "d")


def test_what_a_candidate_does_not_compute_is_no_fault() -> None:
    results = [
        Result("a", "mine", Verdict(True), timing(3.0, 1.0)),
        Result("b", "mine", Verdict(False, unsupported=["no kernel"])),
        Result("c", "mine", Verdict(False, "values")),
        Result("d", "mine", Verdict(True)),
    ]
    (found,) = summaries(results)
    assert (found.tasks, found.correct, found.not_timed) == (3, 2, 1)
    assert found.fast[2.0] == pytest.approx(1 / 3)
    assert found.speedup == pytest.approx(3)


def test_tasks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "list", "weigh.similarity.cosine", RELU, "--filters"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("weigh.similarity.cosine: 3 settings; float32, float64, float16, bfloat16;")
    assert second.endswith("thrown out by no filter")
    assert main(["bench", "list", "--json"]) == 0
    assert "aggregate.maximum" in [row["name"] for row in json.loads(capsys.readouterr().out)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "nowhere", "--candidate", *planted("relu_honest")], "task 'nowhere' is not one of"),
        (["run", RELU], "give --candidate FILE"),
        (["run", RELU, "--candidate", "nowhere.py"], "candidate 'nowhere.py' is no file"),
        (["run", RELU, "--candidate", *planted("relu_honest", "relu_honest")], "two of the name 'relu_honest'"),
        (["run", "aggregate.maximum", "--seconds", "0"], "seconds=0.0 must be a positive number"),
        (["run", "aggregate.maximum", "--backends", "cpu"], "did you mean '--backend'"),
        (["list", "aggregate.maximun"], "did you mean 'aggregate.maximum'"),
        ([], "COMMAND"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
