"""convnn train --distill from the command line: two parts equal the whole, and mistakes are one sentence."""

import shlex
from pathlib import Path

import pytest

from convnn.cli import main, main_train
from convnn.train import read_checkpoint

DATA = shlex.split("--dataset digits --limit_train 32 --limit_test 16 --batch_size 16 --device cpu --scheduler none")
CNN = [*DATA, *shlex.split("--model kan4 --layer Conv2d --width 0.125 --num_epochs 1")]
VIT = [*DATA, *shlex.split("--model vit --resize 8 --patch_size 2 --num_layers 2 --d_hidden 12 --d_mlp 16")]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    assert main_train([*CNN, "--output_dir", str(folder)]) == 0
    return folder


@pytest.mark.slow
def test_one_epoch_and_another_equal_two(teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    taught = [*VIT, "--distill", str(teacher), "--distill_loss", "ofa"]
    for name, lengths in (("whole", "2"), ("parts", "12")):
        for epochs in lengths:
            assert main_train([*taught, "--num_epochs", epochs, "--resume", "--output_dir", str(tmp_path / name)]) == 0
    whole, parts = (read_checkpoint(tmp_path / name / "last.safetensors") for name in ("whole", "parts"))
    assert all((parts.weights[name] == tensor).all() for name, tensor in whole.weights.items())
    tensors = whole.run.tensors
    assert any(name.startswith("objective/scheme.projectors.3") for name in tensors)
    assert all((parts.run.tensors[name] == tensor).all() for name, tensor in tensors.items())
    columns = (tmp_path / "whole" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert columns[-3:] == ["term_labels", "term_logits", "term_features"]
    assert main(["evaluate", str(tmp_path / "whole" / "best.safetensors"), "--device", "cpu"]) == 0
    capsys.readouterr()


def test_a_schedule_by_all_epochs_fixes_their_number(
    teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--distill", str(teacher), "--distill_loss", "cskd", "--distillation_token", "--distill_layers", "head"]
    run = [*VIT, *flags, "--num_epochs", "1", "--output_dir", str(tmp_path)]
    assert main_train(run) == 0
    assert "not read by vit of Attention: --distill_layers" in capsys.readouterr().out
    assert main_train(["--resume", str(tmp_path), "--num_epochs", "2"]) == 2
    assert "--num_epochs=2 differs from 1, the length of the schedule of --distill_decay" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--distill", "nowhere"], "nowhere"),
        (["--distill_checkpoint", "x.pth"], "--distill_checkpoint=x.pth is of a teacher; name its network, such as"),
        (["--distill", "runs/cnn", "--distill_loss", "ofs"], "--distill_loss='ofs' is not one of logits, ofa, cskd"),
    ],
)
def test_mistakes_are_one_sentence(
    flags: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_train([*VIT, *flags, "--output_dir", str(tmp_path / "run")]) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert message in printed
    assert not (tmp_path / "run").exists()
