"""The examples of the published readme, started for real on a few random images and narrow networks."""

import shlex
from pathlib import Path

import pytest
import torch

from convnn.cli import main_train
from convnn.cli import train as train_command
from convnn.data import Batch, ImageData
from published_examples import PUBLISHED_EXAMPLES


class FewImages:
    """Eight random images, in two batches."""

    num_samples = 8

    def __init__(self, num_classes: int) -> None:
        self.broken: set[str] = set()
        images, labels = torch.randn(8, 3, 32, 32), torch.randint(num_classes, (8,))
        self.batches = [Batch(images[i], labels[i], i) for i in torch.arange(8).split(4)]

    def __iter__(self):
        return iter(self.batches)

    def __len__(self) -> int:
        return 2

    def set_epoch(self, epoch: int, first_step: int = 0) -> None:
        pass


def _load_few(dataset: str, *_: object, **__: object) -> ImageData:
    num_classes = {"cifar10": 10, "cifar100": 100}[dataset]
    loader = FewImages(num_classes)
    classes = tuple(map(str, range(num_classes)))
    return ImageData(dataset, loader, loader, classes, (3, 32, 32), (0.5,) * 3, (0.25,) * 3)


@pytest.fixture
def compile_modes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keep the C++ compiler out: graphs are captured whole and run as they are."""
    modes = []
    compile_ = torch.nn.Module.compile

    def capture(module: torch.nn.Module, mode: str) -> None:
        modes.append(mode)
        compile_(module, backend="eager", fullgraph=True)

    monkeypatch.setattr(torch.nn.Module, "compile", capture)
    return modes


@pytest.mark.parametrize("example", PUBLISHED_EXAMPLES)
def test_published_example_starts(
    example: str,
    compile_modes: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(train_command, "load_data", _load_few)
    monkeypatch.chdir(tmp_path)
    argv = shlex.split(example.replace("--device cuda", "").replace("--num_epochs 150", "--num_epochs 1"))
    assert main_train([*argv, "--device", "cpu", "--width", "0.0625"]) == 0
    printed = capsys.readouterr().out
    if "--test_only" in argv:
        assert "output (2, 10)" in printed
        return
    folder = Path(argv[argv.index("--output_dir") + 1])
    assert "epoch 1/1" in printed
    assert "[Epoch 001]" in (folder / "train_eval_results.txt").read_text()
    assert compile_modes == (["reduce-overhead"] if "--use_compiled" in argv else [])


def test_reduce_memory_sets_the_activation_budget(
    compile_modes: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_command, "load_data", _load_few)
    argv = ["--layer", "Conv2d", "--width", "0.0625", "--num_epochs", "1", "--device", "cpu", "--use_compiled"]
    with torch._functorch.config.patch(activation_memory_budget=1.0):
        assert main_train([*argv, "--compile_mode", "reduce-memory", "--output_dir", str(tmp_path)]) == 0
        assert torch._functorch.config.activation_memory_budget == 0.5
    assert compile_modes == ["default"]
