"""Scans over tokens: Vision-RWKV, and the delta rule of RWKV-7 with its cross form."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.models.vrwkv import VRWKVBlock
from convnn.ops import scan
from golden.case import Case
from golden.entry import Entry, refuse

SIZES = {"shift": "shift_pixel", "gamma": "channel_gamma"}
MIX = {
    "receptance": "gate",
    "spatial_decay": "decay",
    "spatial_first": "first",
    "spatial_mix_k": "key_mix",
    "spatial_mix_v": "value_mix",
    "spatial_mix_r": "gate_mix",
    "key_norm": "norm",
}
BLOCK = {
    "att": "layer",
    "ffn": "mix",
    "ln0": "first_norm",
    "ln1": "layer_norm",
    "ln2": "mix_norm",
    "gamma1": "layer_scale",
    "gamma2": "mix_scale",
}


def _wkv_settings(case: Case) -> dict[str, Any]:
    """Return what the layers of Vision-RWKV are built with, in double precision."""
    config = case.config
    refuse(case, with_cp="recomputation in the backward pass, which torch.utils.checkpoint adds to any module")
    if (mode := config.get("shift_mode", "q_shift")) != "q_shift":
        refuse(case, shift_mode=f"the fixed table has q_shift only, not {mode}")
    given = {ours: config[theirs] for ours, theirs in SIZES.items() if theirs in config}
    init = {"init": config["init_mode"]} if "init_mode" in config else {}
    place = {"place": (config["layer_id"], config["n_layer"])} if "n_layer" in config and "layer_id" in config else {}
    size = {"size": (config["H"], config["W"])} if "H" in config else {}
    return given | init | place | size | case.pick("key_norm")


def _spatial_mix(case: Case) -> nn.Module:
    return cnn.VRWKV(case.config["n_embd"], 1, **_wkv_settings(case)).double()


def _channel_mix(case: Case) -> nn.Module:
    return cnn.ChannelMix(case.config["n_embd"], **case.pick("hidden_rate"), **_wkv_settings(case)).double()


def _block(case: Case) -> nn.Module:
    settings, config = _wkv_settings(case), case.config
    layer = cnn.VRWKV(config["n_embd"], 1, **settings)
    mix = cnn.ChannelMix(config["n_embd"], **case.pick("hidden_rate"), **settings)
    has_first = any(name.startswith("param.ln0") for name in case.tensors)
    return VRWKVBlock(layer, mix, first_norm=has_first, **case.pick("post_norm", "init_values")).double()


def _flat(named: dict[str, Tensor], _: nn.Module) -> dict[str, Tensor]:
    """Return vectors (1, 1, C) as (C,)."""
    return {name: value.flatten() if "_mix" in name.rpartition(".")[2] else value for name, value in named.items()}


def _bi_wkv(case: Case) -> Callable[..., Tensor]:
    length = case.config["T"]

    def ours(decay: Tensor, first: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return scan.bi_wkv(key, value, decay / length, first / length)

    return ours


# The delta rule.

DELTA = {
    "k_proj": "writer.key",
    "v_proj": "writer.value",
    "w_lora.lora": "writer.decay",
    "a_lora.lora": "writer.rate",
    "g_lora.lora": "gate",
    "k_k": "writer.removal",
    "k_a": "writer.replacement",
    "r_k": "own",
    "r_proj": "reader",
    "g_norm": "norm",
    "o_proj": "output",
}


def _ranks(case: Case) -> dict[str, int]:
    of = {"decay_rank": "w", "rate_rank": "a", "gate_rank": "g"}
    return {ours: case.tensors[f"param.{letter}_lora.lora.0.weight"].shape[0] for ours, letter in of.items()}


def _delta_rule(case: Case) -> Callable[..., tuple[Tensor, Tensor]]:
    scale = case.config.get("scale", 1.0)

    def ours(r: Tensor, k: Tensor, v: Tensor, w: Tensor, a: Tensor, b: Tensor, state: Tensor | None) -> Any:
        return scan.delta_rule(scale * r, k, v, w, a, b, state)

    return ours


def _self_layer(case: Case) -> nn.Module:
    config = case.config
    refuse(case, layer_idx="values mixed with those of the first layer of a stack: ours is the first layer")
    heads = config["hidden_size"] // config["head_dim"]
    return cnn.RWKV7(config["hidden_size"], heads, **case.pick(eps="norm_eps"), **_ranks(case)).double()


def _cross_layer(case: Case) -> nn.Module:
    widths = case.config["dim"], case.config["context_dim"]
    return cnn.CrossWKV(*widths, **case.pick("head_dim"), **_ranks(case)).double()


def _mixes(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """Split the shares of the token before: of r, w, k, v, a and g, or of w, k, v and a."""
    shares = named["x_x"]
    if isinstance(ours, cnn.RWKV7):
        parts = {"writer.mix": shares[1:5], "mix": torch.stack([shares[0], shares[5]])}
    else:
        parts = {"writer.mix": shares}
    return parts | {name: value for name, value in named.items() if name != "x_x"}


def _final(ours: nn.Module, case: Case) -> Mapping[str, Tensor]:
    tensors = case.tensors
    return {"state": ours.state(tensors["context"], tensors.get("context_mask"), tensors.get("initial_state"))}


ENTRIES = {
    "Bi-WKV": Entry(
        _bi_wkv,
        inputs=("spatial_decay", "spatial_first", "key", "value"),
        aside=("kernel_output",),  # of the CUDA kernel, which departs from the formula
    ),
    "VRWKV_SpatialMix": Entry(_spatial_mix, names=MIX, arrange=_flat),
    "VRWKV_ChannelMix": Entry(_channel_mix, names=MIX, arrange=_flat),
    "104-vision-rwkv/Block": Entry(_block, names=BLOCK | MIX, arrange=_flat),
    "naive_recurrent_rwkv7": Entry(
        _delta_rule,
        inputs=("r", "k", "v", "log_decay", "a", "b", "initial_state"),
        outputs=("output", "final_state"),
    ),
    "RWKV7Attention": Entry(_self_layer, inputs=("input", "attention_mask"), names=DELTA, arrange=_mixes),
    "CrossWKV (form of the definition)": Entry(
        _cross_layer,
        inputs=("input", "context", "context_mask", "initial_state"),
        names=DELTA,
        arrange=_mixes,
        also=_final,
    ),
}
