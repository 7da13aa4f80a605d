"""A trained network is found in a checkpoint, a run's folder and a hub's folder, and knows its data set."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import convnn
from convnn.cli import main, main_train
from convnn.errors import InputError
from convnn.hub import save_pretrained
from convnn.train import Checkpoint, load_checkpoint, save_checkpoint, start_from
from few_images import write_pictures

FLAGS = "--model resnet18 --width 0.0625 --K 4 --resize 32 --batch_size 8 --num_epochs 1"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder)
    return folder / "pictures"


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    argv = f"{FLAGS} --dataset imagefolder --data_path {pictures} --num_workers 0 --output_dir {folder} --overwrite"
    assert main_train(argv.split()) == 0
    return folder


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


@pytest.mark.slow
def test_a_file_a_run_and_a_hub_folder_are_loaded(run: Path, tmp_path: Path) -> None:
    network, recipe = load_checkpoint(run / "best.safetensors")
    folder = save_pretrained(network, recipe, tmp_path / "hub")
    for path in (run / "last.safetensors", run, str(run), folder):
        loaded = convnn.load(path)
        assert not loaded.training
        assert same(loaded, network)


def test_of_a_run_the_best_epoch_is_taken_and_else_the_last(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "last.safetensors", tmp_path)
    last = convnn.load(tmp_path)
    _, recipe = load_checkpoint(run)
    best = {name: one + 1 if one.is_floating_point() else one for name, one in last.state_dict().items()}
    save_checkpoint(tmp_path / "best.safetensors", Checkpoint(best, recipe))
    loaded = convnn.load(tmp_path)
    for name, value in last.named_parameters():
        assert torch.equal(loaded.get_parameter(name), value + 1)
    network = recipe.build()
    start_from(network, tmp_path, len(recipe.classes))
    assert same(network, loaded)


def test_what_is_no_network_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"is a folder without config\.json, best.safetensors and last.safetensors; give a"
    ):
        convnn.load(tmp_path)
    with pytest.raises(InputError, match="nowhere"):
        convnn.load(tmp_path / "nowhere")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["evaluate {run}", "train --test_only --checkpoint {run}/best.safetensors"])
def test_a_checkpoint_knows_its_data_set(
    command: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)  # where no ./Data is
    assert main([*command.format(run=run).split(), "--num_workers", "0"]) == 0
    assert "of imagefolder" in " ".join(capsys.readouterr().out.split())
    assert main([*command.format(run=run).split(), "--data_path", "elsewhere", "--num_workers", "0"]) == 2
    assert "elsewhere" in capsys.readouterr().err


def test_another_data_set_is_looked_for_in_its_own_folder(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--dataset", "digits", "--num_workers", "0"]) == 2
    assert "--dataset=digits in --data_path=./Data" in capsys.readouterr().err


@pytest.mark.slow
def test_a_folder_that_is_gone_is_not_insisted_on(run: Path, tmp_path: Path, capsys) -> None:
    network, recipe = load_checkpoint(run)
    moved = replace(recipe, data_path=str(tmp_path / "gone"))
    save_checkpoint(tmp_path / "x.safetensors", Checkpoint(network.state_dict(), moved))
    assert main(["evaluate", str(tmp_path / "x.safetensors"), "--num_workers", "0"]) == 2
    assert "gone" not in capsys.readouterr().err


def test_the_hub_learns_no_folder_of_this_machine(run: Path, pictures: Path, tmp_path: Path) -> None:
    network, recipe = load_checkpoint(run)
    assert recipe.data_path == str(pictures)
    folder = save_pretrained(network, recipe, tmp_path)
    assert json.loads((folder / "config.json").read_text())["data_path"] == ""
    assert str(pictures).encode() not in (folder / "model.safetensors").read_bytes()
