"""Every layer of spec section 4 against numbers of the published code, in float64."""

from pathlib import Path

import pytest
from torch import Tensor, nn

from convnn import nn as cnn
from golden_files import Golden, check_golden, golden_paths, read_golden, use_sample

LAYERS = (
    "attention",
    "convnnattention",
    "kvtattention",
    "localattention",
    "sparseattention",
    "branchconv",
    "branchattention",
)
PATHS = golden_paths(*(f"{layer}_*" for layer in LAYERS))
CONVNN = (
    "K",
    "sampling_type",
    "num_samples",
    "sample_padding",
    "magnitude_type",
    "convolution_type",
    "softmax_topk_val",
    "coordinate_encoding",
)
OUR_NAMES = {
    "W_q": "query",
    "W_k": "key",
    "W_v": "value",
    "W_o": "output",
    "W_x": "input",
    "q_proj": "query",
    "k_proj": "key",
    "v_proj": "value",
    "out_proj": "output",
    "proj": "output",
    "to_out": "output",
    "conv1d": "partner",
    "attention": "partner",
    "pointwise_linear": "mix",
}


def _build(golden: Golden) -> nn.Module:
    config = golden.config
    convnn = {name: config[name] for name in CONVNN if name in config}
    heads = config.get("num_heads", config.get("heads"))
    dim = config.get("d_hidden", config.get("dim"))
    off = {"attention_dropout": 0.0}  # the published numbers were taken without dropout
    match golden.layer:
        case "MultiHeadAttention":
            return cnn.MultiheadAttention(dim, heads, **off)
        case "MultiHeadConvNNAttention":
            return cnn.MultiheadConvNNAttention(dim, heads, **convnn, **off)
        case "MultiHeadKvtAttention":
            return cnn.KvtAttention(dim, heads, config["topk"], **off)
        case "MultiHeadLocalAttention":
            widths = {"window_size": config["window_size"], "head_width": config["dim_head"]}
            return cnn.LocalAttention(dim, heads, **widths, **off)
        case "MultiHeadSparseAttention":
            context = config["local_attn_ctx"] or 128
            mask = {"sparse_mode": config["attn_mode"], "sparse_context_window": context}
            return cnn.SparseAttention(dim, heads, **mask, **off)
        case "MultiHeadBranchingAttention":
            return cnn.BranchAttention(dim, heads, branch_ratio=config["branch_ratio"], **convnn, **off)
        case "MultiHeadBranchingConv":
            ratio = {"branch_ratio": config["branch_ratio"], "kernel_size": config["kernel_size"]}
            return cnn.BranchConv(dim, heads, **ratio, **convnn, **off)
    raise AssertionError(golden.layer)


def _our_name(theirs: str) -> str:
    *modules, parameter = theirs.split(".")
    if modules[-2:] == ["conv", "0"]:
        modules[-2:] = []
    elif modules[-2:] == ["conv", "1"]:
        modules[-2:] = ["pointwise"]
    elif modules[-1] == "conv":
        modules[-1:] = []
    return ".".join([*(OUR_NAMES.get(module, module) for module in modules), parameter])


def _ours(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Published parameters under our names; queries, keys and values may come as one matrix."""
    found = {}
    for theirs, tensor in tensors.items():
        if theirs in ("qkv.weight", "to_qkv.weight"):
            parts = zip(("query.weight", "key.weight", "value.weight"), tensor.chunk(3), strict=True)
            found |= dict(parts)
        else:
            found[_our_name(theirs)] = tensor
    return found


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_layer_reproduces_published_numbers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = read_golden(path)
    if golden.config.get("sampling_type") == "random":
        use_sample(monkeypatch, golden.tensors["sample_indices"])
    gradients = golden.named("grad")
    used = {name: value for name, value in golden.named("param").items() if name in gradients}
    check_golden(_build(golden), golden, _ours(used), _ours(gradients))
