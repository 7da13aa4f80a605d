"""Tests of `convnn predict` on files and folders of any name, readable or broken."""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from convnn.cli import command_parser, main
from convnn.models import Network
from convnn.train import Checkpoint, Recipe, save_checkpoint

CLASSES = ("[bold]cat", "dog", "owl[/bold]")
RECIPE = Recipe(
    model="resnet18",
    layer="Conv2d",
    width=0.0625,
    settings={},
    dataset="imagefolder",
    input_shape=(3, 8, 8),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    classes=CLASSES,
)


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    save_checkpoint(path, Checkpoint(RECIPE.build().state_dict(), RECIPE))
    return path


def write_pictures(folder: Path, names: Sequence[str]) -> list[str]:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (10, 9), (40 * number, 90, 200)).save(path, "PNG")
    return [str(folder / name) for name in names]


def predict(best: Path, *words: object) -> int:
    return main(["predict", str(best), *map(str, words)])


def test_folders_and_files_are_mixed_and_folders_are_searched_as_data_sets_are(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = write_pictures(tmp_path / "in", ["0.png", "b/1.JPG", "b/c/2.png"])
    (tmp_path / "in" / "b" / "readme.txt").write_text("no picture")
    [apart] = write_pictures(tmp_path, ["apart"])
    assert predict(best, apart, tmp_path / "in", apart, "--format", "csv", "--top", "9") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["image"] for row in rows[::3]] == [apart, *inside, apart]
    assert [row["rank"] for row in rows[:3]] == ["1", "2", "3"], "no more than there are classes"
    assert {row["class"] for row in rows[:3]} == set(CLASSES)
    assert sum(float(row["probability"]) for row in rows[:3]) == pytest.approx(1)


def test_a_picture_is_in_a_folder_what_it_is_in_a_data_set(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["1.jfif", "a/2.qoi", ".3.png", ".cache/4.png", "@eaDir/5.png", "a/6.heic"]
    pictures = write_pictures(tmp_path / "in", names)
    (tmp_path / "in" / "a" / "above").symlink_to("..", target_is_directory=True)
    assert predict(best, tmp_path / "in", "--format", "csv", "--top", "1") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["image"] for row in rows] == pictures[:2]


def test_no_more_than_a_batch_is_in_memory(best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path / "in", [f"{number}.png" for number in range(7)])
    sizes: list[int] = []
    forward = Network.forward
    monkeypatch.setattr(Network, "forward", lambda self, x: (sizes.append(x.shape[0]), forward(self, x))[1])
    assert predict(best, tmp_path / "in", "--batch_size", "3") == 0
    assert sizes == [3, 3, 1]
    assert predict(best, tmp_path / "in", "--batch_size", "0") == 2


def test_what_cannot_be_read_is_named_and_the_others_go_on(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = write_pictures(tmp_path, ["a/1.png", "a/3.png"])
    (tmp_path / "a" / "2.png").write_bytes(b"no picture")
    (tmp_path / "empty").mkdir()
    words = [tmp_path / "a", tmp_path / "none[/bold].png", tmp_path / "empty", "--format", "json", "--top", "1"]
    assert predict(best, *words) == 1
    printed = capsys.readouterr()
    assert [entry["image"] for entry in json.loads(printed.out)] == good
    lines = printed.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("convnn: ") for line in lines)
    for line, name in zip(lines, ["2.png", "none[/bold].png", "empty has no pictures"], strict=True):
        assert name in line


def test_nothing_is_cut_or_interpreted_in_a_pipe(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [path] = write_pictures(tmp_path, [f"{'long/' * 40}[v2]:cat:[/bold].png"])
    assert predict(best, path) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert path in lines[1]
    assert all(any(name in line for line in lines) for name in CLASSES)


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_file_is_written_and_not_replaced_unasked(
    form: str, best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [path] = write_pictures(tmp_path, ["1.png"])
    out = tmp_path / "new" / "classes"
    assert predict(best, path, "--format", form, "--out", out) == 0
    assert capsys.readouterr().out == ""
    text = out.read_text()
    assert path in text
    out.write_text("mine")
    assert predict(best, path, "--format", form, "--out", out) == 2
    assert f"--out={out} would replace '{out}'; choose another, or pass --overwrite" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert predict(best, path, "--format", form, "--out", out, "--overwrite") == 0
    assert out.read_text() == text
    assert [one.name for one in out.parent.iterdir()] == ["classes"]


def test_bad_flags_are_refused_before_anything_is_read(best: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(best, "none.png", "--format", "xml") == 2
    assert "--format='xml' is not one of table, csv, json" in capsys.readouterr().err
    assert predict(best, "none.png", "--out", best.parent) == 2
    assert "is a folder; name the file" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="names are text elsewhere")
def test_a_name_that_is_no_text_survives(best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [path] = write_pictures(tmp_path, [os.fsdecode(b"caf\xe9.png")])
    for form in ("json", "csv", "table"):
        assert predict(best, path, "--format", form, "--out", tmp_path / form) == 0
    assert json.loads((tmp_path / "json").read_text(encoding="ascii"))[0]["image"] == path
    assert r"caf\udce9.png" in (tmp_path / "csv").read_text(encoding="utf-8")
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", screen)
    assert predict(best, path) == 0
    screen.flush()
    assert rb"caf\udce9.png" in screen.buffer.getvalue()


@pytest.mark.parametrize("command", ["predict", "neighbors"])
def test_the_checkpoint_comes_first_and_pictures_may_come_last(command: str) -> None:
    args = command_parser(command).parse_strictly(["run", "a.png", "--out", "there", "b.png"])
    assert (args.checkpoint, args.images, args.out) == ("run", ["a.png", "b.png"], "there")
