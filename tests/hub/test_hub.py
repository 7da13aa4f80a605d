"""Tests of folders in the layout of the Hugging Face hub: round trips, hostile files, and a stub of the hub."""

import json
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from convnn.errors import InputError, OutputError
from convnn.hub import from_pretrained, model_card, push_to_hub, save_pretrained
from convnn.models import Network, create_model
from convnn.train import Recipe, TrainConfig, save_checkpoint
from convnn.train.checkpoint import Checkpoint

huggingface_hub = pytest.importorskip("huggingface_hub")
pytest.importorskip("huggingface_hub.constants")  # a submodule that is imported only on access

RECIPE = Recipe(
    model="resnet18",
    layer="Branching",
    width=1 / 16,
    settings=TrainConfig(K=4, branch_ratio=0.25).settings,
    dataset="digits",
    input_shape=(1, 8, 8),
    mean=(0.3,),
    std=(0.4,),
    classes=("a|b", "c\nd", "e: 'f'"),
    epoch=3,
    test_top1=0.9375,
)


@pytest.fixture
def network() -> Network:
    network = RECIPE.build()
    network(torch.randn(4, 1, 8, 8))  # updates the running statistics
    return network


@pytest.fixture
def folder(network: Network, tmp_path: Path) -> Path:
    return save_pretrained(network, RECIPE, tmp_path / "deep" / "folder", license="mit")


def test_a_round_trip_keeps_every_bit(network: Network, folder: Path) -> None:
    loaded, recipe = from_pretrained(folder)
    assert recipe == RECIPE
    assert not loaded.training
    ours, theirs = network.state_dict(), loaded.state_dict()
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(loaded(x), network.eval()(x))


def test_the_layout_is_that_of_the_hub(network: Network, folder: Path) -> None:
    constants = huggingface_hub.constants
    standard = {constants.CONFIG_NAME, constants.SAFETENSORS_SINGLE_FILE, constants.REPOCARD_NAME}
    assert {path.name for path in folder.iterdir()} == standard
    weights = load_file(folder / "model.safetensors")
    assert weights.keys() == network.state_dict().keys()

    class Mine(nn.Module, huggingface_hub.PyTorchModelHubMixin):
        """A user's class, written with only huggingface_hub and the classes of this library."""

        def __init__(self, model: str, layer: str, width: float, settings: dict[str, Any], **_: Any) -> None:
            super().__init__()
            built = create_model(model, layer, width=width, in_channels=1, num_classes=3, **settings)
            for name, part in built.named_children():
                self.add_module(name, part)

    mine = Mine.from_pretrained(folder, strict=True)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in mine.state_dict().items())


def test_the_card_says_what_the_run_knows(network: Network, folder: Path) -> None:
    card = huggingface_hub.ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.license, card.data.pipeline_tag) == (
        "convnn",
        "mit",
        "image-classification",
    )
    (result,) = card.data.eval_results
    assert (result.dataset_name, result.metric_type, result.metric_value) == ("digits", "accuracy", 0.9375)
    parameters = sum(p.numel() for p in network.parameters())
    for text in ("`resnet18`", "`Branching`", f"{parameters:,}", "digits, 3 epochs", "93.75%", "from_pretrained"):
        assert text in card.text
    for text in ("- `K`: 4", "- `branch_ratio`: 0.25", "2511.14137", "(B, 1, 8, 8)"):
        assert text in card.text
    assert "d_hidden" not in card.text, "only settings that the network or its layer reads"
    assert "| classes | 3: a\\|b, c d, e: 'f' |" in card.text.splitlines()


def test_the_card_of_weights_that_were_not_tested_says_so(network: Network) -> None:
    text = model_card(network, replace(RECIPE, test_top1=None))
    assert "| test accuracy | not measured |" in text
    assert huggingface_hub.ModelCard(text).data.eval_results is None


def test_the_card_of_a_network_on_volumes_says_how_it_is_used() -> None:
    data = {"dataset": "airways", "input_shape": (1, 8, 8, 8), "kind": "volume", "classes": ("tissue", "airway")}
    recipe = replace(RECIPE, model="unet_gnn", layer="SAGE", width=0.125, settings={"levels": 2}, **data)
    card = model_card(recipe.build(), recipe)
    for text in ("network(volumes)", "of every voxel", "convnn segment evaluate FOLDER", "image-segmentation"):
        assert text in card
    assert "convnn predict" not in card


def test_the_card_of_a_network_on_triples_says_what_it_reads() -> None:
    data = {"dataset": "paraphrases", "input_shape": (3,), "kind": "triple", "mean": (), "std": ()}
    recipe = replace(RECIPE, model="transe", layer="SparseRows", settings={}, **data)
    card = model_card(recipe.build(), recipe)
    for text in ("network(queries)  # convnn.nn.triples.Queries, of 3 relations", "convnn evaluate FOLDER"):
        assert text in card


