"""Images that cannot be read, and numbers that are not finite."""

import io
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.cli import main_train
from convnn.data import Batch, LabelledData, load_data, load_image
from convnn.errors import InputError, TrainingError
from convnn.models import Network, create_model
from convnn.train import Callback, ConsoleReport, RunFolder, TrainConfig, Trainer, read_checkpoint, summarize
from convnn.train.device import make_accelerator

CLASSES, PER_CLASS, SIDE = ("cat", "dog"), 5, 8
RUN = "--dataset imagefolder --model resnet18 --width 0.0625 --layer Conv2d --batch_size 4 --num_epochs 1 --device cpu"
PARTS = {"train": "train", "test": "val"}


class Flat(Network):
    """A linear map of the pixels: the output of a sample depends on nothing else."""

    def __init__(self, layer: object = None, **others: object) -> None:
        super().__init__(3, 2, 1.0)
        self.head = nn.Linear(3 * SIDE * SIDE, 2)

    def forward_features(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Write a folder of random pictures, five of each class in each part."""
    pixels = np.random.default_rng(0)
    for part in PARTS.values():
        for name in CLASSES:
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(PER_CLASS):
                picture = Image.fromarray(pixels.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
                picture.save(tmp_path / part / name / f"{number}.png")
    return tmp_path


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, kind)
    return file.getvalue()


BROKEN = {
    "empty.png": b"",
    "empty.jpg": b"",
    "truncated.png": encoded("PNG")[:900],
    "truncated.jpg": encoded("JPEG")[:900],
    "cut in its header.png": encoded("PNG")[:20],
    "flipped.png": bytes(b ^ 0x55 for b in encoded("PNG")),
    "text.png": b"these are not the pixels you are looking for\n",
    "text.webp": "ümläut".encode(),
    "zeros.bmp": bytes(5000),
    "text.tiff": b"II*",
    "page.png": b"<html><body>404 Not Found</body></html>",
}


def put_broken(folder: Path) -> list[Path]:
    paths = [folder / name for name in BROKEN] + [folder / "gone.png"]
    for path, content in zip(paths, BROKEN.values(), strict=False):
        path.write_bytes(content)
    paths[-1].symlink_to(folder / "nowhere.png")
    return paths


def load(path: Path, **changes: object) -> LabelledData:
    arguments = {"batch_size": 4, "on_bad_image": "skip", "num_workers": 0} | changes
    return load_data("imagefolder", path, **arguments)


def epoch_of(loader, epoch: int = 0) -> list[Batch]:
    loader.set_epoch(epoch)
    return list(loader)


def same(ones: list[Batch], others: list[Batch]) -> bool:
    return all(all(map(torch.equal, one, other)) for one, other in zip(ones, others, strict=True))


def make_trainer(
    data: LabelledData, network: Network, *callbacks: Callback, folder: Path | None = None, **flags: object
) -> Trainer:
    given = {"dataset": data.name, "batch_size": 4, "num_epochs": 2, "device": "cpu", "checkpoint_every": None} | flags
    config = TrainConfig(**given | ({"output_dir": str(folder)} if folder else {}))
    made = [RunFolder(config, network, data, summarize(network, data.input_shape))] if folder else []
    return Trainer(network, data, config, make_accelerator(torch.device("cpu")), [*made, *callbacks])


STILL = {"optimizer": "sgd", "momentum": 0.0, "lr": 1e-30, "weight_decay": 0.0}
"""Weights that stay as they are, whatever the gradient."""


def scores_by_hand(network: Network, data: LabelledData, paths: list[Path]) -> tuple[float, float]:
    """Compute mean loss and accuracy over pictures, one by one."""
    losses, hits = [], []
    for path in paths:
        logits = network(load_image(path, data.input_shape, data.mean, data.std))
        label = torch.tensor([CLASSES.index(path.parent.name)])
        losses.append(F.cross_entropy(logits, label).item())
        hits.append(logits.argmax().item() == label.item())
    return sum(losses) / len(losses), sum(hits) / len(hits)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("part", PARTS.values())
def test_an_image_that_cannot_be_read_stops_the_run_with_its_path(
    part: str, num_workers: int, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = images / part / "dog" / "truncated.jpg"
    broken.write_bytes(BROKEN[broken.name])
    argv = [*RUN.split(), "--data_path", str(images), "--output_dir", str(images / "run")]
    assert main_train([*argv, "--num_workers", str(num_workers)]) == 2
    assert capsys.readouterr().err == f"main.py: cannot read the image {broken}: it is broken or not a picture\n"
    assert not (images / "run" / "broken_images.txt").exists()


@pytest.mark.parametrize("name", BROKEN)
def test_every_kind_of_broken_file_is_named(name: str, images: Path) -> None:
    path = images / "val" / "cat" / name
    path.write_bytes(BROKEN[name])
    with pytest.raises(InputError) as error:
        epoch_of(load(images, on_bad_image="error").test)
    assert str(error.value) == f"cannot read the image {path}: it is broken or not a picture"


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_every_readable_sample_counts_exactly_once(num_workers: int, images: Path) -> None:
    readable = {part: sorted((images / folder).glob("*/*")) for part, folder in PARTS.items()}
    for folder in PARTS.values():
        put_broken(images / folder / "dog")
    data = load(images, num_workers=num_workers, limit_test=10**6)
    assert data.train.num_samples == 2 * PER_CLASS + len(BROKEN) + 1
    network = Flat()
    results = make_trainer(data, network, **STILL).fit()
    for part in PARTS:
        loss, top1 = scores_by_hand(network, data, readable[part])
        for result in results:
            scores = getattr(result, part)
            assert scores.loss == pytest.approx(loss, rel=1e-6)
            assert (scores.top1, scores.top5) == (pytest.approx(top1), None)


@pytest.mark.slow
def test_batches_are_those_of_all_images_without_the_broken_ones_whatever_the_workers(images: Path) -> None:
    flags = {"noise": 0.3, "augment": True}
    before = [epoch_of(load(images, **flags).train, epoch) for epoch in (0, 1)]
    missing = [3, 4, 8]
    for index in missing:
        (images / "train" / CLASSES[index // PER_CLASS] / f"{index % PER_CLASS}.png").write_bytes(b"")
    for num_workers in (0, 2):
        train = load(images, num_workers=num_workers, **flags).train
        for epoch, whole in enumerate(before):
            kept = [~torch.isin(batch.indices, torch.tensor(missing)) for batch in whole]
            expected = [Batch(*(part[keep] for part in batch)) for batch, keep in zip(whole, kept, strict=True)]
            assert same(epoch_of(train, epoch), expected)
        assert len(train.broken) == len(missing)


def test_test_images_keep_their_noise_too(images: Path) -> None:
    before = epoch_of(load(images, noise=0.3).test)
    (images / "val" / "cat" / "1.png").write_bytes(b"")
    first, *others = epoch_of(load(images, noise=0.3).test)
    assert torch.equal(first.inputs, before[0].inputs[[0, 2, 3]])
    assert same(others, before[1:])


def test_a_batch_of_broken_images_only_is_no_step(images: Path) -> None:
    plain = load(images)
    first = epoch_of(plain.train)[0].indices.tolist()
    for index in first:
        (images / "train" / CLASSES[index // PER_CLASS] / f"{index % PER_CLASS}.png").write_bytes(b"")
    for number in range(4):
        (images / "val" / "cat" / f"{number}.png").write_bytes(b"")
    data = load(images, resize=SIDE)
    assert [len(batch.labels) for batch in epoch_of(data.train)] == [0, 4, 2]
    assert [len(batch.labels) for batch in epoch_of(data.test)] == [0, 4, 2]
    network = create_model("resnet18", "ConvNN", num_classes=2, width=1 / 16, K=4)
    (result,) = make_trainer(data, network, num_epochs=1).fit()
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    assert norm.num_batches_tracked == 2
    assert all(map(math.isfinite, (*result.train[:2], *result.test[:2])))
    assert result.train.top1 * 6 == pytest.approx(round(result.train.top1 * 6))


@pytest.mark.parametrize("part", PARTS.values())
def test_a_part_without_one_readable_image_is_one_error(
    part: str, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (images / part).glob("*/*"):
        path.write_bytes(b"")
    argv = [*RUN.split(), "--data_path", str(images), "--output_dir", str(images / "run"), "--resize", str(SIDE)]
    assert main_train([*argv, "--on_bad_image", "skip", "--num_workers", "0"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("main.py: no image could be read")
    assert message.count("\n") == 1


def test_the_first_image_may_be_broken_too(images: Path) -> None:
    (images / "train" / "cat" / "0.png").write_bytes(b"")
    assert load(images).input_shape == (3, SIDE, SIDE)


def test_a_picture_with_the_ending_of_another_format_is_read(images: Path) -> None:
    folder = images / "val" / "dog"
    shutil.copy(folder / "2.png", folder / "5.jpg")
    batches = epoch_of(load(images, on_bad_image="error").test)
    pictures = torch.cat([batch.inputs for batch in batches])
    assert len(pictures) == 2 * PER_CLASS + 1
    assert torch.equal(pictures[-1], pictures[PER_CLASS + 2])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_image_of_another_size_stops_the_run_all_the_same(num_workers: int, images: Path) -> None:
    path = images / "train" / "dog" / "1.png"
    Image.new("RGB", (9, 5)).save(path)
    with pytest.raises(InputError, match=rf"^the image {path} is 9x5 pixels, .*; set resize to bring"):
        epoch_of(load(images, num_workers=num_workers).train)


class Breaks(Callback):
    """A callback that breaks images before given epochs."""

    def __init__(self, paths: dict[int, Path]) -> None:
        self.paths = paths

    def on_epoch_start(self, epoch: int, steps: int) -> None:
        if epoch in self.paths:
            self.paths[epoch].write_bytes(b"")


def test_broken_images_are_told_when_there_are_new_ones_and_listed(images: Path) -> None:
    paths = {1: images / "val" / "dog" / "4.png", 3: images / "train" / "cat" / "2.png"}
    screen = io.StringIO()
    report = ConsoleReport(Console(file=screen, width=300), 4)
    data = load(images)
    make_trainer(data, Flat(), Breaks(paths), report, folder=images / "run", num_epochs=4).fit()
    lines = [line.split(" ")[0:3] for line in screen.getvalue().splitlines()]
    assert [line for line in lines if line[0] == "skipped"] == [["skipped", "1", "image"], ["skipped", "2", "images"]]
    assert [line[0] for line in lines] == ["epoch", "skipped", "epoch", "epoch", "skipped", "epoch", "best"]
    listed = (images / "run" / "broken_images.txt").read_text().splitlines()
    reason = "it is broken or not a picture"
    assert listed == sorted(f"cannot read the image {path}: {reason}" for path in paths.values())


def test_without_broken_images_nothing_is_listed(images: Path) -> None:
    make_trainer(load(images), Flat(), folder=images / "run", num_epochs=1).fit()
    assert not (images / "run" / "broken_images.txt").exists()


class Overflows(Flat):
    """A network with the logarithm of the darkest pixel's distance from black."""

    def forward_features(self, x: Tensor) -> Tensor:
        return x.flatten(1) + (x.amin(dim=(1, 2, 3)) + 2.1).log()[:, None]


def test_a_loss_that_is_not_finite_names_step_samples_and_the_last_good_checkpoint(images: Path) -> None:
    class Blackens(Callback):
        def on_epoch_start(self, epoch: int, steps: int) -> None:
            if epoch == 2:
                Image.new("RGB", (SIDE, SIDE), (0, 0, 0)).save(images / "train" / "dog" / "3.png")

    for part in PARTS.values():  # no other image is black anywhere
        for path in (images / part).glob("*/*"):
            Image.effect_noise((SIDE, SIDE), 5).convert("RGB").save(path)
    data, run = load(images, batch_size=3), images / "run"
    batches = [batch.indices.tolist() for batch in epoch_of(data.train, 1)]
    step = next(number for number, batch in enumerate(batches) if PER_CLASS + 3 in batch)
    trainer = make_trainer(data, Overflows(), Blackens(), folder=run, batch_size=3, lr=1e-5)
    with pytest.raises(TrainingError) as error:
        trainer.fit()
    message = str(error.value)
    assert message.startswith(f"the loss is nan in epoch 2, step {step + 1}; ")
    assert f"among the samples {', '.join(map(str, batches[step]))};" in message
    assert message.endswith(f"the last good checkpoint is {run / 'last.safetensors'}")
    assert "\n" not in message
    assert len((run / "metrics.csv").read_text().splitlines()) == 2


def test_an_infinite_loss_ends_the_command_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = "--dataset digits --model resnet18 --width 0.0625 --layer Conv2d --limit_train 32 --limit_test 16"
    hot = "--batch_size 16 --lr 1e30 --num_epochs 2 --output_dir"
    assert main_train([*argv.split(), *hot.split(), str(tmp_path / "run")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("main.py: the loss is nan in epoch 1, step 2; lower --lr (1e+30)")
    assert message.endswith("; no checkpoint was written yet\n")
    assert message.count("\n") == 1


class Root(Flat):
    """A square root whose gradient is infinite, times zero."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward_features(self, x: Tensor) -> Tensor:
        return x.flatten(1) + self.scale.sqrt() * 0


class Arc(Root):
    """A network with an arc cosine whose gradient is infinite, times zero."""

    def forward_features(self, x: Tensor) -> Tensor:
        return x.flatten(1) + (1 + self.scale).acos() * 0


@pytest.mark.filterwarnings("ignore:Error detected in")  # torch shows where the operation was called
@pytest.mark.parametrize(("network", "operation"), [(Root, "SqrtBackward0"), (Arc, "AcosBackward0")])
def test_detecting_anomalies_names_the_operation(network: Callable[[], Network], operation: str, images: Path) -> None:
    with pytest.raises(TrainingError) as error:
        make_trainer(load(images), network(), detect_anomaly=True).fit()
    assert str(error.value) == (
        f"Function '{operation}' returned nan values in its 0th output in the backward pass of epoch 1, step 1;"
        " no checkpoint was written yet"
    )
    assert not torch.is_anomaly_enabled()


def test_without_detecting_anomalies_the_next_loss_says_it(images: Path) -> None:
    with pytest.raises(TrainingError, match=r"^the loss is nan in epoch 1, step 2; .*; no checkpoint was written yet$"):
        make_trainer(load(images), Root()).fit()


def test_weights_that_are_not_finite_are_never_saved(images: Path) -> None:
    data, run = load(images, batch_size=10, on_bad_image="error"), images / "run"
    network = Flat()

    class Spoils(Callback):
        def on_step(self, step: int) -> None:
            if trainer.position.epoch == 2:
                with torch.no_grad():
                    network.head.bias[0] = math.inf

    trainer = make_trainer(data, network, Spoils(), folder=run, num_epochs=3)
    with pytest.raises(TrainingError, match=r"weights are no longer finite .*the last good checkpoint is .*last\.safe"):
        trainer.fit()
    checkpoint = read_checkpoint(run / "last.safetensors")
    assert checkpoint.recipe.epoch == 1
    assert all(weight.isfinite().all() for weight in checkpoint.weights.values())
