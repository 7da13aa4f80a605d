"""Images in train/, val/ and test/: val chooses the best epoch, whose test scores are reported once, at the end."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from convnn.cli import main, main_train
from convnn.data import load_part
from convnn.runs import read_run, read_runs
from convnn.train import (
    EpochResult,
    Scores,
    Supervised,
    TensorBoardLog,
    evaluate,
    load_checkpoint,
    make_accelerator,
    read_checkpoint,
)
from convnn.train.device import find_device
from convnn.viz.compare.plot import comparison_figure
from convnn.viz.compare.table import comparison
from same_runs import rows_of

FLAGS = (
    "--dataset imagefolder --model resnet18 --width 0.0625 --layer Conv2d --batch_size 8 --lr 0.03 --num_workers 0"
    " --device cpu --seed 3"
)
SIZES = {"train": 8, "val": 9, "test": 11}
EPOCHS = 4


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write noise of two classes: learning one part does not help on the others, so that accuracies go up and down."""
    path, pixels = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, count in SIZES.items():
        for name in ("cat", "dog"):
            (path / part / name).mkdir(parents=True)
            for number in range(count):
                picture = Image.fromarray(pixels.integers(0, 256, (8, 8, 3), dtype=np.uint8))
                picture.save(path / part / name / f"{number}.png")
    return path


@pytest.fixture(scope="module")
def run(images: Path, train: Callable[[str], Path]) -> Path:
    return train(f"{FLAGS} --num_epochs {EPOCHS} --data_path {images}")


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def best_row(folder: Path) -> dict[str, str]:
    return max(rows_of(folder), key=lambda row: float(row["val_top1"]))


def scores_of(checkpoint: Path, images: Path, part: str) -> list[float | None]:
    network, _ = load_checkpoint(checkpoint)
    loader = load_part("imagefolder", images, part, batch_size=8, num_workers=0).loader
    found = evaluate(Supervised(network, "CrossEntropy"), loader, make_accelerator(find_device("cpu")))
    return [found.loss, found.top1, found.top5]


def of_part(row: dict[str, str], part: str) -> list[float | None]:
    """Return loss and accuracies, without top-5 for two classes."""
    values = [row[f"{part}_{measure}"] for measure in ("loss", "top1", "top5")]
    return [float(value) if value else None for value in values]


@pytest.mark.slow
def test_the_table_has_val_in_every_row_and_test_in_that_of_the_best(run: Path) -> None:
    assert ",".join(rows_of(run)[0]) == (
        "epoch,train_loss,train_top1,train_top5,val_loss,val_top1,val_top5,test_loss,test_top1,test_top5,lr"
    )
    assert all(row["val_top1"] for row in rows_of(run))
    assert [row["epoch"] for row in rows_of(run) if row["test_top1"]] == [best_row(run)["epoch"]]


@pytest.mark.slow
def test_the_figures_are_those_of_the_best_weights(run: Path, images: Path) -> None:
    for part in ("val", "test"):
        assert scores_of(run / "best.safetensors", images, part) == pytest.approx(of_part(best_row(run), part))
    recipe = load_checkpoint(run / "best.safetensors")[1]
    assert recipe.epoch == int(best_row(run)["epoch"])
    assert recipe.test_top1 == float(best_row(run)["test_top1"])


def test_some_epoch_is_not_the_best_and_then_not_tested(run: Path) -> None:
    document = read_checkpoint(run / "last.safetensors").run.document
    results = document["results"]
    assert document["parts"] == ["train", "val", "test"]
    assert [result["test"] is None for result in results] == [not result["is_best"] for result in results]
    assert not all(result["is_best"] for result in results)


def test_the_words_of_the_results_say_which_is_which(run: Path) -> None:
    text, best = (run / "train_eval_results.txt").read_text(), best_row(run)
    assert text.count(" | [Val] Loss") == EPOCHS
    assert f"Max Val Accuracy: {float(best['val_top1']):.4%} at Epoch {best['epoch']}\n" in text
    assert text.count("[Test]") == 1
    assert f"[Test] of Epoch {best['epoch']}: Loss: {float(best['test_loss']):.8f}" in text
    assert "Top5" not in text, "of two classes"


