"""Tests that run the examples of the published readme on a few random images and narrow networks."""

import shlex
from pathlib import Path

import pytest
import torch

from convnn.cli import main_train
from convnn.data import builders
from few_images import few_cifar
from pairwise import only
from published_examples import PUBLISHED_EXAMPLES


@pytest.fixture
def compile_modes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Avoid the C++ compiler: capture whole graphs and run them in eager mode."""
    modes = []
    compile_ = torch.nn.Module.compile

    def capture(module: torch.nn.Module, mode: str) -> None:
        modes.append(mode)
        compile_(module, backend="eager", fullgraph=True)

    monkeypatch.setattr(torch.nn.Module, "compile", capture)
    return modes


@pytest.mark.slow
@pytest.mark.parametrize("example", only(lambda example: "--use_compiled" not in example, PUBLISHED_EXAMPLES))
def test_published_example_starts(
    example: str,
    compile_modes: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(builders, "read_cifar", few_cifar)
    monkeypatch.chdir(tmp_path)
    argv = shlex.split(example.replace("--device cuda", "").replace("--num_epochs 150", "--num_epochs 1"))
    assert main_train([*argv, "--device", "cpu", "--width", "0.0625", "--batch_size", "4"]) == 0
    printed = capsys.readouterr().out
    if "--test_only" in argv:
        assert "output (2, 10)" in printed
        return
    folder = Path(argv[argv.index("--output_dir") + 1])
    assert "epoch 1/1" in printed
    assert "[Epoch 001]" in (folder / "train_eval_results.txt").read_text()
    assert compile_modes == (["reduce-overhead"] if "--use_compiled" in argv else [])


@pytest.mark.slow
def test_reduce_memory_sets_the_activation_budget(
    compile_modes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builders, "read_cifar", few_cifar)
    argv = ["--layer", "Conv2d", "--width", "0.0625", "--num_epochs", "1", "--device", "cpu", "--use_compiled"]
    with torch._functorch.config.patch(activation_memory_budget=1.0):
        assert main_train([*argv, "--compile_mode", "reduce-memory", "--output_dir", str(tmp_path)]) == 0
        assert torch._functorch.config.activation_memory_budget == 0.5
    assert compile_modes == ["default"]
