"""Tests of `convnn export`, and of the commands that read its output."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from convnn.cli import main
from convnn.models import create_model
from convnn.train import Checkpoint, Recipe, load_checkpoint, save_checkpoint
from pairwise import one_in

pytestmark = pytest.mark.xdist_group("export")  # importing what exports takes seconds

RECIPE = Recipe(
    model="vit",
    layer="ConvNNAttention",
    width=1.0,
    settings={"K": 4, "d_hidden": 12, "d_mlp": 8, "num_layers": 1, "patch_size": 4},
    dataset="digits",
    input_shape=(1, 8, 8),
    mean=(0.3053,),
    std=(0.376,),
    classes=tuple(f"{digit}" for digit in range(10)),
    epoch=1,
    test_top1=0.1,
)


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("run") / "best.safetensors"
    save_checkpoint(path, Checkpoint(RECIPE.build().state_dict(), RECIPE))
    return path


def export(best: Path, out: Path, *flags: str) -> int:
    return main(["export", str(best), "--out", str(out), *flags])


@pytest.mark.slow
@pytest.mark.parametrize("batch", one_in(2, ["--dynamic_batch", "--no-dynamic_batch"]))
def test_onnx_has_the_logits_of_the_checkpoint_and_says_what_they_mean(
    batch: str, best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    out = tmp_path / "new" / "network.onnx"
    assert export(best, out, batch, "--opset", "18") == 0
    assert capsys.readouterr().out.startswith(f"{out}: differs from the network by ")
    session = onnxruntime.InferenceSession(out)
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"]) == list(RECIPE.classes)
    assert (json.loads(said["mean"]), json.loads(said["std"])) == ([0.3053], [0.376])
    assert (said["model"], said["layer"]) == ("vit", "ConvNNAttention")
    images = torch.randn(3 if batch == "--dynamic_batch" else 1, 1, 8, 8)
    (logits,) = session.run(["output"], {"input": images.numpy()})
    expected = load_checkpoint(best)[0](images).detach()
    torch.testing.assert_close(torch.from_numpy(logits), expected, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_torch_has_the_logits_of_the_checkpoint(best: Path, tmp_path: Path) -> None:
    assert export(best, tmp_path / "network.pt2", "--format", "torch") == 0
    images = torch.randn(3, 1, 8, 8)
    logits = torch.export.load(tmp_path / "network.pt2").module()(images)
    torch.testing.assert_close(logits, load_checkpoint(best)[0](images), atol=1e-5, rtol=0)


@pytest.mark.slow
def test_a_hub_folder_goes_where_a_checkpoint_does(
    best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("huggingface_hub")
    folder, picture = tmp_path / "folder", tmp_path / "three.png"
    assert export(best, folder, "--format", "hub") == 0
    Image.new("L", (20, 20), color=90).save(picture)
    capsys.readouterr()

    def said(checkpoint: Path) -> str:
        assert main(["predict", str(checkpoint), str(picture)]) == 0
        assert main(["evaluate", str(checkpoint), "--limit_test", "32"]) == 0
        return capsys.readouterr().out

    assert said(folder) == said(best)
    assert main(["neighbors", str(folder), str(picture), "--out", str(tmp_path / "sheets")]) == 0
    assert (tmp_path / "sheets" / "neighbors_three.png").is_file()
    again = tmp_path / "again"
    assert export(folder, again, "--format", "hub") == 0
    assert (again / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--format", "onxx"], "--format='onxx' is not one of onnx, torch, hub; did you mean 'onnx'?"),
        (["--format", "torch", "--opset", "18"], "--opset=18 applies only to --format onnx"),
        (["--opset", "3"], "opset=3 must lie between 18 and"),
    ],
)
def test_mistakes_are_named(
    flags: list[str], message: str, best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export(best, tmp_path / "x", *flags) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_no_file(best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(best, tmp_path) == 2
    assert f"--out={tmp_path} is a folder; name the file" in capsys.readouterr().err


def test_a_folder_without_a_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert export(tmp_path, tmp_path / "x.onnx") == 2
    assert "is a folder without config.json, best.safetensors and last.safetensors; give" in capsys.readouterr().err


def test_a_network_without_its_weights_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, Checkpoint(create_model("vit", in_channels=1).state_dict(), RECIPE))
    assert export(path, tmp_path / "x.onnx") == 2
    assert "is of another model" in capsys.readouterr().err


def test_nothing_is_replaced_unasked(best: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, folder = tmp_path / "network.pt2", tmp_path / "hub"
    folder.mkdir()
    for path in (file, folder / "README.md"):
        path.write_text("mine")
    for out, kind, there in ((file, "torch", file), (folder, "hub", folder / "README.md")):
        assert export(best, out, "--format", kind) == 2
        assert f"--out={out} would replace '{there}'; choose another, or pass --overwrite" in capsys.readouterr().err
        assert there.read_text() == "mine"
        assert not (folder / "config.json").exists()
    assert export(best, folder, "--format", "hub", "--overwrite") == 0
    assert (folder / "README.md").read_text() != "mine"


KERNELS = Recipe(
    model="resnet18",
    layer="RepLK",
    width=1 / 16,
    settings={"kernel_size": 7},
    dataset="digits",
    input_shape=(1, 8, 8),
    mean=(0.3053,),
    std=(0.376,),
    classes=tuple(f"{digit}" for digit in range(10)),
    epoch=1,
    test_top1=0.1,
)


@pytest.mark.slow
def test_a_merged_network_computes_what_the_trained_one_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = KERNELS.build()
    network(torch.randn(4, 1, 8, 8))  # gives normalisation other statistics than the initial ones
    save_checkpoint(path := tmp_path / "best.safetensors", Checkpoint(network.state_dict(), KERNELS))
    out = tmp_path / "merged.pt2"
    assert export(path, out, "--merge", "--format", "torch") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("33 parts merged, 0 left; ")
    assert "differs from the network by" in printed
    images = torch.randn(3, 1, 8, 8)
    merged = torch.export.load(out)
    torch.testing.assert_close(merged.module()(images), network.eval()(images), atol=1e-4, rtol=0)
    assert not [name for name in merged.state_dict if "operator.branches" in name]
    assert export(path, tmp_path / "hub", "--merge", "--format", "hub") == 2
    assert "--merge is for files" in capsys.readouterr().err


def test_predictions_of_a_merged_network_are_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    save_checkpoint(path := tmp_path / "best.safetensors", Checkpoint(KERNELS.build().state_dict(), KERNELS))
    Image.new("L", (8, 8), 100).save(tmp_path / "a.png")
    printed = []
    for flags in ([], ["--merge"]):
        assert main(["predict", str(path), str(tmp_path / "a.png"), "--format", "csv", *flags]) == 0
        printed.append([line.split(",")[:3] for line in capsys.readouterr().out.splitlines()])
    assert printed[0] == printed[1]
    assert len(printed[0]) == 4
