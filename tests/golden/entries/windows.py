"""Layers that look at a window: neighbourhood attention (arXiv 2204.07143), spatial shifts (arXiv 2307.16140)."""

import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.ops import select
from golden.case import Case
from golden.entry import Entry, Refused, refuse


def _attention(case: Case) -> nn.Module:
    if case.is_training:
        refuse(case, attn_drop="dropout of weights", proj_drop="dropout of the output")
    dim = case.config["dim"]
    settings = case.pick("kernel_size", "qk_scale", relative_bias="bias", attention_dilation="dilation")
    return cnn.NeighborhoodAttention2d(dim, dim, head_channels=dim // case.config["num_heads"], **settings)


def _without_bias(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """One flag of ours is two of theirs: queries, keys and values may have no bias where the output has one."""
    return {"qkv.bias": torch.zeros_like(ours.qkv.bias)} | named


def _windows(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    found, size = ours.neighbors(case.tensors["input"]).indices[0], ours.field(case.tensors["input"]).size
    if case.tensors["neighbour_index"].shape[0] != found.shape[0]:  # padded positions are listed too
        sides, apart = [ours.kernel_size] * 2, [ours.attention_dilation] * 2
        found = select.window(size, sides, apart).indices[0]
    return {"neighbour_index": found}


def _shift(case: Case) -> nn.Module:
    if case.config["mode"] != "constant":
        raise Refused(f"mode={case.config['mode']!r}: other borders than zeros")
    return cnn.SpatialShift2d(8 * case.config["groups"], step=case.config["stride"])


ENTRIES = {
    "natten.NeighborhoodAttention2D (NCHW in/out)": Entry(
        _attention, names={"rpb": "relative_bias", "proj": "output"}, arrange=_without_bias, also=_windows
    ),
    "SCNet.Shift8": Entry(_shift),
}
