"""Attention of ConvNN's transformer, on sequences: arXiv 2511.14137, section 4."""

from collections.abc import Callable

from torch import Tensor, nn

from convnn import nn as cnn
from golden.case import Case
from golden.entries.maps import OFF, published_sample
from golden.entry import Entry, refuse

CONVNN = (
    "K",
    "sampling_type",
    "num_samples",
    "sample_padding",
    "metric",
    "convolution_type",
    "softmax_topk_val",
    "coordinate_encoding",
)
NAMES = {
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
    "to_qkv": "qkv",
    "conv1d": "partner",
    "attention": "partner",
    "pointwise_linear": "mix",
    "conv.0": "",
    "conv.1": "pointwise",
    "conv": "",
}


def _three(named: dict[str, Tensor], _: nn.Module) -> dict[str, Tensor]:
    """Split queries, keys and values, which may come as one matrix."""
    if "qkv.weight" not in named:
        return named
    parts = zip(("query.weight", "key.weight", "value.weight"), named["qkv.weight"].chunk(3), strict=True)
    return named | dict(parts)


def _attention(build: Callable[[Case], nn.Module]) -> Entry:
    return Entry(build, names=NAMES, arrange=_three, draws=published_sample)


def _local(case: Case) -> nn.Module:
    off = "an option of the local-attention package that its caller leaves off"
    refuse(case, causal=off, prenorm=off, qk_rmsnorm=off, use_xpos=off, exact_windowsize=off, gate_values_per_head=off)
    widths = case.pick("window_size", head_width="dim_head")
    return cnn.LocalAttention(case.config["dim"], case.config["heads"], **widths, **OFF)


def _sparse(case: Case) -> nn.Module:
    context = case.config["local_attn_ctx"] or 128
    return cnn.SparseAttention(
        *_widths(case), sparse_mode=case.config["attn_mode"], sparse_context_window=context, **OFF
    )


def _widths(case: Case) -> tuple[int, int]:
    return case.config["d_hidden"], case.config["num_heads"]


ENTRIES = {
    "MultiHeadAttention": _attention(lambda case: cnn.Attention(*_widths(case), **OFF)),
    "MultiHeadConvNNAttention": _attention(
        lambda case: cnn.ConvNNAttention(*_widths(case), **case.pick(*CONVNN), **OFF)
    ),
    "MultiHeadKvtAttention": _attention(
        lambda case: cnn.KvtAttention(case.config["dim"], case.config["num_heads"], K=case.config["topk"], **OFF)
    ),
    "MultiHeadLocalAttention": _attention(_local),
    "MultiHeadSparseAttention": _attention(_sparse),
    "MultiHeadBranchingConv": _attention(
        lambda case: cnn.BranchConv(*_widths(case), **case.pick("branch_ratio", "kernel_size", *CONVNN), **OFF)
    ),
    "MultiHeadBranchingAttention": _attention(
        lambda case: cnn.BranchAttention(*_widths(case), **case.pick("branch_ratio", *CONVNN), **OFF)
    ),
}
