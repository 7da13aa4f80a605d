"""ConvNN, its attention and its branches, on maps: arXiv 2511.14137."""

from contextlib import AbstractContextManager, nullcontext
from unittest.mock import patch

import torch

from convnn import nn as cnn
from golden.case import Case
from golden.entry import Entry

SHUFFLE = ("aggregation_type", "shuffle_pattern", "shuffle_scale")
SEARCH = ("K", "padding", "sampling_type", "num_samples", "sample_padding", "metric", *SHUFFLE)
CONVNN = (*SEARCH, "similarity_type", "lambda_param")
OFF = {"attention_dropout": 0.0}
"""The published numbers were taken without."""
BRANCHES = ("kernel_size", "branch_ratio")
NAMES = {
    "conv1d_layer": "",
    "conv2d_layer": "",
    "pointwise_conv": "pointwise",
    "w_q": "query",
    "w_k": "key",
    "w_v": "value",
    "w_o": "output",
}


def channels(case: Case) -> tuple[int, int]:
    return case.config["in_channels"], case.config["out_channels"]


def published_sample(case: Case) -> AbstractContextManager:
    """Return a context in which the published candidates are drawn first."""
    if "sample_indices" not in case.tensors:
        return nullcontext()
    sample = case.tensors["sample_indices"].tolist()
    permutation = lambda total, **_: torch.tensor(sample + [i for i in range(total) if i not in sample])  # noqa: E731
    return patch.object(torch, "randperm", permutation)


def _convnn(layer: type) -> Entry:
    return Entry(lambda case: layer(*channels(case), **case.pick(*CONVNN)), names=NAMES, draws=published_sample)


ENTRIES = {
    "Conv1d_NN": _convnn(cnn.ConvNN1d),
    "Conv2d_NN": _convnn(cnn.ConvNN2d),
    "Conv2d_NN_Attn": Entry(
        lambda case: cnn.ConvNNAttn2d(*channels(case), **case.pick(*SEARCH), **OFF),
        names=NAMES,
        draws=published_sample,
    ),
    "Conv2d_Branching": Entry(
        lambda case: cnn.Branching2d.with_convnn(*channels(case), **case.pick(*CONVNN, *BRANCHES)), names=NAMES
    ),
    "Conv2d_Attn_Branching": Entry(
        lambda case: cnn.Branching2d.with_attention(*channels(case), **case.pick(*SEARCH, *BRANCHES), **OFF),
        names=NAMES,
    ),
    "Conv2d_New": Entry(lambda case: cnn.Conv2dNew(*channels(case), **case.pick("kernel_size", *SHUFFLE)), names=NAMES),
    "PixelShuffle1D": Entry(lambda case: cnn.PixelShuffle1d(case.config["factor"])),
    "PixelUnshuffle1D": Entry(lambda case: cnn.PixelUnshuffle1d(case.config["factor"])),
}
