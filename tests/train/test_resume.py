"""The checkpoint that --resume finds, and the flags it resumes with."""

import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing import event_accumulator

from convnn.cli import main_train
from convnn.errors import InputError
from convnn.train import ResumePoint, find_resume_point, read_checkpoint
from convnn.train.resume import CHANGEABLE
from convnn.train.sealed import read_sealed, write_sealed
from convnn.train.state import _result

FLAGS = shlex.split(
    "--dataset digits --model resnet18 --width 0.0625 --K 4 --num_epochs 3 --batch_size 16 --limit_train 32"
    " --limit_test 16 --lr 0.01 --checkpoint_every 15m"
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    assert main_train([*FLAGS, "--scheduler", "cosine", "--resume", "--output_dir", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished run."""
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def find(**given: object) -> ResumePoint:
    point = find_resume_point(given, warn=print)
    assert point is not None
    return point


@pytest.mark.slow
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
    with pytest.raises(InputError, match=r"best.safetensors holds weights only; resume from last.safetensors"):
        find(resume=str(folder / "best.safetensors"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": 0.1}, r"--lr=0.1 differs from 0.01, its value in the run of .*last.safetensors; leave it out"),
        ({"model": "vgg11"}, "--model=vgg11 differs from resnet18"),
        ({"K": 5}, "--K=5 differs from 4"),
        ({"seed": 1}, "--seed=1 differs from 0"),
        ({"num_epochs": 9}, "--num_epochs=9 differs from 3, the length of the cosine schedule"),
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
    assert f"nothing left to train for {folder / 'last.safetensors'}: 3 epochs done" in printed
    assert "resuming" not in printed
    assert [(folder / name).read_bytes() for name in files] == before


@pytest.mark.slow
def test_a_damaged_checkpoint_is_set_aside_and_the_run_repeated_from_the_one_before(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    last = folder / "last.safetensors"
    metrics, weights = (folder / "metrics.csv").read_bytes(), read_checkpoint(last).weights
    last.write_bytes(last.read_bytes()[:-1])
    assert main_train(["--resume", str(folder)]) == 0
    assert "resuming from previous.safetensors" in " ".join(capsys.readouterr().out.split())
    assert (folder / "last.safetensors.damaged").exists()
    assert (folder / "metrics.csv").read_bytes() == metrics
    again = read_checkpoint(last).weights
    assert all((again[name] == t).all() for name, t in weights.items())
    read_checkpoint(folder / "previous.safetensors")


@pytest.mark.slow
def test_more_epochs_can_be_asked_for_without_the_cosine(tmp_path: Path) -> None:
    """Check that two epochs and one more equal three."""
    for name, epochs in (("whole", ["3"]), ("parts", ["2", "3"])):
        for number in epochs:
            argv = [*FLAGS, "--num_epochs", number, "--resume", "--output_dir", str(tmp_path / name)]
            assert main_train(argv) == 0
    assert (tmp_path / "whole" / "metrics.csv").read_bytes() == (tmp_path / "parts" / "metrics.csv").read_bytes()


def rewrite(path: Path, change: Callable[[dict, dict], object]) -> None:
    """Change the flags of a run, or the settings of its network, in a checkpoint."""
    tensors, document = read_sealed(path)
    document.pop("sha256")
    change(document["run"]["config"], document["recipe"]["settings"])
    write_sealed(path, tensors, document)


@pytest.mark.parametrize("names", [["reach", "edge_type", "patch_size"], ["seed", "noise", "augment", "tensorboard"]])
def test_what_there_was_not_yet_when_a_run_began_has_its_default(names: list[str], folder: Path) -> None:
    before = find(resume=str(folder)).config
    rewrite(
        folder / "last.safetensors",
        lambda flags, settings: [(flags.pop(name), settings.pop(name, None)) for name in names],
    )
    assert find(resume=str(folder)).config == before


def test_flags_of_another_version_are_named(folder: Path) -> None:
    last = folder / "last.safetensors"
    rewrite(last, lambda flags, _: flags.update(colour="red", depth=3))
    with pytest.raises(InputError, match=r"cannot be read: this version has no flag for colour='red', depth=3"):
        find(resume=str(folder))
    rewrite(last, lambda flags, settings: (flags.pop("colour"), flags.pop("depth"), settings.update(colour="red")))
    with pytest.raises(InputError, match="recipe that cannot be built: setting 'colour' is unknown"):
        find(resume=str(folder))


def test_flags_that_are_not_those_of_the_weights_are_named(folder: Path) -> None:
    last = folder / "last.safetensors"
    rewrite(last, lambda _, settings: settings.update(reach=2, prefer="unlike"))
    by_both = r"differ: --reach is 1 in the flags and 2 in the weights, --prefer is 'like' in the flags and 'unlike' in"
    with pytest.raises(InputError, match=by_both):
        find(resume=str(folder))
    rewrite(
        last, lambda flags, settings: (settings.update(prefer="like"), settings.pop("reach"), flags.update(reach=3))
    )
    with pytest.raises(InputError, match=r"differ: --reach is 3 in the flags and 1 in the weights$"):
        find(resume=str(folder))


SHORT = [*FLAGS, "--layer", "Conv2d"]


@pytest.fixture(scope="module")
def best_is_first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a run of three epochs whose first is the best, because it unlearns afterwards."""
    folder = tmp_path_factory.mktemp("falling")
    argv = [*SHORT, "--num_epochs", "1", "--tensorboard", "--output_dir", str(folder)]
    assert main_train(argv) == 0
    assert main_train(["--resume", str(folder), "--num_epochs", "2"]) == 0
    return folder


def without_better_epochs(folder: Path, to: Path) -> None:
    """Return a copy of a run whose first epoch no later one can beat."""
    to.mkdir()
    for name in ("last.safetensors", "best.safetensors"):
        tensors, document = read_sealed(folder / name)
        document.pop("sha256")
        if document["run"] is not None:
            first, second = document["run"]["results"]
            first["test"], first["is_best"], second["is_best"] = [0.1, 1.0, 1.0, {}], True, False
        else:
            document["recipe"] |= {"epoch": 1, "test_top1": 1.0}
        write_sealed(to / name, tensors, document)


@pytest.mark.slow
def test_the_best_weights_come_along_into_another_folder(best_is_first: Path, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    without_better_epochs(best_is_first, before)
    assert main_train(["--resume", str(before), "--output_dir", str(after), "--num_epochs", "3"]) == 0
    best = read_checkpoint(after / "best.safetensors")
    assert (best.recipe.epoch, best.recipe.test_top1) == (1, 1.0)
    expected = read_checkpoint(before / "best.safetensors").weights
    assert all((best.weights[name] == t).all() for name, t in expected.items())
    assert len((after / "metrics.csv").read_text().splitlines()) == 4


def test_a_run_that_is_over_is_whole_in_another_folder(folder: Path, tmp_path: Path) -> None:
    after = tmp_path / "after"
    assert main_train(["--resume", str(folder), "--output_dir", str(after)]) == 0
    for name in ("best.safetensors", "metrics.csv"):
        assert (after / name).read_bytes() == (folder / name).read_bytes()
    assert find(resume=str(after)).checkpoint.run is not None


@pytest.mark.parametrize("damage", ["gone", "cut", "another"])
def test_best_weights_that_are_lost_are_not_taken_for_others(damage: str, best_is_first: Path, tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    without_better_epochs(best_is_first, before)
    best = before / "best.safetensors"
    if damage == "gone":
        best.unlink()
    else:
        best.write_bytes(best.read_bytes()[:-1] if damage == "cut" else (best_is_first / best.name).read_bytes())
    if damage == "another":
        tensors, document = read_sealed(best)
        write_sealed(best, tensors, {"recipe": document["recipe"] | {"epoch": 7}, "run": None})
    point = find(resume=str(before), output_dir=str(after))
    first, second = (_result(row) for row in point.checkpoint.run.document["results"])
    assert point.best([first, second]) is None
    assert point.best([replace(first, is_best=False), replace(second, is_best=True)]) is None


@pytest.mark.slow
def test_another_folder_with_results_is_not_mixed_in(folder: Path, best_is_first: Path, tmp_path: Path, capsys) -> None:
    other = tmp_path / "other"
    shutil.copytree(best_is_first, other)
    before = {path: path.read_bytes() for path in other.iterdir() if path.is_file()}
    assert main_train(["--resume", str(folder), "--output_dir", str(other)]) == 2
    assert f"--output_dir={other} holds the results of an earlier run; choose another" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in other.iterdir() if path.is_file()} == before
    assert main_train(["--resume", str(folder), "--output_dir", str(other), "--overwrite"]) == 0
    assert (other / "best.safetensors").read_bytes() == (folder / "best.safetensors").read_bytes()
    assert not (other / "previous.safetensors").exists()


def epochs_in_tensorboard(folder: Path) -> list[int]:
    accumulator = event_accumulator.EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    return [event.step for event in accumulator.Scalars("lr")]


@pytest.mark.slow
def test_tensorboard_shows_one_run_and_all_of_it(best_is_first: Path, tmp_path: Path) -> None:
    assert epochs_in_tensorboard(best_is_first) == [1, 2]
    again, moved = tmp_path / "again", tmp_path / "moved"
    shutil.copytree(best_is_first, again)
    argv = [*SHORT, "--num_epochs", "1", "--tensorboard", "--output_dir", str(again), "--overwrite"]
    assert main_train(argv) == 0
    assert epochs_in_tensorboard(again) == [1]
    assert main_train(["--resume", str(best_is_first), "--num_epochs", "3", "--output_dir", str(moved)]) == 0
    assert epochs_in_tensorboard(moved) == [1, 2, 3]


@pytest.mark.parametrize("spelling", ["run/.", "other/../run", "link", "absolute"])
def test_a_damaged_checkpoint_is_set_aside_however_its_folder_is_spelled(
    spelling: str, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "other").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    last, previous = Path("run/last.safetensors"), Path("run/previous.safetensors")
    last.write_bytes(last.read_bytes()[:-1])
    folder = str(tmp_path / "run") if spelling == "absolute" else spelling
    find(resume="run", output_dir=folder).rename_damaged()
    assert Path("run/last.safetensors.damaged").exists()
    assert previous.exists()
    assert not last.exists()


def test_a_damaged_checkpoint_of_another_folder_stays(folder: Path, tmp_path: Path) -> None:
    (folder / "last.safetensors").write_bytes(b"")
    find(resume=str(folder), output_dir=str(tmp_path / "new")).rename_damaged()
    assert (folder / "last.safetensors").exists()


def test_a_run_without_resume_is_not_overwritten_even_before_its_first_epoch_ended(folder: Path) -> None:
    (folder / "metrics.csv").unlink()
    assert main_train([*FLAGS, "--output_dir", str(folder)]) == 2
