"""Runs of networks on pairs of images: tables, resuming to the bit, and what does not fit."""

import shlex
from pathlib import Path

import pytest

from convnn.cli import main, main_train
from pairwise import only
from same_runs import assert_same, killed_after, rows_of

MATCH = shlex.split(
    "--dataset motions --resize 32 --width 0.3 --batch_size 2 --limit_train 4 --limit_test 1 --num_epochs 2"
    " --device cpu"
)
MODELS = {"skflow_s": ["--width", "0.2", "--iterations", "2"], "chm": [], "dkm": []}


def run_of(folder: Path, model: str, *flags: str) -> Path:
    assert main_train([*MATCH, "--model", model, *MODELS[model], "--output_dir", str(folder), *flags]) == 0
    return folder


@pytest.fixture(scope="module", params=["dkm", "skflow_s"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return request.param, run_of(tmp_path_factory.mktemp(request.param) / "run", request.param)


def test_the_table_has_the_figures(finished: tuple[str, Path]) -> None:
    model, folder = finished
    names = "epoch train_loss test_loss lr {}test_epe test_within@1 test_within@3"
    terms = {"dkm": "term_places term_certainty ", "skflow_s": ""}[model]
    assert " ".join(rows_of(folder)[0]) == names.format(terms)


@pytest.mark.slow
@pytest.mark.parametrize("steps", only((2).__eq__, [1, 2, 3]))
def test_a_run_killed_after_any_step_resumes_to_the_bit(steps: int, finished: tuple[str, Path], tmp_path: Path) -> None:
    model, whole = finished
    with killed_after(steps):
        flags = ["--model", model, *MODELS[model], "--checkpoint_every", "1"]
        assert main_train([*MATCH, *flags, "--output_dir", str(tmp_path)]) == 2
    assert main_train(["--resume", str(tmp_path)]) == 0
    assert_same(tmp_path, whole)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--dataset digits", "--model=dkm reads image pairs, but --dataset=digits has images; the data sets of image"),
        ("--model finc_flow", "--model=finc_flow reads images, but --dataset=motions has image pairs; the networks on"),
        ("--augment", "--augment changes images; --dataset='motions' has image pairs, so leave it out"),
        ("--criterion MSE", "--criterion=MSE is for networks of classes"),
        ("--resize 8", "images of 8x8 pixels are too small for RegressionNetwork"),
        ("--dataset flowfolder --data_path nowhere", "has neither val/ nor test/"),
        ("--iterations 0", "--iterations=0 must be"),
    ],
)
def test_what_does_not_fit(flags: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_train([*MATCH, "--model", "dkm", *flags.split(), "--output_dir", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["predict RUN x.png", "export RUN --out NEW", "neighbors RUN x.png"])
def test_commands_for_classes(command: str, finished: tuple[str, Path], tmp_path: Path, capsys) -> None:
    places = {"RUN": str(finished[1]), "NEW": str(tmp_path / "x.onnx")}
    assert main([places.get(word, word) for word in command.split()]) == 2
    assert f"convnn {command.split()[0]} is for networks of classes" in capsys.readouterr().err
