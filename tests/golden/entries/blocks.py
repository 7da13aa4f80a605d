"""Block-sparse attention of Faster VGGT."""

import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.nn.tokens._hilbert import hilbert_order
from golden.case import Case
from golden.entry import Entry, Refused


def _attention(case: Case) -> nn.Module:
    config = case.config
    ratio, mass = config["sparse_ratio"], config["cdf_threshold"]
    if isinstance(ratio, list) or isinstance(mass, list):
        raise Refused("one value a head: ours has one value for all heads")
    return cnn.BlockSparseAttention(
        config["dim"],
        config["num_heads"],
        block=(config["query_block"], config["key_block"]),
        keep=0.0 if ratio is None else 1 - ratio,
        mass=mass,
        pool={"avg": "mean", "max": "max"}[config["pool"]],
        special_tokens=config["special_tokens"],  # of each of the frames, which ours counts itself
        size=(config["H"], config["W"]),
        qk_norm=config["qk_norm"],
        rotary=config["rope2d"],
        bias=True,
    )


def _three(named: dict[str, Tensor], _: nn.Module) -> dict[str, Tensor]:
    parts = {}
    for kind in ("weight", "bias"):
        split = named[f"qkv.{kind}"].chunk(3)
        parts |= {f"{name}.{kind}": part for name, part in zip(("query", "key", "value"), split, strict=True)}
    return parts | {name: value for name, value in named.items() if not name.startswith("qkv")}


def _choice(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    x = case.tensors["input"]
    is_open = ours.open_blocks(x)
    return {
        "pooled": ours.block_scores(x),
        "block_mask": is_open.long(),
        "sparsity": 1 - is_open.double().mean().view(1),
    }


def _curves(case: Case) -> dict[str, Tensor]:
    found = {}
    for name in [name for name in case.tensors if name.startswith("order_")]:
        rows, columns = map(int, name.removeprefix("order_").split("x"))
        order = torch.tensor(hilbert_order(rows, columns))
        found |= {name: order, name.replace("order", "inverse"): order.argsort()}
    return found


ENTRIES = {
    "adaptive_sparse_attention_forward": Entry(
        _attention,
        names={"proj": "output", "q_norm": "query_norm", "k_norm": "key_norm"},
        arrange=_three,
        also=_choice,
        aside=("positions",),  # which ours knows from the size of a frame
    ),
    "make_hilbert_gather_idx": Entry(lambda case: lambda: _curves(case), inputs=()),
}
