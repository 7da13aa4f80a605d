"""What --resume finds, and with which flags it goes on."""

import shlex
from pathlib import Path

import pytest

from convnn.cli import main_train
from convnn.errors import InputError
from convnn.train import ResumePoint, find_resume_point, read_checkpoint
from convnn.train.resume import CHANGEABLE

FLAGS = shlex.split(
    "--dataset digits --model resnet18 --width 0.0625 --K 4 --num_epochs 3 --batch_size 32 --limit_train 64"
    " --limit_test 32 --lr 0.01 --checkpoint_every 15m"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    assert main_train([*FLAGS, "--scheduler", "cosine", "--resume", "--output_dir", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def find(**given: object) -> ResumePoint:
    point = find_resume_point(given, warn=print)
    assert point is not None
    return point


@pytest.mark.parametrize("how", ["auto", "folder", "file"])
def test_three_ways_to_name_a_run(how: str, folder: Path) -> None:
    given = {"auto": "auto", "folder": str(folder), "file": str(folder / "last.safetensors")}[how]
    point = find(resume=given, output_dir=str(folder))
    assert point.path == folder / "last.safetensors"
    assert (point.config.lr, point.config.scheduler, point.config.output_dir) == (0.01, "cosine", str(folder))


def test_a_run_goes_on_in_its_own_folder_unless_told_otherwise(folder: Path) -> None:
    assert find(resume=str(folder)).config.output_dir == str(folder)
    assert find(resume=str(folder), output_dir="elsewhere").config.output_dir == "elsewhere"


def test_auto_starts_where_there_is_nothing_and_a_path_does_not(tmp_path: Path) -> None:
    assert find_resume_point({"resume": "auto", "output_dir": str(tmp_path)}, warn=print) is None
    with pytest.raises(InputError, match=r"--resume=.* has no last.safetensors; give a checkpoint"):
        find_resume_point({"resume": str(tmp_path)}, warn=print)
    with pytest.raises(InputError, match=r"--resume=nowhere has no last.safetensors"):
        find_resume_point({"resume": "nowhere"}, warn=print)


def test_weights_alone_are_no_run(folder: Path) -> None:
    with pytest.raises(InputError, match=r"best.safetensors has weights only; a run goes on from last.safetensors"):
        find(resume=str(folder / "best.safetensors"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 0.1}, r"--lr=0.1 differs from 0.01, the value of the run of .*last.safetensors; leave it out"),
        ({"model": "vgg11"}, "--model=vgg11 differs from resnet18"),
        ({"K": 5}, "--K=5 differs from 4"),
        ({"seed": 1}, "--seed=1 differs from 0"),
        ({"num_epochs": 9}, "--num_epochs=9 differs from 3, by which the cosine schedule"),
    ],
)
def test_flags_that_would_change_the_outcome_are_refused(given: dict, message: str, folder: Path) -> None:
    with pytest.raises(InputError, match=message):
        find(resume=str(folder), **given)


def test_flags_that_do_not_change_it_may_differ(folder: Path) -> None:
    config = find(resume=str(folder), num_workers=0, checkpoint_every="7", device="cpu", lr=0.01).config
    assert (config.num_workers, config.checkpoint_every, config.device) == (0, "7", "cpu")
    assert {"lr", "seed", "batch_size", "model", "augment", "sync_batchnorm"}.isdisjoint(CHANGEABLE)


def test_a_finished_run_stays_as_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("last.safetensors", "best.safetensors", "metrics.csv", "train_eval_results.txt", "args.txt", "model.txt")
    before = [(folder / name).read_bytes() for name in files]
    assert main_train(["--resume", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert f"nothing is left to do for the run of {folder / 'last.safetensors'}: 3 epochs are done" in printed
    assert "going on" not in printed
    assert [(folder / name).read_bytes() for name in files] == before


def test_a_damaged_checkpoint_is_set_aside_and_the_run_repeated_from_the_one_before(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = folder / "last.safetensors"
    metrics, weights = (folder / "metrics.csv").read_bytes(), read_checkpoint(last).weights
    last.write_bytes(last.read_bytes()[:-1])
    assert main_train(["--resume", str(folder)]) == 0
    assert "going on from previous.safetensors" in " ".join(capsys.readouterr().out.split())
    assert (folder / "last.safetensors.damaged").exists()
    assert (folder / "metrics.csv").read_bytes() == metrics
    again = read_checkpoint(last).weights
    assert all((again[name] == t).all() for name, t in weights.items())
    read_checkpoint(folder / "previous.safetensors")


def test_more_epochs_can_be_asked_for_without_the_cosine(tmp_path: Path) -> None:
    """Two epochs and then one more are three."""
    for name, epochs in (("whole", ["3"]), ("parts", ["2", "3"])):
        for number in epochs:
            argv = [*FLAGS, "--num_epochs", number, "--resume", "--output_dir", str(tmp_path / name)]
            assert main_train(argv) == 0
    assert (tmp_path / "whole" / "metrics.csv").read_bytes() == (tmp_path / "parts" / "metrics.csv").read_bytes()


def test_a_run_without_resume_is_not_overwritten_even_before_its_first_epoch_ended(folder: Path) -> None:
    (folder / "metrics.csv").unlink()
    assert main_train([*FLAGS, "--output_dir", str(folder)]) == 2
