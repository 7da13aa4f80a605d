"""Checkpoints of published naming: generated files, their errors, and timm's network with the same weights."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.models import VAN, LSKNet, Shiftwise, create_model, load_published
from convnn.nn import layer_factory
from golden.case import read_case
from golden.entry import entry_of
from hierarchical_networks import tiny
from kernel_layers import with_statistics

GOLDEN = Path(__file__).parents[1] / "golden" / "files" / "networks" / "27-shiftwise.safetensors"
SHARED = Path(__file__).parents[3] / "shared" / "systems" / "networks"
PUBLISHED = {
    "InceptionNeXt": {
        "stem.0.weight": (8, 3, 4, 4),
        "stem.1.running_var": (8,),
        "stages.1.downsample.1.weight": (12, 8, 2, 2),
        "stages.2.blocks.1.gamma": (16,),
        "stages.0.blocks.0.token_mixer.dwconv_w.weight": (1, 1, 1, 11),
        "stages.0.blocks.0.mlp.fc1.weight": (32, 8, 1, 1),
        "head.fc2.bias": (5,),
    },
    "VAN": {
        "patch_embed1.proj.weight": (8, 3, 7, 7),
        "block3.1.attn.spatial_gating_unit.conv_spatial.weight": (16, 1, 7, 7),
        "block1.0.layer_scale_2": (8,),
        "block1.0.norm1.running_mean": (8,),
        "block2.0.mlp.dwconv.dwconv.weight": (48, 1, 3, 3),
        "norm4.weight": (24,),
        "head.weight": (5, 24),
    },
    "LSKNet": {
        "block4.0.attn.spatial_gating_unit.conv_squeeze.weight": (2, 2, 7, 7),
        "block4.0.attn.spatial_gating_unit.conv.weight": (24, 12, 1, 1),
        "block4.0.attn.spatial_gating_unit.conv2.bias": (12,),
    },
    "RepLKNet": {
        "stem.3.bn.weight": (8,),
        "stages.2.blocks.2.prelkb_bn.weight": (16,),
        "stages.2.blocks.2.large_kernel.small_conv.conv.weight": (24, 1, 5, 5),
        "stages.2.blocks.3.preffn_bn.weight": (16,),
        "stages.2.blocks.3.pw1.conv.weight": (64, 16, 1, 1),
        "transitions.0.1.conv.weight": (12, 1, 3, 3),
        "norm.weight": (24,),
        "head.weight": (5, 24),
    },
    "UniRepLKNet": {
        "downsample_layers.0.3.weight": (8, 4, 3, 3),
        "downsample_layers.2.1.weight": (16,),
        "stages.0.0.dwconv.weight": (8, 1, 3, 3),
        "stages.2.0.dwconv.dil_conv_k5_2.weight": (16, 1, 5, 5),
        "stages.3.0.dwconv.dil_bn_k3_5.weight": (24,),
        "stages.3.0.pwconv1.1.weight": (96, 24),
        "stages.3.0.act.1.gamma": (1, 1, 1, 96),
        "norm.weight": (24,),
        "head.weight": (5, 24),
    },
    "Shiftwise": {
        "stages.0.0.large_kernel.LoRAs.1.weight": (24, 1, 3, 3),
        "stages.0.0.large_kernel.bn_small.weight": (6,),
        "stages.0.0.pwconv2.0.weight": (8, 32),
    },
    "ShiftwiseV1": {
        "stages.0.0.pwconv1.weight": (32, 8),
        "stages.0.0.gamma": (8,),
        "downsample_layers.1.0.weight": (8,),
    },
    "RecNeXt": {
        "stem.stem.2.conv.weight": (6, 3, 3, 3),
        "stages.1.downsample.token_mixer.weight": (12, 1, 7, 7),
        "stages.0.blocks.0.token_mixer.convs.4.weight": (6, 1, 5, 5),
        "stages.0.blocks.0.channel_mixer.2.norm.weight": (6,),
        "head.head_dist.linear.weight": (5, 48),
    },
    "RecNeXtA": {
        "stages.0.blocks.0.token_mixer.down.1.qk.conv.weight": (12, 3, 1, 1),
        "stages.0.blocks.0.token_mixer.conv.norm.weight": (6,),
    },
}
"""Some published names and shapes of the tiny networks, from the definitions."""


@pytest.mark.parametrize("family", PUBLISHED)
def test_published_names_are_those_of_the_definitions(family: str) -> None:
    model = tiny(family)
    state = model.state_dict()
    for published, shape in PUBLISHED[family].items():
        ours = model.our_name(published)
        if "LoRAs" in published:
            ours, _, path = ours.rpartition(".")
            assert path == "1"
            assert state[ours][1].numel() == torch.Size(shape).numel()
        else:
            assert [side for side in state[ours].shape if side > 1] == [side for side in shape if side > 1]


def _gated_checkpoint(seed: int = 0) -> tuple[nn.Module, dict[str, Tensor]]:
    """Return a tiny VAN and its weights under the names of the published code, written out by hand."""
    torch.manual_seed(seed)
    model = with_statistics(tiny("VAN", layer_scale=0.5)).float()
    published = {}
    block = re.compile(r"stages\.(\d)\.blocks\.(\d)\.(mixing|feed_forward)\.(.*)")
    parts = {
        ("mixing", "scale"): "layer_scale_1",
        ("feed_forward", "scale"): "layer_scale_2",
        ("mixing", "inner.norm"): "norm1",
        ("feed_forward", "inner.norm"): "norm2",
        ("mixing", "inner.mixer.gated.before"): "attn.proj_1",
        ("mixing", "inner.mixer.gated.after"): "attn.proj_2",
        ("mixing", "inner.mixer.gated.operator.local"): "attn.spatial_gating_unit.conv0",
        ("mixing", "inner.mixer.gated.operator.dilated"): "attn.spatial_gating_unit.conv_spatial",
        ("mixing", "inner.mixer.gated.operator.mix"): "attn.spatial_gating_unit.conv1",
        ("feed_forward", "inner.mlp.fc1"): "mlp.fc1",
        ("feed_forward", "inner.mlp.depthwise"): "mlp.dwconv.dwconv",
        ("feed_forward", "inner.mlp.fc2"): "mlp.fc2",
    }
    for name, tensor in model.state_dict().items():
        path, _, last = name.rpartition(".")
        if found := block.match(name):
            stage, number, half, rest = found.groups()
            rest = rest.removesuffix(f".{last}")
            theirs = f"block{int(stage) + 1}.{number}.{parts[half, rest]}"
            published[theirs if rest == "scale" else f"{theirs}.{last}"] = (
                tensor.flatten() if rest == "scale" else tensor
            )
        elif path.startswith("stages"):
            _, stage, part, *rest = name.split(".")
            theirs = f"patch_embed{int(stage) + 1}" if part == "downsample" else f"norm{int(stage) + 1}"
            published[".".join([theirs, *rest])] = tensor
        else:
            published[name.replace("stem.", "patch_embed1.").replace("head.fc.", "head.")] = tensor
    return model, published


@pytest.fixture
def checkpoint() -> tuple[nn.Module, dict[str, Tensor]]:
    return _gated_checkpoint()


def _write(content: Any, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file({name: tensor.contiguous() for name, tensor in content.items()}, path)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize(
    ("suffix", "wrapper"), [(".pth", None), (".pth", "state_dict"), (".pth", "model"), (".safetensors", None)]
)
def test_a_file_of_published_names_is_loaded(checkpoint, wrapper: str | None, suffix: str, tmp_path: Path) -> None:
    model, published = checkpoint
    published = {name: tensor for name, tensor in published.items() if "num_batches" not in name}
    path = _write({wrapper: published, "epoch": 3} if wrapper else published, tmp_path / f"van{suffix}")
    other = tiny("VAN").eval()
    x = torch.randn(2, 3, 40, 40)
    assert not torch.allclose(other(x), model(x))
    load_published(other, path)
    torch.testing.assert_close(other(x), model(x), rtol=0, atol=0)


def test_published_weights_give_the_published_logits(tmp_path: Path) -> None:
    """Channels and orders of shifted kernels are in no checkpoint: the published code draws them from fixed seeds."""
    case = read_case(GOLDEN)
    *kernels, small = case.config["kernel_size"]
    layer = layer_factory("ShiftWise", small_kernel=small)
    ours = Shiftwise(case.config["depths"], case.config["dims"], kernels, layer, num_classes=5).double().eval()
    path = _write({"model": case.named("param") | case.named("buffer")}, tmp_path / "shiftwise.pth")
    load_published(ours, path)
    torch.testing.assert_close(ours(case.tensors["input"]), case.tensors["output"], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["9-mkunet", "47-bevanet", "19-skflow"])
def test_published_weights_of_networks_to_maps_give_the_published_maps(name: str, tmp_path: Path) -> None:
    file = SHARED / f"{name}.safetensors"
    if not file.is_file():
        pytest.skip("the published networks are not at hand")
    case = read_case(file)
    entry = entry_of(case)
    with entry.draws(case):
        ours = entry.build(case).double().eval()
    load_published(ours, _write(case.named("param") | case.named("buffer"), tmp_path / "published.pth"))
    found = entry.call(ours, *(case.tensors[input] for input in entry.inputs))
    found = found["output"] if isinstance(found, dict) else found[0] if isinstance(found, tuple) else found
    torch.testing.assert_close(found, case.tensors["output"], rtol=0, atol=1e-9)


def test_a_head_that_is_ours_stays(checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, published = checkpoint
    del published["head.weight"], published["head.bias"]
    path = _write(published, tmp_path / "backbone.pth")
    with pytest.raises(InputError, match=r"has no tensor for head\.fc\.weight and 1 other of this VAN"):
        load_published(model, path)
    assert LSKNet.head_is_ours
    monkeypatch.setattr(VAN, "head_is_ours", True)
    other = tiny("VAN").eval()
    before = other.head.fc.weight.detach().clone()
    load_published(other, path)
    assert torch.equal(other.head.fc.weight, before)
    x = torch.randn(1, 3, 33, 33)
    torch.testing.assert_close(other.forward_features(x), model.forward_features(x), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tensors: tensors.pop("norm4.weight"), "has no tensor for stages.3.norm.weight of this VAN; load"),
        (
            lambda tensors: tensors.update(extra=torch.ones(2)),
            "has tensors that this VAN has no place for: extra; build",
        ),
        (
            lambda tensors: tensors.update({"head.weight": torch.ones(7, 24)}),
            r"has \(7, 24\) for head.weight, which is \(5, 24\) here; build .* number of classes",
        ),
        (lambda tensors: tensors.clear(), "holds a dict, but must hold tensors by their names"),
    ],
)
def test_a_file_that_does_not_fit_is_named_and_changes_nothing(checkpoint, spoil, message: str, tmp_path: Path) -> None:
    model, published = checkpoint
    spoil(published)
    path = _write(published, tmp_path / "van.pth")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(InputError, match=f"path='{re.escape(str(path))}' {message}") as error:
        load_published(model, path)
    assert "\n" not in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("name", ["notes.pth", "notes.safetensors", "empty.pth", "code.pth", "list.pth", "none.pth"])
def test_a_file_that_is_no_checkpoint_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name.startswith("notes"):
        path.write_text("no weights")
    elif name.startswith("empty"):
        path.touch()
    elif name.startswith("code"):
        torch.save({"model": nn.Linear(1, 1)}, path)
    elif name.startswith("list"):
        torch.save([1, 2], path)
    with pytest.raises(
        InputError, match=f"path='{re.escape(str(path))}' (is no checkpoint|holds a list|must be)"
    ) as error:
        load_published(tiny("VAN"), path)
    assert "\n" not in str(error.value)


def test_networks_without_published_names_are_refused() -> None:
    with pytest.raises(InputError, match="model=ResNet has no published names of weights; InceptionNeXt, VAN"):
        load_published(create_model("resnet18", width=1 / 16), "weights.pth")
    with pytest.raises(InputError, match=r"built from another layer .* layer='LKA' to load 'weights.pth'"):
        load_published(tiny("VAN", "ConvNN"), "weights.pth")


@pytest.mark.slow
def test_timm_computes_the_same_with_the_same_weights(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model("inception_next_atto", num_classes=7).eval()
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.endswith("gamma"):
                parameter.fill_(0.5)
    ours = create_model("inceptionnext_atto", num_classes=7).eval()
    load_published(ours, _write(theirs.state_dict(), tmp_path / "atto.pth"))
    x = torch.randn(2, 3, 64, 96)
    torch.testing.assert_close(ours(x), theirs(x))
