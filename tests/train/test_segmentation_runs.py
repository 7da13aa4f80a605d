"""Runs that learn a class for every pixel: resuming, measures, losses, and what does not go together."""

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, jaccard_score
from torch.nn import functional as F

from convnn.cli import main, main_train
from convnn.cli._callbacks import MaskSheet
from convnn.data import load_data, segmentation
from convnn.data.volumes import read_volume
from convnn.errors import TrainingError
from convnn.tasks.segment import volumes
from convnn.tasks.segment.masks import placed_back
from convnn.tasks.segment.trees import largest_part
from convnn.train import load_checkpoint
from convnn.train.optim import cross_entropy, cross_entropy_and_dice
from convnn.train.overlap import Overlap, OverlapMeter
from same_runs import assert_same

SMALL = "--dataset shapes --width 0.0625 --resize 16 --limit_train 32 --limit_test 12 --batch_size 8 --lr 0.01"
UNET = f"--model unet --num_layers 2 --scheduler none {SMALL}"


DRAW_MASKS = MaskSheet._draw


@pytest.fixture(scope="module", autouse=True)
def _little_work() -> Iterator[None]:
    """Make the thousand shapes once, and leave masks undrawn: a tiny run takes less time than either."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation, "make_part", cache(segmentation.make_part))
        patch.setattr(MaskSheet, "_draw", lambda sheet: None)
        yield


@pytest.fixture(scope="module")
def run(train: Callable[[str], Path]) -> Path:
    return train(f"{UNET} --augment --num_epochs 2")


def test_a_resumed_run_is_the_same_to_the_bit(run: Path, train: Callable[[str], Path]) -> None:
    folder = train(f"{UNET} --augment --num_epochs 1")
    assert main_train(["--resume", str(folder), "--num_epochs", "2"]) == 0
    assert_same(folder, run)


def test_the_measures_are_those_of_scikit_learn(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, recipe = load_checkpoint(run)
    [batch] = load_data("shapes", resize=16, limit_test=12).test
    with torch.no_grad():
        found = network(batch.inputs).argmax(1).flatten()
    labels, classes = batch.labels.flatten(), range(4)
    capsys.readouterr()
    assert main(["segment", "evaluate", str(run), "--limit_test", "12", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    iou = jaccard_score(labels, found, average=None, labels=classes)
    assert [one["iou"] for one in told["classes"].values()] == pytest.approx(list(iou))
    assert told["mean_iou"] == pytest.approx(iou.mean())
    assert told["mean_dice"] == pytest.approx(f1_score(labels, found, average="macro", labels=classes))
    assert told["pixel_accuracy"] == pytest.approx(accuracy_score(labels, found))
    head, *rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    assert float(rows[recipe.epoch - 1][head.index("test_mIoU")]) == pytest.approx(iou.mean())


def test_pixels_of_255_are_in_no_count_and_classes_that_never_occur_in_no_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    meter = OverlapMeter(torch.device("cpu"), num_classes=5)
    seen, guessed = [], []
    for count in (3, 0, 2):  # an empty share of a batch, as a process may have
        logits = torch.randn(count, 5, 4, 6, 2, generator=generator)  # a volume
        logits[:, 4] = -9
        labels = torch.randint(0, 4, (count, 4, 6, 2), generator=generator)
        labels[:, 1] = 255
        meter.update(torch.tensor(float(count)), logits, labels)
        seen.append(labels[labels != 255])
        guessed.append(logits.argmax(1)[labels != 255])
    labels, found = torch.cat(seen), torch.cat(guessed)
    overlap, scores = meter.overlap(meter.sums), meter.scores(meter.sums, 5)
    matrix = torch.from_numpy(confusion_matrix(labels, found, labels=range(5)))
    assert torch.equal(overlap.missed, (matrix.sum(1) - matrix.diagonal()).double())
    assert overlap.iou[4].isnan()
    assert scores.merit == pytest.approx(jaccard_score(labels, found, average="macro"))
    assert (scores.loss, scores.top1, scores.top5) == (1.0, pytest.approx(accuracy_score(labels, found)), None)
    assert overlap.accuracy == scores.top1


def test_a_part_without_a_counted_pixel_is_named() -> None:
    meter = OverlapMeter(torch.device("cpu"), num_classes=2)
    meter.update(torch.tensor(0.0), torch.randn(1, 2, 3, 3), torch.full((1, 3, 3), 255))
    with pytest.raises(TrainingError, match="no pixel could be counted"):
        meter.scores(meter.sums, 2)
    assert Overlap.of(torch.zeros(0, 2, 3, 3), torch.zeros(0, 3, 3).long()).found.tolist() == [0, 0]


@pytest.mark.parametrize("shape", [(4, 5), (3, 2, 4)])
def test_losses_are_means_over_counted_places_for_each_sample(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(3, 4, *shape, generator=generator, dtype=torch.double, requires_grad=True)
    labels = torch.randint(0, 4, (3, *shape), generator=generator)
    labels[0, 0] = 255
    labels[2] = 255  # nothing to learn from
    entropy = sum(F.cross_entropy(logits[i : i + 1], labels[i : i + 1], ignore_index=255) for i in (0, 1))
    torch.testing.assert_close(cross_entropy(logits, labels), entropy)
    dice = 0.0
    for one, of_one in zip(logits.softmax(1), labels, strict=True):
        counted = of_one != 255
        for c in range(4):
            p, t = one[c][counted], (of_one[counted] == c).double()
            dice = dice + (2 * (p * t).sum() + 1) / ((p + t).sum() + 1) / 4
    expected = entropy + 3 - dice
    torch.testing.assert_close(cross_entropy_and_dice(logits, labels), expected)
    found, wanted = (
        torch.autograd.grad(y, logits, retain_graph=True)[0] for y in (cross_entropy_and_dice(logits, labels), expected)
    )
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("model", ["vgg11 --layer Conv2d --resize 32", "mkunet_t --layer ConvNN --K 2 --resize 32"])
def test_other_networks_train_too(model: str, train: Callable[[str], Path]) -> None:
    folder = train(f"{SMALL.replace('--resize 16', '')} --model {model} --num_epochs 1 --criterion CrossEntropy+Dice")
    assert load_checkpoint(folder)[0](torch.zeros(1, 3, 32, 32)).shape == (1, 4, 32, 32)


REFUSED = {
    "--model unet --dataset digits": "--model=unet gives every pixel a class, but --dataset=digits has one",
    f"{UNET} --criterion MSE": "--criterion=MSE is for numbers, but --dataset=shapes has a class for every pixel",
    "--dataset digits --criterion CrossEntropy+Dice": "--criterion=CrossEntropy+Dice is for a class for every pixel",
    f"{UNET} --distill runs/a": "--distill=runs/a teaches one class for an image, but --dataset=shapes",
    f"{UNET} --objective infonce": "--objective=infonce compares whole images, but --dataset=shapes",
    f"--model vit {SMALL} --reduce_tokens gtp": "--reduce_tokens=gtp leaves out places, but --dataset=shapes",
    f"{UNET} --log_neighbors": "--log_neighbors is for one class of an image",
    "--model gnn --dataset shapes": "--model=gnn reads graphs, but --dataset=shapes has images",
    "--model unet --dataset airways": "--model=unet reads images, but --dataset=airways has volumes; the networks on"
    " volumes are unet3d",
    "--model unet_gnn --dataset shapes": "--model=unet_gnn reads volumes, but --dataset=shapes has images",
    "--model unet3d --layer FFTConv": "--layer='FFTConv' is not one of",
    "--model unet3d --layer SDLSKA": "--layer='SDLSKA' reads images only; --model='unet3d' is built of layers that read"
    " volumes: Conv2d",
    "--model unet_gnn --layer ConvNN": "--layer='ConvNN' reads maps; --model='unet_gnn' is built of layers that read"
    " graphs",
    "--model unet_gnn --K 9": "K=9 must be one of 6, 26, 124, 342",
    "--model unet3d --augment": "--augment changes images; --dataset='airways' has volumes",
}


@pytest.mark.parametrize("flags", REFUSED)
def test_what_does_not_go_together_is_named(flags: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main_train([*flags.split(), "--output_dir", str(tmp_path / "run")]) == 2
    assert REFUSED[flags] in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["predict RUN x.png", "statistics RUN", "tangent RUN", "evaluate RUN --by knn"])
def test_commands_for_one_class_of_an_image_say_what_is_right(
    command: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command.replace("RUN", str(run)).split()) == 2
    assert "gives every pixel a class" in capsys.readouterr().err


def test_convnn_segment_is_for_masks(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["segment", "train", "--dataset", "digits", "--output_dir", str(tmp_path)]) == 2
    assert "--dataset=digits has no masks" in capsys.readouterr().err
    flags = f"{UNET} --num_epochs 1 --output_dir {tmp_path / 'run'}".replace("--dataset shapes --model unet", "")
    assert main(["segment", "train", *flags.split()]) == 0
    assert main(["segment", "evaluate", str(run), "--limit_test", "12"]) == 0
    assert "triangle" in capsys.readouterr().out


def test_predict_writes_masks_of_the_size_of_the_pictures(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("x")
    command = ["segment", "predict", str(run), str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    with Image.open(tmp_path / "out/a_mask.png") as mask:
        assert (mask.mode, mask.size) == ("P", (30, 20))
        assert set(np.unique(mask)) <= set(range(4))
    assert (tmp_path / "out/a_over.png").stat().st_size > 1000
    assert main(command) == 2  # they would be replaced
    assert (
        main([*command[:3], *(str(tmp_path / name) for name in ("a.png", "b.png")), *command[4:], "--overwrite"]) == 1
    )
    assert "b.png: it is broken" in capsys.readouterr().err


VOLUMES = "--model unet_gnn --width 0.25 --limit_train 6 --limit_test 3 --lr 0.03 --scheduler none"


@pytest.fixture(scope="module")
def airways(train: Callable[[str], Path]) -> Path:
    return train(f"{VOLUMES} --num_epochs 2")


def test_a_run_on_volumes_resumes_and_measures_trees(
    airways: Path, train: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = train(f"{VOLUMES} --num_epochs 1")
    assert main_train(["--resume", str(folder), "--num_epochs", "2"]) == 0
    assert_same(folder, airways)
    capsys.readouterr()
    assert main(["segment", "evaluate", str(airways), "--limit_test", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    network, recipe = load_checkpoint(airways)
    assert (recipe.dataset, recipe.layer, recipe.input_shape, told["volumes"]) == (
        "airways",
        "SAGE",
        (1, 24, 24, 24),
        3,
    )
    [batch] = load_data("airways", limit_test=3).test
    with torch.no_grad():
        found = network(batch.inputs).argmax(1)
    iou = jaccard_score(batch.labels.flatten(), found.flatten(), average=None, labels=range(2))
    assert [one["iou"] for one in told["classes"].values()] == pytest.approx(list(iou))
    assert told["mean_iou"] == pytest.approx(iou.mean())
    parts = map(largest_part, found)
    shares = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in zip(parts, batch.labels == 1, strict=True)]
    assert told["tree_dice"] == pytest.approx(float(sum(shares) / 3))
    assert main(["segment", "evaluate", str(airways), "--limit_test", "3"]) == 0
    assert "as a tree: Dice" in capsys.readouterr().out


@pytest.mark.parametrize("network", ["unet3d --layer ConvNN --K 3", "unet_gnn_knn --layer GAT --K 5"])
def test_files_of_volumes_train_too(
    network: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MaskSheet, "_draw", DRAW_MASKS)
    generator = np.random.default_rng(0)
    for part, count in (("train", 3), ("val", 2)):
        (tmp_path / part).mkdir()
        for number in range(count):
            mask = generator.integers(0, 3, (8, 12, 8))
            np.savez(tmp_path / part / f"{number}.npz", image=mask + generator.normal(size=mask.shape), mask=mask)
    flags = f"--model {network} --width 0.125 --num_epochs 1 --data_path {tmp_path} --output_dir {tmp_path / 'run'}"
    assert main(["segment", "train", *flags.split()]) == 0
    assert load_checkpoint(tmp_path / "run")[0](torch.zeros(1, 1, 4, 12, 8)).shape == (1, 3, 4, 12, 8)
    assert (tmp_path / "run/masks.png").stat().st_size > 1000
    capsys.readouterr()
    assert main(["segment", "evaluate", str(tmp_path / "run")]) == 0
    told = capsys.readouterr().out
    assert "on 2 volumes of volumes" in told
    assert "tree" not in told
    check_masks_of_volumes(tmp_path, capsys)


def check_masks_of_volumes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a run in a folder finds in files of any sides is written in their form, and as a picture."""
    image = np.random.default_rng(1).normal(5, 2, (7, 12, 10))
    np.save(folder / "odd.npy", image)
    command = ["segment", "predict", str(folder / "run"), str(folder / "odd.npy"), str(folder / "val"), "--out"]
    assert main([*command, str(folder / "out")]) == 0
    assert {path.name for path in (folder / "out").iterdir()} == {
        *("odd_mask.npy", "odd_over.png", "0_mask.npz", "0_over.png", "1_mask.npz", "1_over.png")
    }
    network, _ = load_checkpoint(folder / "run")
    padded = np.pad((image - image.mean()) / image.std(), ((0, 1), (0, 0), (0, 2)), mode="edge")
    with torch.no_grad():
        wanted = network(torch.from_numpy(padded).float()[None, None])[0, :, :7, :, :10].argmax(0)
    assert np.array_equal(np.load(folder / "out/odd_mask.npy"), wanted)
    np.save(folder / "out/odd.npy", image)  # a mask is read with the volume beside it
    assert torch.equal(read_volume(folder / "out/odd.npy").mask, wanted)
    np.savez(folder / "out/0.npz", image=np.zeros((8, 12, 8)))
    assert read_volume(folder / "out/0.npz").mask.shape == (8, 12, 8)
    capsys.readouterr()
    assert main([*command, str(folder / "out")]) == 2  # they would be replaced
    np.save(folder / "odd.npy", np.full((4, 4, 4), np.nan))
    (folder / "val/1.npz").write_text("x")
    assert main([*command, str(folder / "out"), "--overwrite"]) == 1
    told = capsys.readouterr().err
    assert "odd.npy has values that are not finite" in told
    assert "1.npz' cannot be read as arrays of NumPy" in told
    (folder / "empty").mkdir()
    assert main(["segment", "predict", str(folder / "run"), str(folder / "empty"), "--out", str(folder / "new")]) == 1
    assert "must have volumes, NAME.npz or NAME.npy, but has none" in capsys.readouterr().err
    assert main([*command[:4], str(folder / "x/odd.npz"), "--out", str(folder / "new")]) == 2
    assert "several volumes are called 'odd'" in capsys.readouterr().err


