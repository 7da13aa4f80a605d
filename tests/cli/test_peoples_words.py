"""Tests that names typed by users are shown unchanged, and that neither they nor personal settings end a run."""

import io
import os
from pathlib import Path
from types import SimpleNamespace

import matplotlib
import pytest
import torch
from rich.console import Console
from rich.table import Table

from convnn.cli import main, main_train
from convnn.cli import train as train_command
from convnn.cli._callbacks import Curves
from convnn.cli.sweep import summary
from convnn.errors import InputError
from convnn.files import write_atomically
from convnn.nn import ConvNNAttention
from convnn.nn.replace._report import Fate, ReplacementReport
from convnn.runs.files import arguments_text, parse_arguments
from convnn.screen import make_console, print_line
from convnn.study import read_study
from convnn.train import TrainConfig
from convnn.train.config_file import read_config_file
from convnn.viz import draw_curves

RUN = (
    "--dataset digits --model resnet18 --width 0.0625 --layer Conv2d --num_epochs 1"
    " --batch_size 64 --limit_train 64 --limit_test 32 --device cpu"
)
NAME = "a[v2]b[/bold]:smile:"


def test_a_run_says_the_names_that_people_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")  # no LaTeX anywhere
    monkeypatch.setattr("convnn.cli._callbacks.draw_curves", draw_curves)
    with matplotlib.rc_context({"text.usetex": True}):
        assert main_train([*RUN.split(), "--output_dir", NAME, "--resume"]) == 0
    printed = capsys.readouterr().out
    assert f"no checkpoint in {NAME} yet: starting" in printed
    assert any(line.split() == ["results", NAME] for line in printed.splitlines())
    assert "1 epoch, batch 64" in printed
    assert "cannot be drawn" not in printed
    assert (tmp_path / NAME / "curves.png").stat().st_size > 10_000


def test_a_console_for_people_interprets_nothing_and_cuts_nothing_in_a_file() -> None:
    screen = io.StringIO()
    console = make_console(screen)
    table = Table(NAME, title=NAME)
    table.add_row(NAME * 20)
    console.print(table)
    console.print(NAME)
    print_line(Console(file=screen, width=10), NAME)
    assert screen.getvalue().count(NAME) == 24


def test_a_study_keeps_its_title(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(f'title = "{NAME}"\n[[runs]]\nlayer = ["Conv2d"]\n')
    screen = io.StringIO()
    Console(file=screen).print(summary(read_study(path), []))
    assert NAME in screen.getvalue()


def test_a_picture_that_fails_is_one_line_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no font\nand a page of it")

    monkeypatch.setattr("convnn.cli._callbacks.draw_curves", fail)
    words = RUN.replace("--num_epochs 1", "--num_epochs 2").split()
    assert main_train([*words, "--output_dir", str(tmp_path)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "drawn" in line]
    assert lines == [f"'{tmp_path / 'curves.png'}' cannot be drawn: RuntimeError: no font; training continues"]
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 3


def test_a_signal_while_a_picture_is_drawn_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("convnn.cli._callbacks.draw_curves", interrupt)
    folder = SimpleNamespace(metrics=tmp_path / "metrics.csv", path=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        Curves(folder, warn=print).on_epoch_end(None)


def test_a_terminal_that_is_not_utf_8_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict") for _ in range(2))
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setattr(train_command, "check_shapes", lambda config, console: console.print("8×8 \udce9"))
    assert main(["train", "--test_only"]) == 0
    assert main(["models", "é*"]) == 2
    for stream in (out, err):
        stream.flush()
    assert out.buffer.getvalue() == b"8\\xd78 \\udce9\n"
    assert rb"pattern='\xe9*' matches no model" in err.buffer.getvalue()


def test_paths_that_are_no_text_survive_in_args_txt(tmp_path: Path) -> None:
    path, data = tmp_path / "args.txt", os.fsdecode(b"pictures \xe9\xff")
    write_atomically(path, arguments_text({"data_path": data, "output_dir": "é"}))
    text = path.read_text(encoding="utf-8")
    assert parse_arguments(text, "args.txt") == {"data_path": data, "output_dir": "é"}
    assert read_config_file(path)["data_path"] == data


@pytest.mark.skipif(os.name != "posix", reason="names are text elsewhere")
def test_a_run_whose_name_is_no_text_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"runs\xe9")
    assert main_train([*RUN.split(), "--output_dir", name]) == 2
    assert capsys.readouterr().err == "main.py: --output_dir='runs\\udce9' must be valid UTF-8; choose another name\n"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="must be valid UTF-8"):
        TrainConfig(output_dir="\ud800")


def test_one_is_no_plural() -> None:
    report = ReplacementReport((Fate("conv1", "Conv2d", "ConvNN2d"),))
    assert str(report).startswith("1 layer replaced, 0 left")
    attention = ConvNNAttention(4, 1, K=2)
    with pytest.raises(InputError, match=r"^K=2 is more than the 1 token of the input"):
        attention(torch.zeros(1, 1, 4))
