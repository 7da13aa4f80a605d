"""Networks of other libraries, by name."""

import sys
from pathlib import Path

import pytest
import torch

from convnn.cli import main, main_train
from convnn.errors import InputError
from convnn.models import ExternalNetwork, create_model
from convnn.nn import Branching2d, ConvNN2d

SHUFFLENET = "torchvision:shufflenet_v2_x0_5"


def layers(network: torch.nn.Module, kind: type[torch.nn.Module]) -> list[str]:
    return [name for name, module in network.named_modules() if isinstance(module, kind)]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_network_of_torchvision_reads_any_channels_and_keeps_its_windows(channels: int) -> None:
    network = create_model(SHUFFLENET, "ConvNN", in_channels=channels, num_classes=7)
    assert network(torch.randn(2, channels, 40, 40)).shape == (2, 7)
    assert isinstance(network, ExternalNetwork)
    assert network.report is not None
    assert len(network.report.replaced) == len(layers(network, ConvNN2d)) == 20
    assert {module.search.K for module in network.modules() if isinstance(module, ConvNN2d)} == {9}


def test_settings_of_the_layer_arrive_and_those_of_a_convolution_are_its_own() -> None:
    network = create_model(SHUFFLENET, "Branching", K=4, branch_ratio=0.25, padding=5, kernel_size=7, where="*stage4*")
    branching = [module for module in network.modules() if isinstance(module, Branching2d)]
    assert {module.branch1.search.K for module in branching} == {4}
    assert {module.branch2.kernel_size for module in branching} == {(3, 3)}
    assert {module.branch_ratio for module in branching} == {0.25}
    assert all(name.startswith("network.stage4") for name in layers(network, Branching2d))


def test_conv2d_leaves_the_network_as_it_was() -> None:
    network = create_model("torchvision:resnet18", "Conv2d", num_classes=1000)
    assert isinstance(network, ExternalNetwork)
    assert network.report is None
    assert sum(p.numel() for p in network.parameters()) == 11_689_512  # torchvision's documentation


def test_a_network_of_timm_is_built_by_name() -> None:
    pytest.importorskip("timm")
    network = create_model("timm:convnext_atto", "Branching", in_channels=1)
    assert network(torch.randn(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        ("torchvision:resnet19", {}, "model='torchvision:resnet19' is no network of torchvision; did you mean 'resnet"),
        ("hub:resnet18", {}, "library of model='hub' is not one of torchvision, timm"),
        (SHUFFLENET, {"width": 0.5}, "width=0.5 must be 1 for"),
        (SHUFFLENET, {"where": "nowhere"}, "takes the place of no layer"),
        (SHUFFLENET, {"layer": "Attention"}, "takes the place of no layer of ShuffleNetV2, which has none"),
    ],
)
def test_what_cannot_be_built_is_refused(model: str, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_model(model, **{"layer": "ConvNN", **settings})


def test_a_size_that_a_network_does_not_take_is_refused_in_words() -> None:
    pytest.importorskip("timm")
    network = create_model("timm:vit_tiny_patch16_224", "ConvNNAttention", K=9)
    with pytest.raises(InputError, match=r"images of 32x32 pixels do not suit timm:vit_tiny.*; resize them"):
        network(torch.randn(1, 3, 32, 32))


def test_the_command_line_trains_evaluates_and_shows_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = (
        f"--model {SHUFFLENET} --layer Branching --K 0 --dataset digits --resize 32 --limit_train 32 --limit_test 16"
    )
    assert main_train([*flags.split(), "--batch_size", "16", "--num_epochs", "1", "--output_dir", str(tmp_path)]) == 0
    best = str(tmp_path / "best.safetensors")
    assert main(["evaluate", best, "--limit_test", "16"]) == 0
    assert main(["neighbors", best, "--index", "3", "--out", str(tmp_path / "pictures")]) == 0
    assert main(["train", "--K", "0"]) == 2
    assert "--K=0 must be an integer of at least 1" in capsys.readouterr().err


def test_a_library_that_is_missing_is_named_and_so_is_what_is_wrong_with_a_broken_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'convnn\[timm\]'"):
        create_model("timm:convnext_atto", "ConvNN")
    (tmp_path / "timm.py").write_text("raise ImportError('half installed')")
    monkeypatch.delitem(sys.modules, "timm")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="does not load: ImportError: half installed"):
        create_model("timm:convnext_atto", "ConvNN")
