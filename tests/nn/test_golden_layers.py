"""Every layer of spec sections 1 to 3 against numbers of the published code, in float64."""

from pathlib import Path

import pytest
import torch

from convnn import nn as cnn
from golden_files import HERE, Golden, check_golden, golden_paths, read_golden, use_sample

PATHS = golden_paths("convnn?d_*", "convnnattn2d_*", "branching*", "conv2dnew_*")
SEARCH = ("padding", "sampling_type", "num_samples", "sample_padding", "magnitude_type")
SHUFFLE = ("aggregation_type", "shuffle_pattern", "shuffle_scale")


def _pick(config: dict, *names: str) -> dict:
    return {name: config[name] for name in names}


def _build(golden: Golden) -> torch.nn.Module:
    config = golden.config
    channels = (config["in_channels"], config["out_channels"])
    if golden.layer == "Conv2d_New":
        return cnn.Conv2dNew(*channels, config["kernel_size"], **_pick(config, *SHUFFLE))
    settings = _pick(config, "K", *SEARCH, *SHUFFLE)
    convnn = settings | _pick(config, "similarity_type", "lambda_param") if "lambda_param" in config else settings
    match golden.layer:
        case "Conv1d_NN":
            return cnn.ConvNN1d(*channels, **convnn)
        case "Conv2d_NN":
            return cnn.ConvNN2d(*channels, **convnn)
        case "Conv2d_NN_Attn":
            return cnn.ConvNNAttention2d(*channels, **settings)
        case "Conv2d_Branching":
            return cnn.Branching2d.with_convnn(*channels, **convnn, **_pick(config, "kernel_size", "branch_ratio"))
        case "Conv2d_Attn_Branching":
            return cnn.Branching2d.with_attention(*channels, **settings, **_pick(config, "kernel_size", "branch_ratio"))
    raise AssertionError(golden.layer)


def _published_names(layer: torch.nn.Module, prefix: str = "") -> dict[str, str]:
    """Our parameter names by the published ones."""
    match layer:
        case cnn.Branching2d():
            names = {f"{prefix}pointwise_conv.{p}": f"{prefix}pointwise.{p}" for p in ("weight", "bias")}
            for branch in ("branch1", "branch2"):
                names |= _published_names(getattr(layer, branch), f"{prefix}{branch}.")
            return names
        case cnn.ConvNN1d() | cnn.ConvNN2d():
            return {f"{prefix}conv1d_layer.{p}": f"{prefix}{p}" for p in ("weight", "bias")}
        case cnn.ConvNNAttention2d():
            ours = {"w_q.weight": "query.weight", "w_k.weight": "key.weight", "w_v.weight": "value.weight"}
            ours |= {"w_o.weight": "output.weight"}
            for p in ("weight", "bias"):
                ours |= {f"conv1d_layer.{p}": p, f"pointwise_conv.{p}": f"pointwise.{p}"}
            return {f"{prefix}{theirs}": f"{prefix}{name}" for theirs, name in ours.items()}
        case cnn.Conv2dNew():
            return {f"{prefix}conv2d_layer.{p}": f"{prefix}{p}" for p in ("weight", "bias")}
        case torch.nn.Conv2d():
            return {f"{prefix}{p}": f"{prefix}{p}" for p in ("weight", "bias")}
    return {}


def _check(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    if golden.config.get("sampling_type") == "random":
        use_sample(monkeypatch, golden.tensors["sample_indices"])
    layer = _build(golden)
    for module in layer.modules():  # the published numbers were taken without dropout
        if isinstance(module, cnn.ConvNNAttention2d):
            module.attention_dropout = 0.0
    names = _published_names(layer)
    ours = [{names[theirs]: value for theirs, value in golden.named(kind).items()} for kind in ("param", "grad")]
    check_golden(layer, golden, *ours)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_layer_reproduces_published_numbers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _check(read_golden(path), monkeypatch)


@pytest.mark.parametrize("name", ["pixelshuffle1d", "pixelunshuffle1d"])
def test_shuffle_reproduces_published_numbers(name: str) -> None:
    golden = read_golden(HERE / f"{name}.safetensors")
    layer = cnn.PixelShuffle1d(2) if name == "pixelshuffle1d" else cnn.PixelUnshuffle1d(2)
    torch.testing.assert_close(layer(golden.tensors["input"]), golden.tensors["output"], rtol=0, atol=0)
