import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from convnn.errors import InputError, TrainingError
from convnn.train import Recipe, load_checkpoint, save_checkpoint
from convnn.train.checkpoint import METADATA_KEY
from convnn.train.files import write_atomically

RECIPE = Recipe(
    model="resnet18",
    layer="Branching",
    width=1 / 16,
    settings={"K": 4, "branch_ratio": 0.25},
    dataset="digits",
    image_shape=(1, 8, 8),
    mean=(0.3,),
    std=(0.4,),
    classes=("a", "b"),
    epoch=3,
    test_top1=0.5,
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, RECIPE.build(), RECIPE)
    return path


def test_a_checkpoint_rebuilds_its_network(tmp_path: Path) -> None:
    network = RECIPE.build()
    network(torch.randn(4, 1, 8, 8))  # moves the running statistics
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, network, RECIPE)
    loaded, recipe = load_checkpoint(path)
    assert recipe == RECIPE
    assert not loaded.training
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(loaded(x), network.eval()(x))


def test_a_checkpoint_of_another_model_names_the_difference(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, replace(RECIPE, layer="Conv2d").build(), RECIPE)
    with pytest.raises(InputError, match=r"is of another model: '.*' has shape .* there and .* here"):
        load_checkpoint(path)


def test_other_shapes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_checkpoint(path, replace(RECIPE, classes=("a", "b", "c")).build(), RECIPE)
    with pytest.raises(InputError, match=r"'head.3.bias' has shape \(3,\) there and \(2,\) here"):
        load_checkpoint(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"checkpoint '.*none.safetensors' is not a file"):
        load_checkpoint(tmp_path / "none.safetensors")


@pytest.mark.parametrize("content", [b"", b"not safetensors", b"\xff" * 100], ids=["empty", "text", "huge header"])
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint '.*broken.safetensors' cannot be read"):
        load_checkpoint(path)


def test_a_truncated_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-10])
    with pytest.raises(InputError, match="cannot be read"):
        load_checkpoint(saved)


def test_weights_of_other_programs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="was not written by convnn"):
        load_checkpoint(path)


@pytest.mark.parametrize("recipe", ["{", "{}", json.dumps({"model": 3})])
def test_a_recipe_that_makes_no_sense_is_refused(tmp_path: Path, recipe: str) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={METADATA_KEY: recipe})
    with pytest.raises(InputError, match="recipe that cannot be read"):
        load_checkpoint(path)


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "metrics.csv"
    write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TrainingError, match=r"cannot write '.*metrics.csv': No space left on device"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"cannot write '.*gone/metrics.csv': No such file or directory"):
        write_atomically(tmp_path / "gone" / "metrics.csv", "new")