def test_a_card_without_a_licence_names_none(network: Network) -> None:
    assert "license" not in model_card(network, RECIPE)


def test_class_names_can_be_edited(folder: Path) -> None:
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"a|b"', '"cat"'))
    assert from_pretrained(folder)[1].classes[0] == "cat"


def test_a_recipe_of_another_network_is_not_written(network: Network, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is of another model"):
        save_pretrained(network, replace(RECIPE, layer="Conv2d"), tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def edited(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / "config.json").write_text(json.dumps(asdict(RECIPE) | changes))

    return edit


def _flip(folder: Path) -> None:
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def _pickle(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "old")
    torch.save(load_file(folder / "old"), folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder: (folder / "config.json").unlink(),
            "is a folder without config.json, best.safetensors and last.safetensors",
        ),
        (lambda folder: (folder / "config.json").write_text("{"), "config.json' cannot be read"),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe"), "config.json' cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[" * 100_000), "config.json' cannot be read"),
        (lambda folder: (folder / "config.json").write_text(" " * (1 << 23)), "it has 8,388,608 bytes"),
        (lambda folder: (folder / "config.json").write_text("[]"), "has a recipe that cannot be read"),
        (edited(command="rm -rf /"), "has a recipe that cannot be read: .*command"),
        (edited(model="os.system"), "has a recipe that cannot be built: model='os.system' is not one of"),
        (edited(layer="__import__"), "has a recipe that cannot be built: layer='__import__' is not one of"),
        (edited(width=1e9), "has a recipe that cannot be built|is of another model"),
        (edited(input_shape=[1, 10**9, 8]), "has a recipe that cannot be read: input_shape"),
        (edited(std=[0.0]), "has a recipe that cannot be read: std"),
        (edited(settings={"K": 5}), "is of another model"),
        (edited(settings={"padding": 10**6}), "has a recipe that cannot be built: padding=1000000"),
        (edited(auto_map={"AutoModel": "evil.Model"}), "has a recipe that cannot be read: .*auto_map"),
        (_flip, "is damaged"),
        (_pickle, "model.safetensors' is not a file"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"\x80\x04."),
            "truncated or not a safetensors",
        ),
        (lambda folder: save_file({}, folder / "model.safetensors"), "was not written by convnn"),
    ],
)
def test_hostile_folders_are_refused_in_one_sentence(spoil: Callable[[Path], Any], message: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=message) as error:
        from_pretrained(folder)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_a_folder_needs_no_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network is asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    _, recipe = from_pretrained(folder)
    assert recipe.epoch == 3


def test_an_unknown_name_is_no_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for name in ("somebody/network", "no such/place/at all", str(tmp_path / "none")):
        with pytest.raises(InputError, match="is not a folder here, and cannot be fetched from the hub") as error:
            from_pretrained(name)
        assert "\n" not in str(error.value)


class Hub:
    """A stub of the hub that stores uploads."""

    def __init__(self, **_: Any) -> None:
        type(self).said = []

    def create_repo(self, name: str, **settings: Any) -> None:
        self.said.append((name, settings))

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> str:
        type(self).files = {path.name: path.read_bytes() for path in Path(folder_path).iterdir()}
        return f"https://hub/{repo_id}/commit/1"


def test_what_is_pushed_can_be_fetched(network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    assert push_to_hub(network, RECIPE, "me/network", private=True) == "https://hub/me/network/commit/1"
    assert Hub.said == [("me/network", {"private": True, "exist_ok": True})]

    def snapshot_download(name: str, *, allow_patterns: list[str], **_: Any) -> str:
        assert name == "me/network"
        for file in allow_patterns:
            (tmp_path / file).write_bytes(Hub.files[file])
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    loaded, recipe = from_pretrained("me/network")
    assert recipe == RECIPE
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in network.state_dict().items())


def test_a_hub_that_refuses_is_an_error_of_one_line(network: Network) -> None:
    with pytest.raises(OutputError, match="name='not a name' cannot be uploaded: ") as error:
        push_to_hub(network, RECIPE, "not a name")
    assert "\n" not in str(error.value)


def test_a_missing_package_is_named(network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for action in (lambda: save_pretrained(network, RECIPE, tmp_path), lambda: from_pretrained("me/network")):
        with pytest.raises(InputError, match=r"pip install 'convnn\[hub\]'"):
            action()


def test_a_checkpoint_file_and_its_folder_are_the_same(network: Network, folder: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best.safetensors", Checkpoint(network.state_dict(), RECIPE))
    assert (tmp_path / "best.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
