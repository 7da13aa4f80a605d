"""convnn match: train, evaluate and draw, on motions made on the spot, folders and pictures."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convnn.cli import main
from convnn.data import load_data
from convnn.data.flow_files import read_flow, write_flow
from convnn.data.motions import make_motion
from convnn.errors import InputError
from convnn.nn.matches.batch import still_pairs
from convnn.tasks.match.motion_picture import UNKNOWN, draw_flow, flow_colours
from convnn.train import load_checkpoint

SMALL = shlex.split("--width 0.2 --resize 32 --batch_size 4 --limit_train 4 --num_epochs 1 --device cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("pairs")
    for number, part in enumerate(("train", "train", "test", "test")):
        pair = make_motion(32, torch.Generator().manual_seed(number))
        (place / part).mkdir(exist_ok=True)
        for which, image in ((1, pair.first), (2, pair.second)):
            pixels = image[0].permute(1, 2, 0).round().to(torch.uint8).numpy()
            Image.fromarray(pixels).save(place / part / f"{number}_{which}.png")
        write_flow(pair.flow[0], place / part / f"{number}.flo")
    return place


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("match") / "run"
    assert main(["match", "train", *SMALL, "--data_path", str(folder), "--output_dir", str(run)]) == 0
    return run


def test_a_folder_alone_means_pairs_of_files_and_the_network_is_dkm(finished: Path, folder: Path, capsys) -> None:
    network, recipe = load_checkpoint(finished)
    assert (recipe.model, recipe.dataset, recipe.input_shape) == ("dkm", "flowfolder", (3, 32, 32))
    assert main(["match", "evaluate", str(finished), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["pairs"], found["dataset"]) == (2, "flowfolder")
    pairs = next(iter(load_data("flowfolder", folder).test)).inputs
    with torch.no_grad():
        errors = (network.find(pairs.first, pairs.second) - pairs.flow).norm(dim=1)
    assert found["epe"] == pytest.approx(errors.mean().item(), rel=1e-4)
    assert found["within@3"] == pytest.approx((errors < 3).double().mean().item(), abs=1e-6)
    assert found["places"] + found["certainty"] == pytest.approx(found["loss"], rel=1e-5)


def test_it_is_measured_on_another_data_set_at_its_own_size(finished: Path, capsys) -> None:
    words = ["match", "evaluate", str(finished), "--dataset", "motions", "--limit_test", "3"]
    assert main(words) == 0
    line = capsys.readouterr().out
    assert line.startswith("dkm of Conv2d, epoch 1, on 3 pairs of motions: loss ")
    assert "epe " in line
    assert "within@1 " in line


@pytest.mark.parametrize("form", ["flow", "lines"])
def test_pairs_are_drawn(form: str, finished: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "new" / "motion.png"
    words = ["match", "draw", str(finished), "--count", "2", "--form", form, "--out", str(out)]
    assert main(words) == 0
    assert f"{out}: dkm, epoch 1, end-point error " in capsys.readouterr().out
    assert np.array(Image.open(out)).std() > 10
    assert main(words) == 2  # which would replace it
    assert main([*words, "--overwrite"]) == 0


def test_two_pictures_need_no_truth(finished: Path, folder: Path, tmp_path: Path, capsys) -> None:
    names = [str(folder / "test" / f"2_{which}.png") for which in (1, 2)]
    for out in ("x.png", "x.flo"):
        assert main(["match", "draw", str(finished), *names, "--out", str(tmp_path / out)]) == 0
        assert "moves by " in capsys.readouterr().out
    network, _ = load_checkpoint(finished)
    first, second = (torch.from_numpy(np.array(Image.open(name))).permute(2, 0, 1)[None].float() for name in names)
    with torch.no_grad():
        torch.testing.assert_close(read_flow(tmp_path / "x.flo")[0], network.find(first, second)[0])
    words = ["match", "draw", str(finished), *names, "--resize", "40", "--out", str(tmp_path / "y.flo")]
    assert main(words) == 0
    assert read_flow(tmp_path / "y.flo")[0].shape == (2, 40, 40)


def test_directions_have_the_colours_of_middlebury() -> None:
    right, none, left = (torch.tensor([x, 0.0]).reshape(1, 2, 1, 1) for x in (5.0, 0.0, -5.0))
    colours = flow_colours(torch.cat([right, none, left, 2 * right]), 5.0).flatten(1).tolist()
    assert colours[0][0] > 250  # to the right is red
    assert max(colours[0][1:]) < 50
    assert colours[1] == [255, 255, 255]
    assert colours[2][0] < 50  # to the left is cyan
    assert min(colours[2][1:]) > 180
    assert colours[3] == colours[0]  # longer than the largest


def test_pixels_of_unknown_motion_are_grey(tmp_path: Path) -> None:
    pairs = still_pairs(1, 8, 8)
    pairs.known[:] = False
    draw_flow(pairs, torch.zeros(1, 2, 8, 8), tmp_path / "x.png")
    pixels = np.array(Image.open(tmp_path / "x.png").convert("RGB")).reshape(-1, 3)
    assert (pixels == UNKNOWN).all(1).mean() > 0.1
    with pytest.raises(InputError, match="found of shape"):
        draw_flow(pairs, torch.zeros(1, 2, 4, 4), tmp_path / "y.png")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("draw RUN --form arrows", "--form='arrows' is not one of flow, lines"),
        ("draw RUN --count 0", "--count=0 must be an integer of at least 1"),
        ("draw RUN --first 1 --count 2", "--first=1 and 2 pairs end beyond the 2 of test"),
        ("draw RUN one.png", "IMAGE: 1 picture where two are matched; give two, or none"),
        ("draw RUN one.png two.png", "cannot read the image one.png"),
        ("draw RUN --out x.jpg", "--out=x.jpg must end in .png, .pdf, .svg or .flo"),
        ("draw RUN --out x.flo", "--out=x.flo is for two pictures"),
        ("draw RUN --resize 40", "--resize=40 is for two pictures"),
        ("draw RUN --part val", "val does not exist; it should have pairs NAME_1.png"),
        ("draw RUN --forms flow", "unknown flag --forms; did you mean '--form'"),
        ("train --model vgg11", "--model='vgg11' is not one of"),
        ("train --model finc_flow", "--model='finc_flow' is not one of skflow, skflow_s, chm, dkm"),
        ("paint RUN", "invalid choice: 'paint'"),
    ],
)
def test_bad_input(words: str, message: str, finished: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["match", *(str(finished) if word == "RUN" else word for word in words.split())]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_and_runs_of_other_networks(tmp_path: Path, capsys) -> None:
    flags = "--dataset digits --levels 1 --num_layers 1 --d_hidden 4 --limit_train 8 --limit_test 8 --num_epochs 1"
    assert main(["generate", "train", *flags.split(), "--output_dir", str(tmp_path / "run")]) == 0
    for task in ("evaluate", "draw"):
        assert main(["match", task, str(tmp_path / "run")]) == 2
        assert "is of finc_flow, which matches no pairs of images" in capsys.readouterr().err
    flag, wrong = f"--resume={tmp_path / 'run'}: ", f"--config={tmp_path / 'run' / 'args.txt'}: "
    for command, message in (
        ("match", "--model='finc_flow' is not one of skflow"),
        ("knowledge", "--model='finc_flow' is not one of"),
        ("segment", "--dataset=digits has no masks"),
    ):
        assert main([command, "train", "--resume", str(tmp_path / "run"), "--num_epochs", "2"]) == 2
        assert f"{flag}{message}" in capsys.readouterr().err
        new = tmp_path / "new"
        assert main([command, "train", "--config", str(tmp_path / "run" / "args.txt"), "--output_dir", str(new)]) == 2
        assert f"{wrong}{message}" in capsys.readouterr().err
        assert not new.exists()
    assert main(["generate", "evaluate", str(tmp_path / "run"), "--data_path", str(tmp_path)]) == 2
    message = f"--data_path={tmp_path} is not looked at: the checkpoint learned digits, which needs no files"
    assert message in capsys.readouterr().err
