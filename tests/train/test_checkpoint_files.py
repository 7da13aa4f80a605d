from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from convnn.errors import InputError
from convnn.train import Checkpoint, Recipe, load_checkpoint, save_checkpoint
from convnn.train.sealed import METADATA_KEY, read_sealed, write_sealed

RECIPE = Recipe(
    model="resnet18",
    layer="Branching",
    width=1 / 16,
    settings={"K": 4, "branch_ratio": 0.25},
    dataset="digits",
    input_shape=(1, 8, 8),
    mean=(0.3,),
    std=(0.4,),
    classes=("a", "b"),
    epoch=3,
    test_top1=0.5,
)


def save_network(path: Path, recipe: Recipe, network: torch.nn.Module | None = None) -> None:
    save_checkpoint(path, Checkpoint((network or recipe.build()).state_dict(), recipe))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "last.safetensors"
    save_network(path, RECIPE)
    return path


def test_a_checkpoint_rebuilds_its_network(tmp_path: Path) -> None:
    network = RECIPE.build()
    network(torch.randn(4, 1, 8, 8))  # moves the running statistics
    path = tmp_path / "last.safetensors"
    save_network(path, RECIPE, network)
    loaded, recipe = load_checkpoint(path)
    assert recipe == RECIPE
    assert not loaded.training
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(loaded(x), network.eval()(x))


def test_a_checkpoint_of_another_model_names_the_difference(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_network(path, RECIPE, replace(RECIPE, layer="Conv2d").build())
    with pytest.raises(InputError, match=r"is of another model: '.*' is .* there and missing here"):
        load_checkpoint(path)


def test_other_shapes_are_named(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_network(path, RECIPE, replace(RECIPE, classes=("a", "b", "c")).build())
    with pytest.raises(InputError, match=r"'head.3.bias' is \(3,\) of torch.float32 there and \(2,\) of torch.float32"):
        load_checkpoint(path)


def test_other_types_are_named(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    save_network(path, RECIPE, RECIPE.build().double())
    with pytest.raises(InputError, match=r"is \(.*\) of torch.float64 there and \(.*\) of torch.float32 here"):
        load_checkpoint(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"checkpoint '.*none.safetensors' is not a file"):
        load_checkpoint(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    "content", [b"", b"not safetensors", b"\xff" * 100, b"\0" * 100], ids=["empty", "text", "huge header", "zeros"]
)
def test_a_broken_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"checkpoint '.*broken.safetensors' (is truncated or|was not written)"):
        load_checkpoint(path)


def test_weights_of_other_programs_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(InputError, match="was not written by convnn"):
        load_checkpoint(path)


GOOD = asdict(RECIPE)


@pytest.mark.parametrize(
    "recipe",
    [
        None,
        3,
        [],
        {},
        {"model": 3},
        GOOD | {"model": 3},
        GOOD | {"width": "wide"},
        GOOD | {"classes": 3},
        GOOD | {"classes": [1, 2]},
        GOOD | {"input_shape": [1, 8]},
        GOOD | {"kind": 3},
        GOOD | {"kind": "sequence"},
        GOOD | {"kind": "sequence", "input_shape": [1, 8]},
        GOOD | {"input_shape": [1, 8, 10**9]},
        GOOD | {"input_shape": [0, 8, 8]},
        GOOD | {"settings": [1]},
        GOOD | {"mean": ["x"]},
        GOOD | {"surprise": 1},
    ],
    ids=str,
)
def test_a_recipe_that_makes_no_sense_is_refused(tmp_path: Path, recipe: object) -> None:
    path = tmp_path / "other.safetensors"
    write_sealed(path, {"x": torch.zeros(1)}, {"recipe": recipe})
    with pytest.raises(InputError, match="recipe that cannot be read"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "vgg99"},
        {"layer": "Conv9d"},
        {"width": -1.0},
        {"width": 1e30},
        {"settings": {"K": 10**12}},
        {"settings": {"K": "many"}},
        {"settings": {"kay": 4}},
        {"model": "vit", "layer": "Attention", "settings": {"num_layers": 10**9}},
        {"model": "vit", "layer": "Attention", "settings": {"d_hidden": 3 * 10**9}},
    ],
    ids=str,
)
def test_a_recipe_that_cannot_be_built_is_refused_before_it_takes_memory(tmp_path: Path, changes: dict) -> None:
    path = tmp_path / "other.safetensors"
    save_network(path, replace(RECIPE, **changes), RECIPE.build())
    with pytest.raises(InputError, match=r"recipe that cannot be built|is of another model"):
        load_checkpoint(path)


def test_the_file_is_ordinary_safetensors(saved: Path) -> None:
    from safetensors.torch import load_file

    network, _ = load_checkpoint(saved)
    network.load_state_dict(load_file(saved))


def test_every_bit_counts(tmp_path: Path) -> None:
    path = tmp_path / "small.safetensors"
    write_sealed(path, {"x": torch.arange(2.0)}, {"a": 1})
    content = path.read_bytes()
    for i in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[i // 8] ^= 1 << i % 8
        path.write_bytes(flipped)
        with pytest.raises(InputError):
            read_sealed(path)
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            read_sealed(path)
    path.write_bytes(content + b"x")
    with pytest.raises(InputError):
        read_sealed(path)
    path.write_bytes(content)
    tensors, document = read_sealed(path)
    assert torch.equal(tensors["x"], torch.arange(2.0))
    assert document["a"] == 1


@pytest.mark.parametrize("text", ["{", "[]", "3", "null", "[" * 100_000], ids=lambda text: text[:4])
def test_metadata_that_are_no_document_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "odd.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={METADATA_KEY: text})
    with pytest.raises(InputError, match="was not written by convnn"):
        read_sealed(path)
