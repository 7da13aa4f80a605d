"""Tests of `convnn statistics`, and of the same measures after every epoch."""

import csv
import json
import math
import shlex
from pathlib import Path

import pytest
import torch
from PIL import Image

from convnn.cli import main, main_train
from convnn.cli._callbacks import NeighborLog
from convnn.data import load_data
from convnn.errors import InputError
from convnn.models import create_model
from convnn.train import EpochResult, Scores, TrainConfig, load_checkpoint, read_checkpoint
from convnn.train.randomness import random_state
from convnn.viz import LayerStatistics, draw_statistics, layer_fields, neighbor_statistics
from convnn.viz.fields import table as fields_table
from convnn.viz.statistics.measure import MEASURES
from convnn.viz.statistics.table import COLUMNS, csv_rows, readable_markdown, readable_rows

FLAGS = shlex.split(
    "--dataset digits --model resnet18 --width 0.0625 --layer Branching --K 4 --num_epochs 2 --batch_size 32"
    " --limit_train 64 --limit_test 32 --lr 0.01"
)
PNG = b"\x89PNG"


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("logged")
    assert main_train([*FLAGS, "--log_neighbors", "--output_dir", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(logged: Path, tmp_path: Path) -> Path:
    """Copy the run."""
    for path in logged.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.slow
def test_the_command_writes_a_table_a_picture_and_numbers(
    logged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best, out = logged / "best.safetensors", tmp_path / "statistics"
    argv = [str(best), "--limit_test", "8", "--limit_train", "16", "--out", str(out)]
    assert main(["statistics", *argv]) == 0
    printed = capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"statistics.csv", "statistics.md", "statistics.png"}
    assert (out / "statistics.png").read_bytes().startswith(PNG)
    data = load_data("digits", limit_test=8, limit_train=16)
    expected = neighbor_statistics(load_checkpoint(best)[0], data.test, labelled_batches=data.train)
    with (out / "statistics.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [list(COLUMNS), *csv_rows(expected)]
    text = (out / "statistics.md").read_text()
    for one in expected:
        assert f"| {one.name} | {one.height}×{one.width} | 4 | {one.distance:.2f} |" in text
    assert "resnet18 of Branching on 8 images of digits" in text
    assert main(["statistics", *argv]) == 2
    assert f"--out={out} would replace '{out / 'statistics.csv'}'" in capsys.readouterr().err
    argv = [word if word != "8" else "1" for word in argv]
    assert main(["statistics", *argv, "--overwrite"]) == 0
    assert "resnet18 of Branching on 1 image of digits" in (out / "statistics.md").read_text()
    assert "resnet18 of Branching on 8 images of digits" in printed
    assert f"{expected[0].class_agreement:.1%}" in printed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--layer", "Conv2d"], "model ResNet has no layer that chooses neighbours"),
        (["--fsdp"], "--log_neighbors needs the whole network in one process; leave out --log_neighbors or --fsdp"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_an_old_run_is_overwritten(
    flags: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    argv = [*FLAGS, *flags, "--log_neighbors", "--overwrite", "--output_dir", str(folder)]
    assert main_train(argv) == 2
    assert message in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.slow
def test_receptive_fields_are_written_drawn_and_printed(
    logged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best, out = logged / "best.safetensors", tmp_path / "statistics"
    argv = ["statistics", str(best), "--receptive_field", "--limit_test", "2", "--out", str(out)]
    assert main([*argv, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [row["layer"] for row in printed][::17] == ["stem.0", "features"]
    assert {path.name for path in out.iterdir()} == {f"receptive_field.{end}" for end in ("csv", "md", "png")}
    expected = layer_fields(load_checkpoint(best)[0], load_data("digits", limit_test=2).test)
    with (out / "receptive_field.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [list(fields_table.COLUMNS), *fields_table.csv_rows(expected)]
    assert main(argv) == 2
    assert f"--out={out} would replace '{out / 'receptive_field.csv'}'" in capsys.readouterr().err


def test_shape_bias_is_that_of_the_predictions(
    logged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best, pictures, out = logged / "best.safetensors", tmp_path / "cue-conflict", tmp_path / "out"
    pixels = torch.randint(256, (6, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for number, (shape, texture) in enumerate([(0, 1), (1, 2), (2, 3), (7, 8), (9, 0)]):
        (pictures / str(shape)).mkdir(parents=True)
        Image.fromarray(pixels[number].numpy()).save(pictures / str(shape) / f"{shape}-{texture}.png")
    Image.fromarray(pixels[5].numpy()).save(pictures / "0" / "0-cow.png")
    argv = [str(best), "--shape_bias", str(pictures), "--out", str(out)]
    assert main(["statistics", *argv, "--json"]) == 0
    *_, total = json.loads(capsys.readouterr().out)
    assert main(["predict", str(best), str(pictures), "--top", "1", "--format", "json"]) == 0
    guesses = {Path(one["image"]).stem: one["classes"][0]["class"] for one in json.loads(capsys.readouterr().out)}
    shape, texture = (
        sum(name.split("-")[place] == guess for name, guess in guesses.items() if name != "0-cow") for place in (0, 1)
    )
    assert (total["class"], total["images"], total["shape"], total["texture"]) == ("all", 5, shape, texture)
    assert {path.name for path in out.iterdir()} == {"shape_bias.csv", "shape_bias.md"}
    assert main(["statistics", *argv, "--overwrite"]) == 0
    assert "1 picture left out: not of two different classes of the network" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "has no pictures"),
        (["cow1-cat2.png"], "has no picture SHAPE-TEXTURE of two classes of the network, which are 0, 1, 2"),
        (["3.png"], "must be named after its shape and texture, such as cat7-elephant1.png"),
        (None, "must be a folder of pictures named SHAPE-TEXTURE"),
    ],
)
def test_what_has_no_conflicting_cues_is_refused(
    names: list[str] | None, message: str, logged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    if names is not None:
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    argv = ["statistics", str(logged / "best.safetensors"), "--shape_bias", str(folder), "--out", str(tmp_path / "out")]
    assert main(argv) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_analysis_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["statistics", "best.safetensors", "--receptive_field", "--shape_bias", "cues"]) == 2
    assert "--shape_bias: not allowed with argument --receptive_field" in capsys.readouterr().err


def rows(folder: Path) -> list[list[str]]:
    with (folder / "neighbors.csv").open(newline="") as file:
        return list(csv.reader(file))


def test_every_epoch_has_a_row_for_each_layer(logged: Path) -> None:
    head, *body = rows(logged)
    assert head == ["epoch", *COLUMNS]
    layers = [row[1] for row in body if row[0] == "1"]
    assert len(layers) == len(set(layers)) == 16
    assert [row[:2] for row in body] == [[epoch, layer] for epoch in "12" for layer in layers]
    data = load_data("digits", batch_size=32, limit_train=64, limit_test=32)
    network, recipe = load_checkpoint(logged / "last.safetensors")
    assert recipe.epoch == 2
    assert [row[1:] for row in body[16:]] == csv_rows(
        neighbor_statistics(network, data.test, labelled_batches=data.train)
    )


@pytest.mark.slow
def test_training_computes_the_same_bits_with_and_without(logged: Path, tmp_path: Path) -> None:
    assert main_train([*FLAGS, "--output_dir", str(tmp_path)]) == 0
    assert (tmp_path / "metrics.csv").read_bytes() == (logged / "metrics.csv").read_bytes()
    assert not (tmp_path / "neighbors.csv").exists()
    with_log, without = (read_checkpoint(path / "last.safetensors") for path in (logged, tmp_path))
    assert all(torch.equal(t, without.weights[name]) for name, t in with_log.weights.items())
    assert with_log.run is not None
    assert without.run is not None
    assert all(torch.equal(t, without.run.tensors[name]) for name, t in with_log.run.tensors.items())


@pytest.mark.slow
def test_a_resumed_run_ends_with_the_same_file(folder: Path, logged: Path) -> None:
    """Simulate a kill in the second epoch, with some of its rows already written."""
    (folder / "last.safetensors").unlink()
    text = (folder / "neighbors.csv").read_text().splitlines()
    (folder / "neighbors.csv").write_text("\n".join(text[:20]) + "\n2,stages.0")
    assert main_train(["--resume", str(folder)]) == 0
    assert (folder / "neighbors.csv").read_bytes() == (logged / "neighbors.csv").read_bytes()


@pytest.mark.slow
def test_a_run_killed_between_checkpoint_and_table_gets_its_last_rows(folder: Path, logged: Path) -> None:
    text = (folder / "neighbors.csv").read_text().splitlines(keepends=True)
    (folder / "neighbors.csv").write_text("".join(text[:17]))
    assert main_train(["--resume", str(folder)]) == 0
    assert (folder / "neighbors.csv").read_bytes() == (logged / "neighbors.csv").read_bytes()


@pytest.mark.slow
def test_a_run_that_goes_on_elsewhere_takes_its_rows_along(logged: Path, tmp_path: Path) -> None:
    argv = ["--resume", str(logged / "previous.safetensors"), "--output_dir", str(tmp_path)]
    assert main_train(argv) == 0
    assert (tmp_path / "neighbors.csv").read_bytes() == (logged / "neighbors.csv").read_bytes()


@pytest.mark.slow
def test_the_flag_can_be_turned_on_and_off_when_a_run_goes_on(folder: Path) -> None:
    before = (folder / "neighbors.csv").read_bytes()
    assert main_train(["--resume", str(folder), "--no-log_neighbors", "--num_epochs", "3"]) == 0
    assert (folder / "neighbors.csv").read_bytes() == before
    assert main_train(["--resume", str(folder), "--log_neighbors", "--num_epochs", "4"]) == 0
    assert [row[0] for row in rows(folder)[1::16]] == ["1", "2", "3", "4"]


@pytest.mark.slow
def test_overwriting_a_run_takes_its_rows_away(folder: Path) -> None:
    assert main_train([*FLAGS, "--num_epochs", "1", "--overwrite", "--output_dir", str(folder)]) == 0
    assert not (folder / "neighbors.csv").exists()


class Scalars:
    """Stands in for TensorBoard."""

    def __init__(self) -> None:
        self.written: dict[int, dict[str, float]] = {}

    def write(self, scalars: dict[str, float], epoch: int) -> None:
        self.written[epoch] = scalars


def test_scalars_have_layer_and_measure_in_their_tags_and_no_generator_is_touched(tmp_path: Path) -> None:
    config = TrainConfig(dataset="digits", limit_train=16, limit_test=8, K=4)
    network = create_model("resnet18", "ConvNN", in_channels=1, width=1 / 16, K=4).train()
    scalars = Scalars()
    log = NeighborLog(config, tmp_path, network, scalars=scalars)  # type: ignore[arg-type]
    log.on_start([])
    before = random_state()
    log.on_epoch_end(EpochResult(7, 1.0, 1.0, 0.1, Scores(1, 0, 0), Scores(1, 0, 0), True))
    after = random_state()
    assert all(torch.equal(state, after[0][name]) for name, state in before[0].items())
    assert before[1] == after[1]
    assert all(module.training for module in network.modules())
    [(epoch, written)] = scalars.written.items()
    first = next(row for row in rows(tmp_path)[1:])
    assert epoch == 7
    for name, value in zip(MEASURES, first[5:], strict=True):
        tag = f"neighbors/{first[1]}/{name}"
        assert f"{written[tag]:.6g}" == value if value else tag not in written


def layer(name: str = "a|b", **measures: float) -> LayerStatistics:
    values = dict.fromkeys(MEASURES, 0.25) | measures
    return LayerStatistics(name, 4, 5, 9, **values)


def test_unknown_measures_are_empty_in_the_file_and_a_dash_to_read() -> None:
    one = layer(distance=2 / 3, hubness=math.nan)
    assert csv_rows([one]) == [["a|b", "4", "5", "9", "0.666667", "0.25", "0.25", "0.25", "", *["0.25"] * 5]]
    head, body = readable_rows([one], ["distance", "hubness", "outside"])
    assert body == [["1", "a|b", "4×5", "9", "0.67", "–", "25.0%"]]
    assert head[:4] == ["", "layer", "map", "K"]
    rule, row = readable_markdown([one]).splitlines()[1:]
    assert rule.startswith("| ---: | --- | ---: | ---: |")
    assert row.startswith(r"| 1 | a\|b | 4×5 | 9 | 0.67 |")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "measures"), [("png", {}), ("pdf", dict.fromkeys(MEASURES, math.nan)), ("svg", {"hubness": -0.5})]
)
def test_one_layer_and_unknown_measures_can_be_drawn(suffix: str, measures: dict, tmp_path: Path) -> None:
    path = draw_statistics([layer(**measures)], tmp_path / f"s.{suffix}", title="$\\broken")
    assert path.stat().st_size > 1000


def test_wrong_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"layers=\[\] must not be empty"):
        draw_statistics([], tmp_path / "s.png")
    with pytest.raises(InputError, match="suffix of the picture"):
        draw_statistics([layer()], tmp_path / "s.gif")
