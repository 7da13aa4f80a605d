"""Tests of networks of other libraries, by name."""

import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file

import convnn
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


@pytest.mark.slow
def test_a_network_of_timm_is_built_by_name() -> None:
    pytest.importorskip("timm")
    network = create_model("timm:convnext_atto", "Branching", in_channels=1)
    assert network(torch.randn(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize(
    ("model", "settings", "message"),
    [
        (
            "torchvision:resnet19",
            {},
            "model='torchvision:resnet19' is not a network of torchvision; did you mean 'resnet",
        ),
        ("hub:resnet18", {}, "library of model='hub' is not one of torchvision, timm"),
        (SHUFFLENET, {"width": 0.5}, "width=0.5 must be 1 for"),
        (
            SHUFFLENET,
            {"where": "nowhere"},
            "where admits no layer of ShuffleNetV2: names='nowhere' fits none of conv1.0, ",
        ),
        (
            SHUFFLENET,
            {"layer": "Attention"},
            "model=ShuffleNetV2 has no self-attention that layer='Attention' could replace",
        ),
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


@pytest.mark.slow
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
    with pytest.raises(InputError, match="cannot be imported: ImportError: half installed"):
        create_model("timm:convnext_atto", "ConvNN")


def learned(model: str, num_classes: int = 1000) -> torch.nn.Module:
    """Return the network with weights as if pretrained, which differ from a new one's."""
    network = create_model(model, "Conv2d", num_classes=num_classes).network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.01)
    return network.eval()


@pytest.fixture
def torchvision_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """Put a weights file into the cache of torch's hub, where torchvision finds it."""
    network = learned(SHUFFLENET)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.get_model_weights("shufflenet_v2_x0_5").DEFAULT.url
    path = tmp_path / "hub" / "checkpoints" / url.rsplit("/")[-1]
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    return network


@pytest.fixture
def timm_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.nn.Module:
    """Put a weights file into the cache of the Hugging Face hub, where timm finds it."""
    timm = pytest.importorskip("timm")
    network = learned("timm:test_vit")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    name = timm.models.get_pretrained_cfg("test_vit").hf_hub_id
    folder = tmp_path / f"models--{name.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text("0" * 40)
    save_file(network.state_dict(), snapshot / "model.safetensors")
    return network


def test_torchvision_gives_its_weights_and_the_head_of_other_classes_stays_fresh(torchvision_weights) -> None:
    x = torch.randn(2, 3, 40, 40)
    network = create_model(SHUFFLENET, "Conv2d", num_classes=1000, pretrained=True).eval()
    torch.testing.assert_close(network(x), torchvision_weights(x))
    network = create_model(SHUFFLENET, "ConvNN", num_classes=7, in_channels=1, pretrained=True)
    theirs, ours = torchvision_weights.state_dict(), network.network.state_dict()
    assert network.fresh == ("conv1.0.weight", "fc.weight", "fc.bias")
    assert not network.keeps_weights
    norms = [name for name in ours if name.endswith("1.weight") and theirs[name].dim() == 1]
    assert norms
    assert all(torch.equal(ours[name], theirs[name]) for name in norms)


def test_a_layer_that_can_keeps_the_weights_of_the_library(torchvision_weights) -> None:
    x = torch.randn(2, 3, 40, 40)
    network = create_model(SHUFFLENET, "ConvNN", num_classes=1000, pretrained=True, similarity_type="Window").eval()
    assert network.keeps_weights
    torch.testing.assert_close(network(x), torchvision_weights(x), rtol=1e-3, atol=1e-3)


def test_timm_gives_its_weights_and_attention_keeps_them(timm_weights) -> None:
    x = torch.randn(2, 3, 160, 160)
    network = create_model("timm:test_vit", "Attention", num_classes=1000, pretrained=True).eval()
    assert network.keeps_weights
    torch.testing.assert_close(network(x), timm_weights(x), rtol=1e-4, atol=1e-4)
    network = create_model("timm:test_vit", "Conv2d", num_classes=3, pretrained=True)
    assert network.fresh == ("head.weight", "head.bias")
    assert torch.equal(network.network.blocks[0].attn.qkv.weight, timm_weights.blocks[0].attn.qkv.weight)


@pytest.mark.parametrize("model", [SHUFFLENET, "timm:test_vit"])
def test_a_download_that_fails_is_a_sentence(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if model.startswith("timm"):
        pytest.importorskip("timm")

    def refuse(*_: object, **__: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.urlopen", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = rf"^pretrained=True: the weights of {model} cannot be fetched: .+; check the connection, or leave"
    with pytest.raises(InputError, match=message) as caught:
        create_model(model, "Conv2d", pretrained=True)
    assert "\n" not in str(caught.value)


def test_our_own_networks_have_no_learned_weights() -> None:
    with pytest.raises(
        InputError, match=r"^pretrained=True is for networks of torchvision and timm; model='vgg11' has"
    ):
        create_model("vgg11", pretrained=True)


@pytest.mark.slow
def test_the_command_line_starts_from_learned_weights(
    torchvision_weights, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = f"--model {SHUFFLENET} --layer Conv2d --pretrained --dataset digits --resize 32 --limit_train 16 --lr 1e-30"
    flags += " --limit_test 16 --batch_size 16 --num_epochs 1 --weight_decay 0"
    assert main_train([*flags.split(), "--output_dir", str(tmp_path / "run")]) == 0
    said = f"starting from the weights of {SHUFFLENET}; randomly initialised: conv1.0.weight, fc.weight, fc.bias"
    assert said in " ".join(capsys.readouterr().out.split())
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "gone"))  # a trained network needs no download
    network = convnn.load(tmp_path / "run")
    assert torch.equal(network.network.stage2[0].branch1[2].weight, torchvision_weights.stage2[0].branch1[2].weight)
    for wrong in (
        ["--model", "vgg11", "--pretrained"],
        [*flags.split(), "--test_only"],
        [*flags.split(), "--init_from=x"],
    ):
        assert main_train(wrong) == 2
        assert "--pretrained" in capsys.readouterr().err
