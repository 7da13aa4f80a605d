"""Short real runs on digits."""

import csv
import re
import shutil
from pathlib import Path

import pytest
import torch
from accelerate.utils import set_seed

from convnn.data import load_data
from convnn.errors import InputError, OutputError, TrainingError
from convnn.models import create_model
from convnn.runs import read_run
from convnn.runs.files import COLUMNS
from convnn.train import Callback, RunFolder, Supervised, TrainConfig, Trainer, evaluate, load_checkpoint, summarize
from convnn.train.device import find_device, make_accelerator
from pairwise import one_in

TINY = {
    "dataset": "digits",
    "model": "resnet18",
    "layer": "Branching",
    "width": 1 / 16,
    "K": 4,
    "batch_size": 32,
    "num_epochs": 2,
    "limit_train": 96,
    "limit_test": 32,
    "lr": 1e-2,
    "device": "cpu",
}


def _train(callbacks: list[Callback] | None = None, folder: Path | None = None, **flags: object) -> Trainer:
    config = TrainConfig(**(TINY | flags | ({"output_dir": str(folder)} if folder else {})))
    set_seed(config.seed)
    data = load_data(
        config.dataset,
        batch_size=config.batch_size,
        limit_train=config.limit_train,
        limit_test=config.limit_test,
        seed=config.seed,
    )
    network = create_model(
        config.model, config.layer, in_channels=1, num_classes=10, width=config.width, **config.settings
    )
    callbacks = list(callbacks or [])
    if folder:
        callbacks.append(RunFolder(config, network, data, summarize(network, data.input_shape)))
    trainer = Trainer(network, data, config, make_accelerator(torch.device("cpu"), use_amp=config.use_amp), callbacks)
    trainer.results = trainer.fit()
    return trainer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "images", "share"), [(1 / 16, 160, 0.92), pytest.param(1 / 8, 480, 0.8, marks=pytest.mark.long)]
)
def test_loss_falls(width: float, images: int, share: float) -> None:
    results = _train(num_epochs=3, width=width, limit_train=images, batch_size=16, lr=4e-3).results
    assert [result.epoch for result in results] == [1, 2, 3]
    assert results[-1].train.loss < share * results[0].train.loss


@pytest.mark.slow
def test_same_seed_same_weights_other_seed_other_weights() -> None:
    flags = {"sampling_type": "random", "num_samples": 20, "num_epochs": 1}
    first, second, third = (_train(seed=seed, **flags).network.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    one_in(
        3,
        [
            {"criterion": "MSE"},
            {"optimizer": "adam"},
            {"clip_grad_norm": 0.0},
            {"optimizer": "sgd", "lr": 0.1},
            {"use_amp": True},
            {"scheduler": "plateau"},
            {"layer": "ConvNN_Attn", "use_amp": True},
        ],
    ),
    ids=str,
)
def test_every_way_to_train_learns(flags: dict) -> None:
    results = _train(num_epochs=3, **flags).results
    assert results[-1].train.loss < results[0].train.loss


def test_clipping_bounds_the_step() -> None:
    small = _train(num_epochs=1, optimizer="sgd", momentum=0.0, lr=1.0, clip_grad_norm=1e-6, weight_decay=0.0)
    fresh = _fresh_weights()
    moved = [(small.network.state_dict()[name] - p).norm() for name, p in fresh.items()]
    assert max(moved) < 1e-5


def _fresh_weights() -> dict[str, torch.Tensor]:
    set_seed(0)
    network = create_model("resnet18", "Branching", in_channels=1, width=1 / 16, K=4)
    return dict(network.named_parameters())


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_earlier_files(tmp_path: Path) -> None:
    class Poison(Callback):
        def on_epoch_start(self, epoch: int, steps: int) -> None:
            if epoch == 2:
                with torch.no_grad():
                    next(network.parameters()).fill_(torch.nan)

    config = TrainConfig(**TINY, output_dir=str(tmp_path))
    data = load_data("digits", batch_size=32, limit_train=64, limit_test=32)
    network = create_model("resnet18", "Branching", in_channels=1, width=1 / 16, K=4)
    folder = RunFolder(config, network, data, summarize(network, data.input_shape))
    accelerator = make_accelerator(torch.device("cpu"), use_amp=False)
    trainer = Trainer(network, data, config, accelerator, [folder, Poison()])
    data.train.set_epoch(1)
    samples = ", ".join(map(str, next(iter(data.train)).indices.tolist()))
    with pytest.raises(TrainingError) as error:
        trainer.fit()
    assert str(error.value) == (
        "the loss is nan in epoch 2, step 1; lower --lr (0.01) or --clip_grad_norm, or look for broken images among"
        f" the samples {samples}; the last good checkpoint is {tmp_path / 'last.safetensors'}"
    )
    loaded, recipe = load_checkpoint(tmp_path / "last.safetensors")
    assert recipe.epoch == 1
    assert all(p.isfinite().all() for p in loaded.parameters())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trainer, Path, str]:
    """Train for four epochs; return the trainer, the folder, and the results as they were after the first."""
    folder, seen = tmp_path_factory.mktemp("run"), []

    class Look(Callback):
        def on_epoch_start(self, epoch: int, steps: int) -> None:
            if epoch > 1:
                seen.append((folder / "train_eval_results.txt").read_text())

    return _train([Look()], folder=folder, num_epochs=4), folder, seen[0]


