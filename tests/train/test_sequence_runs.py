"""Runs on sequences: training, resuming, evaluating at other sampling rates, and what is for images only."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from convnn.cli import main, main_train
from convnn.errors import InputError
from convnn.train import TrainConfig, load_checkpoint, read_checkpoint
from convnn.train.metrics import Meter, Scores
from convnn.train.optim import CRITERIA
from same_runs import assert_same

SMALL = "--model ckcnn --layer Conv2d --width 0.2 --batch_size 16 --limit_train 48 --limit_test 16"
DIGITS = f"{SMALL} --dataset sequential_digits --permuted 3 --resize 4"


@pytest.fixture(scope="module")
def run(train: Callable[[str], Path]) -> Path:
    return train(f"{DIGITS} --num_epochs 2")


@pytest.fixture(scope="module")
def adding(train: Callable[[str], Path]) -> Path:
    return train(f"{SMALL} --dataset adding --length 12 --num_epochs 1")


def test_a_resumed_run_is_the_same_to_the_bit(run: Path, train: Callable[[str], Path]) -> None:
    folder = train(f"{DIGITS} --num_epochs 1")
    assert main_train(["--resume", str(folder), "--num_epochs", "2"]) == 0
    assert_same(folder, run)


def test_rates_of_single_parameters_go_on_where_a_run_is_resumed(train: Callable[[str], Path]) -> None:
    points = "--model smpnet_1d --radius 0.3 --num_layers 1 --d_hidden 4 --radius_lr_ratio 0.3"
    flags = f"{points} --dataset sequential_digits --resize 4 --limit_train 32 --scheduler step --lr_step 1"
    whole, parts = train(f"{flags} --num_epochs 2"), train(f"{flags} --num_epochs 1")
    assert main_train(["--resume", str(parts), "--num_epochs", "2"]) == 0
    first, second = (read_checkpoint(path / "last.safetensors") for path in (whole, parts))
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    rates = [group["lr"] for group in second.run.document["optimizer"]["groups"]]
    assert rates == pytest.approx([1e-5, 1e-5, 3e-6])
    table = (parts / "kernels.csv").read_text()
    assert table == (whole / "kernels.csv").read_text()
    assert table.startswith("epoch,layer,axis,taps\n1,features.0.first.layer.operator,0,")
    assert table.count("\n") == 1 + 2 * 2


def test_the_checkpoint_keeps_how_its_sequences_were_made(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = load_checkpoint(run)[1]
    assert recipe.data_settings == {"permuted": 3, "subsample": None, "average": None, "resize": 4}
    assert recipe.input_shape == (1, 16)
    assert main(["evaluate", str(run), "--limit_test", "16", "--json"]) == 0
    expected = (run / "metrics.csv").read_text().splitlines()[recipe.epoch].split(",")[4]
    assert json.loads(capsys.readouterr().out)["loss"] == pytest.approx(float(expected), rel=1e-5)


def test_another_sampling_rate_is_measured(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losses = []
    for flags in (["--subsample", "1"], ["--subsample", "2"], ["--subsample", "4"], ["--average", "2"]):
        assert main(["evaluate", str(run), *flags, "--json"]) == 0
        losses.append(json.loads(capsys.readouterr().out)["loss"])
    assert len(set(losses)) == 4


def test_a_sum_is_learned_by_its_squared_error(adding: Path) -> None:
    columns = (adding / "metrics.csv").read_text().splitlines()[1].split(",")
    assert columns[3] == columns[6] == ""  # no top-5
    network, recipe = load_checkpoint(adding)
    assert recipe.classes == ("sum",)
    assert network(torch.rand(2, 2, 30)).shape == (2, 1)
    assert TrainConfig(model="ckcnn", dataset="adding").criterion == "MSE"


def test_a_regression_is_scored_by_squared_error_and_the_share_within_004() -> None:
    outputs, numbers = torch.tensor([[0.0], [1.0], [2.0], [3.0]]), torch.tensor([0.03, 1.05, 1.97, 3.0])
    loss = CRITERIA["MSE"](outputs, numbers)
    assert loss.item() == pytest.approx(0.03**2 + 0.05**2 + 0.03**2, rel=1e-4)
    meter = Meter(torch.device("cpu"))
    meter.update(loss, outputs, numbers)
    assert Scores.from_sums(meter.sums, 1) == (pytest.approx(loss.item() / 4), 0.75, None, {})


@pytest.mark.parametrize("command", ["predict", "neighbors", "statistics"])
def test_what_is_for_images_says_so(
    command: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = ["cat.jpg"] if command == "predict" else []
    assert main([command, str(run), *picture, "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert f"reads sequences of shape (1, 16), and convnn {command} is for images" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--model vgg11 --dataset adding", "--model=vgg11 reads images, but --dataset=adding has sequences; .* ckcnn"),
        (
            "--model ckcnn --dataset digits",
            "--model=ckcnn reads sequences, but --dataset=digits has images; .*waveforms",
        ),
        (
            "--model ckcnn --layer ViG",
            "--layer='ViG' reads images only; --model='ckcnn' is built of .* sequences: Conv2d",
        ),
        ("--model ckcnn --layer Attention", "--layer='Attention' reads tokens; --model='ckcnn' is built of layers"),
        ("--model ckcnn --dataset adding --criterion CrossEntropy", "--criterion=CrossEntropy is for classes, but"),
        (
            "--model ckcnn --dataset adding --subsample 2",
            "--subsample=2 is for .*; --dataset='adding' does not read it",
        ),
        ("--model ckcnn --dataset adding --log_neighbors", "--log_neighbors is for images, but --model=ckcnn reads"),
        ("--model ckcnn --dataset adding --length 1", "--length=1 must be an integer of at least 2"),
        ("--model ckcnn --dataset adding --dataset waveforms --missing 1", "--missing=1.0 leaves none of --length=128"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(
    flags: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_train([*flags.split(), "--output_dir", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert re.search(message, line)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "shape"),
    [
        ("--dataset sequential_cifar10 --subsample 3", "(2, 3, 342)"),
        ("--dataset sequential_digits --resize 5", "(2, 1, 25)"),
        ("--dataset waveforms --missing 0.5", "(2, 2, 64)"),
    ],
)
def test_shapes_are_checked_without_files(flags: str, shape: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_train(["--model", "ckcnn", "--layer", "Conv2d", "--test_only", *flags.split()]) == 0
    assert f"input {shape}, output (2, " in capsys.readouterr().out


def test_a_recipe_with_settings_of_no_sequence_is_refused(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--format", "hub", "--out", str(tmp_path / "hub")]) == 0
    path = tmp_path / "hub" / "config.json"
    document = json.loads(path.read_text())
    for settings in ({"eval": 1}, {"permuted": "3"}, [3]):
        path.write_text(json.dumps(document | {"data_settings": settings}))
        with pytest.raises(InputError, match="has a recipe that cannot be read: data_settings="):
            load_checkpoint(tmp_path / "hub")
