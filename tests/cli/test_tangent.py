"""Tests of `convnn tangent`, and of its pictures, tables and page."""

import csv
import json
import shlex
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from convnn.cli import main, main_train
from convnn.cli.tangent import FILES, network_at_start
from convnn.data import load_data
from convnn.errors import InputError
from convnn.tangent import tangent_report
from convnn.train import load_checkpoint
from convnn.viz import TangentRun, draw_attribution, draw_tangents
from convnn.viz.tangents.table import COLUMNS, LAYER_COLUMNS

FLAGS = shlex.split(
    "--dataset digits --model resnet18 --width 0.03 --num_epochs 1 --batch_size 16 --limit_train 32 --limit_test 16"
)
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a network that learns next to nothing, and another."""
    folder = tmp_path_factory.mktemp("runs")
    for name, flags in (("still", "--layer Conv2d --lr 1e-12 --seed 3"), ("moved", "--layer ConvNN --K 3 --lr 0.01")):
        assert main_train([*FLAGS, *flags.split(), "--output_dir", str(folder / name)]) == 0
    return folder


def test_the_start_is_that_of_the_run(runs: Path) -> None:
    network, recipe = load_checkpoint(runs / "still")
    start = dict(network_at_start(runs / "still" / "best.safetensors", recipe).named_parameters())
    for name, value in network.named_parameters():
        torch.testing.assert_close(start[name], value, rtol=0, atol=1e-9)


@pytest.mark.slow
def test_runs_are_compared_in_tables_a_picture_and_a_page(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    argv = ["tangent", str(runs / "still"), "--checkpoint", str(runs / "moved"), "--limit_test", "6", "--out", str(out)]
    assert main([*argv, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {path.name for path in out.iterdir()} == set(FILES)
    network, recipe = load_checkpoint(runs / "moved")
    batch = next(iter(load_data("digits", batch_size=6, limit_test=6).test))
    expected = tangent_report(network, batch.inputs, batch.labels)
    found = printed[3]
    assert (found["run"], found["weights"], found["test_top1"]) == ("moved", "trained", recipe.test_top1)
    assert found["alignment"] == pytest.approx(expected.alignment, abs=1e-4)
    assert found["effective_rank"] == pytest.approx(expected.effective_rank, rel=1e-3)
    assert [part["layer"] for part in found["layers"]] == [part.name for part in expected.layers]
    assert found["layers"][-1]["share"] == pytest.approx(expected.layers[-1].share, rel=1e-3)
    assert printed[0]["with_start"] == 1
    assert 0 < printed[1]["with_start"] < 1
    assert [row["weights"] for row in printed] == ["at start", "trained"] * 2
    with (out / "tangent.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert (head, len(rows)) == (list(COLUMNS), 4)
    with (out / "layers.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert (head, len(rows)) == (list(LAYER_COLUMNS), sum(len(row["layers"]) for row in printed))
    assert (out / "tangent.png").read_bytes().startswith(PNG)
    assert f"{found['alignment']:.3f}" in (out / "tangent.md").read_text()
    page = (out / "tangent.html").read_text()
    HTMLParser().feed(page)
    assert "<title>Tangent kernels of 2 networks on 6 images</title>" in page
    assert page.count("<tr>") == 5
    assert main(argv) == 2
    assert f"--out={out} would replace" in capsys.readouterr().err


def test_without_its_arguments_a_run_has_no_start(
    runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes((runs / "still" / "best.safetensors").read_bytes())
    argv = ["tangent", str(alone), "--limit_test", "2", "--out", str(tmp_path / "out")]
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert "its start is not known, because there is no args.txt beside the checkpoint" in printed
    assert "at start" not in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "RUN is missing: name the folder of a run, or several to compare"),
        (["{runs}/still", "{runs}/still"], "still' is given twice"),
        (["{runs}/still", "--chunk", "0"], "--chunk=0 must be an integer of at least 1"),
        (["{runs}/still", "--megabytes", "0"], "--megabytes=0.0 must be a positive number"),
        (["{runs}/nowhere"], "nowhere' is not a file"),
        (["{runs}/still", "--chunks", "2"], "unknown flag --chunks; did you mean '--chunk'?"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str], message: str, runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [word.format(runs=runs) for word in words]
    assert main(["tangent", *argv, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_pictures_of_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"runs=\[\] must not be empty"):
        draw_tangents([], tmp_path / "a.png")
    report = tangent_report(torch.nn.Linear(3, 2), torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))
    assert draw_tangents([TangentRun("one", report)], tmp_path / "a.png").read_bytes().startswith(PNG)
    images, parts = torch.rand(3, 1, 4, 5), np.arange(6.0).reshape(2, 3)
    assert draw_attribution(images[:2], images, parts, tmp_path / "b.png").read_bytes().startswith(PNG)
    for arguments, settings, message in (
        ((images[0], images, parts), {}, r"queries of shape \(1, 4, 5\)"),
        ((images, images, parts), {}, r"parts of shape \(2, 3\) must be \(3, 3\)"),
        ((images[:2], images, parts), {"count": 0}, "count=0 must be an integer of at least 1"),
        ((images[:2], images, parts), {"names": ["a"]}, r"names=\['a'\] must have 2 texts"),
    ):
        with pytest.raises(InputError, match=message):
            draw_attribution(*arguments, tmp_path / "c.png", **settings)
