"""Tests of how pictures are brought to a network's image size: as in training, or by --fit."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convnn.cli import main
from convnn.cli._images import add_fit_flag, fit_from
from convnn.cli._parser import Parser
from convnn.data import FITS, load_image
from convnn.errors import InputError
from convnn.models import create_model
from convnn.train import Checkpoint, Recipe, TrainConfig, load_checkpoint, read_checkpoint, save_checkpoint
from pairwise import each

SHAPE, MEAN, STD = (3, 8, 8), (0.5, 0.5, 0.5), (0.1, 0.1, 0.1)


def recipe(fit: str) -> Recipe:
    settings = TrainConfig(model="resnet18", layer="ConvNN", K=4).settings
    return Recipe("resnet18", "ConvNN", 0.0625, settings, "imagefolder", SHAPE, MEAN, STD, ("cat", "dog"), fit)


def checkpoint(folder: Path, fit: str) -> Path:
    network = create_model("resnet18", "ConvNN", num_classes=2, width=0.0625, K=4)
    save_checkpoint(folder / "one.safetensors", Checkpoint(dict(network.state_dict()), recipe(fit)))
    return folder / "one.safetensors"


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    picture = Image.new("RGB", (24, 8), (255, 255, 255))
    picture.paste((120, 30, 60), (8, 0, 16, 8))
    picture.save(tmp_path / "wide.png")
    return tmp_path / "wide.png"


def answer(path: Path, photograph: Path, fit: str) -> str:
    """Return the expected output of predict for the most probable class."""
    network, _ = load_checkpoint(path)
    with torch.no_grad():
        probabilities = network(load_image(photograph, SHAPE, MEAN, STD, fit)).softmax(1)
    return f"{probabilities.max():.1%}"


@each(learned=FITS, given=[None, *FITS])
def test_predict_fits_a_picture_as_training_did_or_as_asked(
    given: str | None, learned: str, photograph: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = checkpoint(tmp_path, learned)
    assert main(["predict", str(path), str(photograph), *([] if given is None else ["--fit", given])]) == 0
    answers = {fit: answer(path, photograph, fit) for fit in FITS}
    assert len(set(answers.values())) == 3
    assert answers[given or learned] in capsys.readouterr().out


@pytest.mark.slow
def test_a_page_shows_the_picture_as_it_was_fitted(
    photograph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(*args: object) -> torch.Tensor:
        seen.append(args[-1])
        return load_image(*args)

    monkeypatch.setattr("convnn.cli.neighbors.load_image", look)
    path = str(checkpoint(tmp_path, "pad"))
    argv = ["neighbors", path, str(photograph), "--no-page", "--out", str(tmp_path), "--query", "0,0"]
    assert main(argv) == 0
    assert main([*argv, "--fit", "stretch", "--overwrite"]) == 0
    assert seen == ["pad", "stretch"]


def test_an_unknown_fit_is_named() -> None:
    parser = Parser()
    add_fit_flag(parser)
    assert fit_from(parser.parse_args([]), recipe("pad")) == "pad"
    with pytest.raises(InputError, match=r"--fit='corp' is not one of crop, pad, stretch; did you mean 'crop'"):
        fit_from(parser.parse_args(["--fit", "corp"]), recipe("pad"))


def test_a_checkpoint_with_another_fit_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has a recipe that cannot be read: fit='corp'"):
        read_checkpoint(checkpoint(tmp_path, "corp"))


@pytest.mark.slow
def test_what_training_did_is_remembered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for part in ("train", "val"):
        for brightness, name in ((150, "cat"), (0, "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            pixels = random.integers(100, size=(10, 20, 3), dtype=np.uint8) + np.uint8(brightness)
            Image.fromarray(pixels).save(tmp_path / part / name / "1.png")
    flags = "--dataset imagefolder --model resnet18 --width 0.0625 --layer Conv2d --num_epochs 3 --batch_size 4"
    argv = [*flags.split(), "--lr", "1e-2", "--resize", "8", "--fit", "pad", "--num_workers", "0", "--device", "cpu"]
    assert main(["train", *argv, "--data_path", str(tmp_path), "--output_dir", str(tmp_path / "run")]) == 0
    best = str(tmp_path / "run/best.safetensors")
    assert load_checkpoint(best)[1].fit == "pad"
    with (tmp_path / "run/metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    row = rows[load_checkpoint(best)[1].epoch - 1]
    capsys.readouterr()
    printed = {}
    for fit in (None, "pad", "stretch"):
        given = [] if fit is None else ["--fit", fit]
        assert main(["evaluate", best, "--data_path", str(tmp_path), "--num_workers", "0", *given]) == 0
        printed[fit] = capsys.readouterr().out
    assert f"loss {float(row['test_loss']):.4f}" in printed[None]
    assert printed[None] == printed["pad"] != printed["stretch"]