@pytest.mark.slow
def test_a_run_leaves_complete_files_after_every_epoch(run: tuple[Trainer, Path, str]) -> None:
    trainer, folder, seen = run
    names = {"args.txt", "model.txt", "train_eval_results.txt", "metrics.csv", "last.safetensors", "best.safetensors"}
    names |= {"previous.safetensors", "times.csv"}
    assert {path.name for path in folder.iterdir()} == names
    assert seen.count("[Epoch") == 1
    assert "Max Accuracy" in seen
    rows = list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert [float(row["test_top1"]) for row in rows] == [result.test.top1 for result in trainer.results]


@pytest.mark.slow
def test_what_a_run_took_is_read_from_tables(run: tuple[Trainer, Path, str], tmp_path: Path) -> None:
    trainer, folder, _ = run
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "train_eval_results.txt").unlink()  # for people
    read = read_run(tmp_path)
    rows = list(csv.DictReader((tmp_path / "times.csv").read_text().splitlines()))
    seconds = [result.seconds for result in trainer.results]
    assert [float(row["seconds"]) for row in rows] == seconds
    assert [float(row["images_per_second"]) for row in rows] == [one.images_per_second for one in trainer.results]
    assert read.seconds == pytest.approx(sum(seconds) / len(seconds), rel=1e-12)
    assert read.gflops == summarize(trainer.network, (1, 8, 8)).gflops > 0
    assert read.parameters == sum(p.numel() for p in trainer.network.parameters())


@pytest.mark.slow
def test_results_are_written_in_the_published_format(run: tuple[Trainer, Path, str]) -> None:
    lines = (run[1] / "train_eval_results.txt").read_text().splitlines()
    number = r"\d+\.\d"
    assert re.fullmatch(
        rf"Model Complexity \(Profiler\): GFLOPs: {number}{{8}}, Trainable Parameters: {number}{{8}} M", lines[0]
    )
    scores = rf"Loss: {number}{{8}} Accuracy: Top1: {number}{{4}}%, Top5: {number}{{4}}%"
    for i in (1, 2, 3, 4):
        assert re.fullmatch(
            rf"\[Epoch 00{i}\] Time: {number}{{4}}s \| \[Train\] {scores} \| \[Test\] {scores}", lines[i]
        )
    assert lines[5] == ""
    assert re.fullmatch(rf"Average Epoch Time: {number}{{4}}s", lines[6])
    assert re.fullmatch(rf"Max Accuracy: {number}{{4}}% at Epoch [1-4]", lines[7])


@pytest.mark.slow
def test_arguments_are_written_as_key_and_value(run: tuple[Trainer, Path, str]) -> None:
    folder = run[1]
    lines = dict(line.split(": ", 1) for line in (folder / "args.txt").read_text().splitlines())
    assert list(lines)[:2] == ["model", "layer"]
    assert (lines["K"], lines["img_size"], lines["num_classes"]) == ("4", "(1, 8, 8)", "10")
    assert int(lines["total_params"]) == int(lines["trainable_params"]) > 0
    assert (folder / "model.txt").read_text().startswith("ResNet(")


@pytest.mark.slow
def test_best_is_the_epoch_of_highest_test_accuracy(run: tuple[Trainer, Path, str]) -> None:
    trainer, folder, _ = run
    best = max(trainer.results, key=lambda result: result.test.top1)
    loaded, recipe = load_checkpoint(folder / "best.safetensors")
    assert (recipe.epoch, recipe.test_top1) == (best.epoch, best.test.top1)
    scores = evaluate(Supervised(loaded, "CrossEntropy"), trainer.data.test, make_accelerator(torch.device("cpu")))
    assert scores == pytest.approx(best.test, rel=1e-5)


@pytest.mark.slow
def test_results_of_an_earlier_run_are_not_overwritten_unasked(run: tuple[Trainer, Path, str], tmp_path: Path) -> None:
    shutil.copytree(run[1], tmp_path, dirs_exist_ok=True)
    before = (tmp_path / "metrics.csv").read_text()
    with pytest.raises(InputError, match=r"--output_dir=.* holds the results of an earlier run.*--overwrite"):
        _train(folder=tmp_path, num_epochs=1)
    assert (tmp_path / "metrics.csv").read_text() == before
    _train(folder=tmp_path, num_epochs=1, overwrite=True)
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 2


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"--output_dir=.*file/run cannot be created"):
        _train(folder=tmp_path / "file" / "run")


def test_devices_that_are_not_there_are_named() -> None:
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(InputError, match=rf"--device={missing} is not usable here; usable: .*cpu"):
        find_device(missing)
    assert find_device("cpu") == torch.device("cpu")
    assert find_device("auto").type in ("cpu", "cuda", "mps")
