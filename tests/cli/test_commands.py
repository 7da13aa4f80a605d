"""Tests of the commands on one tiny trained network."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from convnn.cli import main, main_train
from convnn.cli.train import resume_command
from convnn.train import TrainConfig
from convnn.viz import draw_curves
from launch import start, wait
from launch import train as train_in_process
from pairwise import only
from programs import run_main_py

ROOT = Path(__file__).parents[2]
PNG = b"\x89PNG"
TRAIN = (
    "--dataset digits --model resnet18 --width 0.0625 --layer Branching --K 4 --num_epochs 1"
    " --batch_size 64 --limit_train 64 --limit_test 32"
)


@pytest.fixture(scope="module")
def run_folder(train: Callable[[str], Path]) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("convnn.cli._callbacks.draw_curves", draw_curves)
        return train(TRAIN + " --tensorboard")


VIT = (
    "--dataset digits --model vit --resize 8 --patch_size 2 --num_layers 2 --d_hidden 12 --d_mlp 8 --K 4"
    " --num_epochs 1 --batch_size 64 --limit_train 64 --limit_test 32"
)


@pytest.mark.slow
@pytest.mark.parametrize("layer", only("ConvNNAttention".__eq__, ["Attention", "ConvNNAttention", "BranchConv"]))
def test_a_vision_transformer_trains_evaluates_and_shows_its_neighbours(layer: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main_train([*VIT.split(), "--layer", layer, "--no-softmax_topk_val", "--output_dir", str(folder)]) == 0
    best = str(folder / "best.safetensors")
    assert main(["evaluate", best, "--limit_test", "32"]) == 0
    assert main(["neighbors", best, "--index", "3", "--out", str(tmp_path)]) == 0
    assert (tmp_path / "neighbors_digits_3.png").read_bytes().startswith(PNG)
    assert f"vit of {layer} on digits_3" in (tmp_path / "neighbors_digits_3.html").read_text()
    arguments = (folder / "args.txt").read_text()
    for line in (f"layer: {layer}", "softmax_topk_val: False", "lr: 0.0005", "scheduler: cosine"):
        assert line in arguments


@pytest.fixture
def best(run_folder: Path) -> str:
    return str(run_folder / "best.safetensors")


@pytest.mark.slow
def test_training_leaves_its_files(run_folder: Path) -> None:
    names = {path.name for path in run_folder.iterdir()}
    files = {"args.txt", "model.txt", "train_eval_results.txt", "metrics.csv", "last.safetensors", "best.safetensors"}
    assert names == files | {"curves.png", "tensorboard", "times.csv"}
    assert (run_folder / "curves.png").stat().st_size > 10_000
    assert any((run_folder / "tensorboard").iterdir())


@pytest.mark.slow
def test_screen_shows_the_run_and_a_line_an_epoch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*TRAIN.replace("--num_epochs 1", "--num_epochs 2").split(), "--output_dir", str(tmp_path)]
    assert main(["train", *argv]) == 0
    printed = capsys.readouterr().out
    for word in ("device", "parameters", "GFLOPs", "digits: 64 train, 32 test, 1x8x8"):
        assert word in printed
    epochs = [line for line in printed.splitlines() if line.startswith("epoch")]
    assert len(epochs) == 2
    assert all(word in epochs[1] for word in ("2/2", "train", "test", "top-1", "top-5", "images/s", "left"))


def test_evaluate_repeats_the_recorded_accuracy(
    run_folder: Path, best: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", best, "--limit_test", "32"]) == 0
    recorded = (run_folder / "train_eval_results.txt").read_text().splitlines()[-1]
    accuracy = float(recorded.split(": ")[1].split("%")[0])
    assert f"top-1 {accuracy:.2f}%" in capsys.readouterr().out


def test_flags_that_nothing_reads_are_named_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--model", "resnet18", "--width", "0.0625", "--layer", "Conv2d", "--test_only"]
    assert main_train([*argv, "--K", "4", "--reach", "2", "--lr", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "not read by resnet18 of Conv2d: --K, --reach"
    assert main_train([*argv, "--kernel_size", "3"]) == 0
    assert "not read" not in capsys.readouterr().out


def test_layers_that_are_replaced_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_train(["--model", "torchvision:resnet18", "--where", "layer1.*", "--test_only", "--resize", "32"]) == 0
    assert "4 of 20 layers replaced by ConvNN; conv1 was kept: " in capsys.readouterr().out


def test_the_line_that_resumes_can_be_copied() -> None:
    config = TrainConfig(output_dir="runs/my first", imports="mine")
    assert resume_command(config) == "convnn train --resume 'runs/my first' --import mine"


@pytest.mark.slow
def test_json_is_for_programs(best: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*argv: str) -> Any:
        capsys.readouterr()
        assert main([*argv, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    scores = printed("evaluate", best, "--limit_test", "32")
    assert (scores["model"], scores["part"], scores["images"]) == ("resnet18", "test", 32)
    assert 0 <= scores["top1"] <= scores["top5"] <= 1
    layers = printed("statistics", best, "--limit_test", "8", "--limit_train", "16", "--out", str(tmp_path))
    assert {(layer["K"], type(layer["distance"])) for layer in layers} == {(4, float)}
    kernels = printed("kernels", best, "--out", str(tmp_path / "kernels.png"))
    assert {(one["kind"], tuple(one["taps"])) for one in kernels} == {("Conv2d", (3, 3)), ("ConvNN2d", (4,))}
    assert (tmp_path / "kernels.png").stat().st_size > 10_000
    assert {"name": "vit_tiny", "default_layer": "Attention"}.items() <= printed("models", "vit_t*")[0].items()
    assert printed("info")["backends"]["reference"] == []


def test_test_only_with_a_checkpoint_evaluates_it(best: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_train(["--test_only", "--checkpoint", best, "--dataset", "digits"]) == 0
    assert "on 360 images of digits" in capsys.readouterr().out


def test_test_only_without_a_checkpoint_checks_shapes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_train(["--model", "resnet18", "--width", "0.0625", "--layer", "ConvNN", "--test_only"]) == 0
    assert "input (2, 3, 32, 32), output (2, 10)" in capsys.readouterr().out


def test_evaluating_on_other_classes_is_refused(best: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for part in ("train", "test"):
        (tmp_path / part / "cat").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / part / "cat" / "1.png")
    assert main(["evaluate", best, "--dataset", "imagefolder", "--data_path", str(tmp_path)]) == 2
    lacks = (
        "lacks 0, 1, 2, 3, 4 and 5 more of the classes that the checkpoint learned and has cat, which it did not learn"
    )
    assert lacks in capsys.readouterr().err


def test_predict_names_a_class_for_every_picture(best: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    for i, path in enumerate(paths):
        Image.new("L", (20 + i, 16), color=100 * i).save(path)
    assert main(["predict", best, *paths, "--top", "2"]) == 0
    assert capsys.readouterr().out.count("%") == 4


def test_predict_names_a_broken_picture(best: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    assert main(["predict", best, str(broken)]) == 1
    assert str(broken) in capsys.readouterr().err


@pytest.mark.slow
def test_neighbors_draws_test_images_and_files(best: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "mine.png"
    Image.new("L", (16, 16), color=90).save(picture)
    out = tmp_path / "sheets"
    assert main(["neighbors", best, "--index", "3", "5", "--out", str(out)]) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert main(["neighbors", best, str(picture), "--query", "0,0", "7,3", "--out", str(out)]) == 0
    assert main(["neighbors", best, "--index", "4", "5", "--out", str(out)]) == 2
    refusal = f"--out={out} would replace '{out / 'neighbors_digits_5.png'}'; choose another, or pass --overwrite"
    assert refusal in capsys.readouterr().err
    assert before.items() <= {path.name: path.read_bytes() for path in out.iterdir()}.items()
    assert main(["neighbors", best, "--index", "5", "--out", str(out), "--overwrite"]) == 0
    stems = {"neighbors_digits_3", "neighbors_digits_5", "neighbors_mine"}
    assert {path.name for path in out.iterdir()} == {stem + ending for stem in stems for ending in (".png", ".html")}
    assert all(path.read_bytes().startswith(PNG) for path in out.glob("*.png"))
    assert all(path.read_text().startswith("<!doctype html>") for path in out.glob("*.html"))


@pytest.mark.slow
def test_neighbors_writes_no_page_where_none_is_wanted(
    best: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["neighbors", best, "--no-page", "--out", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["neighbors_digits_0.png"]
    assert ".html" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--query", "three"], "--query='three' must be ROW,COLUMN"),
        (["--query", "8,0"], "(8, 0)"),
        (["--index", "360"], "--index=360 must lie between 0 and 359"),
        (["--num_queries", "0"], "--num_queries=0 must be an integer of at least 1"),
    ],
)
def test_neighbors_names_bad_input(
    argv: list[str], message: str, best: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["neighbors", best, "--out", str(tmp_path), *argv]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_neighbors_of_two_images_of_one_name_are_refused(
    best: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "a" / "cat.png", tmp_path / "b" / "cat.png"]
    for path in paths:
        path.parent.mkdir()
        Image.new("L", (8, 8)).save(path)
    assert main(["neighbors", best, *map(str, paths), "--out", str(tmp_path / "out")]) == 2
    assert "two images are named 'cat'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "vgg*"]) == 0
    printed = capsys.readouterr().out
    assert "vgg19" in printed
    assert "resnet18" not in printed
    assert main(["layers"]) == 0
    assert "--branch_ratio" in capsys.readouterr().out
    assert main(["info"]) == 0
    assert "reference" in capsys.readouterr().out
    assert main(["models", "xyz*"]) == 2


def test_main_py_is_the_train_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, log = tmp_path / "folder", tmp_path / "log"
    folder.mkdir()
    argv = ["--model", "resnet18", "--width", "0.0625", "--test_only", "--device", "cpu"]
    assert wait(start(run_main_py, str(folder), argv, log=log)) == 0
    assert "output (2, 10)" in log.read_text()
    assert list(folder.iterdir()) == []
    assert main(["train", "--modle", "x"]) == 2
    assert capsys.readouterr() == ("", "convnn: unknown flag --modle; did you mean '--model'?\n")


@pytest.mark.slow
def test_a_broken_training_image_stops_the_run_with_its_path(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / part / name / "1.png")
    broken = tmp_path / "train" / "dog" / "2.png"
    broken.write_bytes(b"no picture")
    argv = ["--dataset", "imagefolder", "--data_path", str(tmp_path), "--model", "resnet18", "--width", "0.0625"]
    argv += ["--output_dir", str(tmp_path / "run"), "--batch_size", "4", "--num_workers", "2", "--device", "cpu"]
    log = tmp_path / "log"
    assert wait(start(train_in_process, argv, log=log)) == 2  # workers do not keep it from ending
    said = [line for line in log.read_text().splitlines() if str(broken) in line]
    assert len(said) == 1
    assert log.read_text().endswith(f"{said[0]}\n")
    assert "Traceback" not in log.read_text()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"args.txt", "model.txt"}


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1" + "0" * 40, ""])
@pytest.mark.parametrize("flag", ["--num_queries", "--index", "--query"])
def test_numbers_of_pixels_and_images_are_refused_by_flag(flag: str, value: str, best: str, tmp_path, capsys) -> None:
    if flag == "--num_queries":
        Image.new("L", (8, 8)).save(tmp_path / "a.png")
    pictures = [str(path) for path in tmp_path.iterdir()]
    assert main(["neighbors", best, *pictures, "--out", str(tmp_path / "out"), f"{flag}={value}"]) == 2
    assert flag in (message := capsys.readouterr().err)
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()