@pytest.mark.slow
def test_the_screen_tells_the_test_scores_once_at_the_end(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*FLAGS.split(), "--num_epochs", "2", "--data_path", str(images), "--output_dir", str(tmp_path)]
    assert main_train(argv) == 0
    lines, best = capsys.readouterr().out.splitlines(), best_row(tmp_path)
    assert any("imagefolder: 16 train, 18 val, 22 test, 3x8x8" in line for line in lines)
    epochs = [line for line in lines if line.startswith("epoch ")]
    assert len(epochs) == 2
    assert all("  val " in line and "test" not in line for line in epochs)
    loss, top1 = float(best["test_loss"]), float(best["test_top1"])
    assert lines[-2].startswith(f"test {loss:.4f} top-1 {top1:.2%} of epoch {best['epoch']}, the best on val")
    assert lines[-1].startswith(f"best val top-1 {float(best['val_top1']):.2%} in epoch {best['epoch']}")


def test_scalars_say_which_part_they_are_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    result = EpochResult(2, 1.0, 1.0, 0.1, Scores(1, 0, 0), Scores(2, 0.5, 1), is_best=True, val=Scores(3, 0.25, 1))
    log, written = TensorBoardLog(tmp_path), []
    monkeypatch.setattr(log, "write", lambda scalars, epoch: written.append((epoch, scalars)))
    log.on_epoch_end(result)
    assert (written[0][1]["top1/val"], "top1/test" in written[0][1]) == (0.25, False)
    log.on_test(result)
    assert written[1] == (2, {"loss/test": 2, "top1/test": 0.5, "top5/test": 1})
    log.on_test(replace(result, test=Scores(2, 0.5, None)))
    assert written[2] == (2, {"loss/test": 2, "top1/test": 0.5})