def test_slices_are_drawn_where_most_is_found(tmp_path: Path) -> None:
    volume, mask = torch.zeros(6, 5, 4), torch.zeros(6, 5, 4, dtype=torch.uint8)
    mask[3, 2, 1:3], mask[3, 4] = 1, 2
    with patch.object(volumes, "draw_masks") as draw:
        volumes.draw_slices(volume, mask, ("none", "a", "b"), tmp_path / "x.png")
    _, masks, *_ = draw.call_args.args
    along_d, along_h, along_w, whole = masks["found"]
    assert draw.call_args.kwargs["titles"] == ["D = 3", "H = 4", "W = 1", "all along H"]
    assert torch.equal(along_d, mask[3])
    assert torch.equal(along_h, mask[:, 4])
    assert torch.equal(along_w, mask[:, :, 1])
    assert whole[3].tolist() == [2, 1, 1, 2]  # what is met first
    assert not whole[[0, 1, 2, 4, 5]].any()


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_masks_come_back_to_where_they_were_in_the_picture(fit: str) -> None:
    """The class of each half of a picture of 40 x 80 is that of the half of the map that shows it."""
    logits = torch.zeros(2, 32, 32)
    logits[1, :, 16:] = 1  # right
    mask = placed_back(logits, (40, 80), fit)
    inner = mask[:, 20:60] if fit == "crop" else mask
    half = inner.shape[1] // 2
    assert mask.shape == (40, 80)
    assert not inner[:, : half - 1].any()
    assert bool((inner[:, half + 1 :] == 1).all())
    assert bool((mask[:, :20] == 255).all()) == (fit == "crop")
