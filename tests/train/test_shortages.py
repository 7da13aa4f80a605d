"""Shortages of the machine are not blamed on files: memory, open files, processes that read images."""

import errno
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from convnn.cli import main_train
from convnn.data.images import BrokenImageError, read_image
from convnn.data.sources import read_cifar
from convnn.errors import InputError
from convnn.train import ConsoleReport, load_checkpoint, read_checkpoint
from faults.digest import run_digest
from faults.runs import flags, make_images

RUN = (
    "--dataset digits --model vit --resize 8 --patch_size 4 --num_layers 1 --num_heads 1 --d_hidden 8 --d_mlp 8"
    " --limit_train 16 --limit_test 8 --batch_size 8 --num_epochs 2 --device cpu --scheduler none"
)
SHORTAGES = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
]


@pytest.fixture(scope="module")
def run(train: Callable[[str], Path]) -> Path:
    return train(RUN)


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize(
    "place", ["convnn.train.sealed.safe_open", "torch.distributed.checkpoint.state_dict.set_state_dict"]
)
def test_a_good_checkpoint_is_not_called_damaged(
    place: str, error: BaseException, run: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(place, failing(error))
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    assert main_train(["--resume", str(run), "--num_epochs", "3"]) == 2
    assert "out of memory" in (message := capsys.readouterr().err)
    assert message.count("\n") == 1
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


@pytest.mark.parametrize("error", SHORTAGES[:3], ids=lambda error: type(error).__name__)
def test_a_network_too_large_is_not_called_a_bad_recipe(error: BaseException, run: Path, monkeypatch) -> None:
    from convnn.train import recipe

    build = recipe.create_model

    def on_meta_only(*args: object, **settings: object) -> torch.nn.Module:
        if torch.get_default_device().type != "meta":
            raise error
        return build(*args, **settings)

    monkeypatch.setattr(recipe, "create_model", on_meta_only)
    with pytest.raises(type(error)):
        load_checkpoint(run / "best.safetensors")


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.EMFILE, errno.ENFILE])
def test_an_image_is_not_called_broken_for_want_of_something_else(number: int, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(Image, "open", failing(OSError(number, os.strerror(number))))
    with pytest.raises(OSError, match=os.strerror(number)):
        read_image(tmp_path / "a.png")
    monkeypatch.setattr(Image, "open", failing(OSError(errno.EIO, os.strerror(errno.EIO))))
    with pytest.raises(BrokenImageError, match="cannot read the image"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("error", SHORTAGES, ids=lambda error: type(error).__name__)
def test_a_data_set_is_not_called_missing(error: BaseException, tmp_path: Path) -> None:
    from torchvision import datasets

    class Large(datasets.CIFAR10):
        __init__ = failing(error)

    class Missing(datasets.CIFAR10):
        __init__ = failing(RuntimeError("no such file"))

    with pytest.raises(type(error)):
        read_cifar(Large, tmp_path, download=False)
    with pytest.raises(InputError, match="holds no intact copy of Missing"):
        read_cifar(Missing, tmp_path, download=False)


@pytest.mark.slow
def test_a_run_that_loses_a_loader_worker_says_so_and_goes_on_to_the_bit(tmp_path: Path, monkeypatch, capsys) -> None:
    images, whole, hit = make_images(tmp_path / "images"), tmp_path / "whole", tmp_path / "hit"
    more = "--batch_size 2 --num_epochs 1 --checkpoint_every 1"
    assert main_train(flags(images, whole, workers=1, more=more)) == 0

    def kill(report: ConsoleReport, step: int) -> None:
        if step == 3:
            [worker] = multiprocessing.active_children()
            worker.kill()
            worker.join()

    with monkeypatch.context() as patch:
        patch.setattr(ConsoleReport, "on_step", kill)
        assert main_train(flags(images, hit, workers=1, more=more)) == 2
    message = capsys.readouterr().err
    assert "DataLoader worker (pid" in message
    assert "lower --num_workers; checkpoints are intact, and --resume continues from them" in message
    assert message.count("\n") == 1
    assert read_checkpoint(hit / "last.safetensors").run.document["position"]["step"] >= 2
    assert main_train(flags(images, hit, workers=1, more=more)) == 0
    assert run_digest(hit) == run_digest(whole)