def test_a_finished_run_that_is_resumed_keeps_its_test_figure(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (copy / "metrics.csv").read_bytes()
    (copy / "metrics.csv").unlink()
    assert main_train(["--resume", str(copy)]) == 0
    assert (copy / "metrics.csv").read_bytes() == before
    assert f"of epoch {best_row(copy)['epoch']}, the best on val" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_that_goes_on_later_ends_as_one_that_never_stopped(run: Path, images: Path, tmp_path: Path) -> None:
    argv = [*FLAGS.split(), "--data_path", str(images), "--output_dir", str(tmp_path)]
    assert main_train([*argv, "--num_epochs", "1"]) == 0
    assert rows_of(tmp_path)[0]["test_top1"]
    assert main_train(["--resume", str(tmp_path), "--num_epochs", str(EPOCHS)]) == 0
    assert (tmp_path / "metrics.csv").read_bytes() == (run / "metrics.csv").read_bytes()


def test_a_run_that_goes_on_elsewhere_takes_along_the_best_weights_by_val(run: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    assert best_row(run)["epoch"] != str(EPOCHS), "so that they are not in last.safetensors"
    assert main_train(["--resume", str(run), "--output_dir", str(moved)]) == 0
    for name in ("best.safetensors", "metrics.csv"):
        assert (moved / name).read_bytes() == (run / name).read_bytes()


def test_a_run_does_not_go_on_with_other_parts(
    copy: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(images, tmp_path / "two", ignore=shutil.ignore_patterns("test"))
    assert main_train(["--resume", str(copy), "--data_path", str(tmp_path / "two")]) == 2
    error = capsys.readouterr().err
    assert "is of a run with the parts ['train', 'val', 'test']; --data_path has ['train', 'test']" in error


def test_a_run_does_not_go_on_with_other_classes(
    copy: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(images, tmp_path / "images")
    for part in SIZES:
        (tmp_path / "images" / part / "dog").rename(tmp_path / "images" / part / "wolf")
    assert main_train(["--resume", str(copy), "--data_path", str(tmp_path / "images")]) == 2
    error = capsys.readouterr().err
    assert "/images lacks dog of the classes that the checkpoint learned and has wolf, which it did not learn" in error


@pytest.mark.parametrize("part", SIZES)
def test_each_part_can_be_evaluated(part: str, run: Path, images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    best = str(run / "best.safetensors")
    assert main(["evaluate", best, "--data_path", str(images), "--part", part, "--num_workers", "0"]) == 0
    printed = capsys.readouterr().out
    named = "imagefolder" if part == "test" else f"imagefolder ({part})"
    assert f"on {2 * SIZES[part]} images of {named}: loss" in printed
    assert f"top-1 {scores_of(run / 'best.safetensors', images, part)[1]:.2%}" in printed


def test_a_part_is_evaluated_without_the_others(run: Path, images: Path, tmp_path: Path) -> None:
    shutil.copytree(images / "test", tmp_path / "test")
    best = str(run / "best.safetensors")
    assert main(["evaluate", best, "--data_path", str(tmp_path), "--num_workers", "0"]) == 0


def test_the_classes_that_differ_are_named(
    run: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(images / "test", tmp_path / "test")
    (tmp_path / "test/dog").rename(tmp_path / "test/wolf")
    assert main(["evaluate", str(run / "best.safetensors"), "--data_path", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"convnn: --dataset=imagefolder in --data_path={tmp_path} lacks dog of the classes that the checkpoint learned"
        " and has wolf, which it did not learn\n"
    )


def test_a_split_that_does_not_exist_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run / "best.safetensors"), "--part", "tset"]) == 2
    assert "--part='tset' is not one of train, val, test; did you mean 'test'?" in capsys.readouterr().err


def test_a_comparison_says_what_was_measured_on_which_part(run: Path, copy: Path) -> None:
    two = copy / "metrics.csv"
    names = ("epoch", "train_loss", "train_top1", "train_top5", "val_loss", "val_top1", "val_top5", "lr")
    lines = [",".join(names).replace("val", "test"), *(",".join(row[name] for name in names) for row in rows_of(run))]
    two.write_text("\n".join(lines) + "\n")
    runs = read_runs([run, copy])
    columns = {column.heading: column.cells for column in comparison(runs)}
    assert columns["measured on"] == ("val", "test")
    assert len(set(columns["best top-1"])) == 1
    best = best_row(run)
    assert columns["its test top-1"] == (f"{float(best['test_top1']):.2%}", f"{float(best['val_top1']):.2%}")
    titles = [panel.get_title(loc="left") for panel in comparison_figure(runs).axes]
    assert titles == ["Val or test top-1 accuracy", "Val or test loss"]
    assert "its top-5" not in columns, "of two classes"
    assert "measured on" not in [column.heading for column in comparison([read_run(copy), read_run(copy)])]


def test_broken_images_of_all_parts_are_listed_and_other_files_said(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(images, tmp_path / "images")
    broken = [tmp_path / "images" / part / "dog/broken.png" for part in SIZES]
    for path in broken:
        path.write_bytes(b"")
    others = [tmp_path / "images" / part / "cat/[red]notes.txt" for part in ("train", "val")]
    for path in others:
        path.write_text("no picture")
    argv = [*FLAGS.split(), "--data_path", str(tmp_path / "images"), "--output_dir", str(tmp_path / "run")]
    assert main_train([*argv, "--num_epochs", "1", "--on_bad_image", "skip"]) == 0
    listed = (tmp_path / "run/broken_images.txt").read_text()
    assert all(str(path) in listed for path in broken)
    assert f"skipped files that are not pictures by their names: {others[0]} and 1 more\n" in capsys.readouterr().out


def test_one_class_alone_is_refused(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(images, tmp_path / "images", ignore=shutil.ignore_patterns("dog"))
    argv = [*FLAGS.split(), "--data_path", str(tmp_path / "images"), "--output_dir", str(tmp_path / "run")]
    assert main_train(argv) == 2
    assert f"--data_path={tmp_path / 'images'} has only the class 'cat'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
