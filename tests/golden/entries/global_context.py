"""Windows with queries of the whole map: arXiv 2206.09959, its parts and the network."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from convnn.models import GCViT, GCViTSizes
from convnn.models.hierarchical._parts import sequence
from convnn.models.hierarchical.gcvit import as_offsets
from convnn.nn import GlobalQueries, WindowAttention, layer_factory
from golden.case import Case
from golden.entry import Entry, refuse

INNER = "stages.0.blocks.0."
"""Where a block stands in a network."""


def _network(case: Case, depths: tuple[int, ...], resolution: int, windows: int | list[int], **more: Any) -> GCViT:
    """Build a network around a part with the published arguments."""
    config = case.config
    refuse(case, qk_scale="the scale is one over the square root of a head's width")
    sizes = GCViTSizes(
        depths,
        config["dim"],
        [config.get("num_heads", 1)] * len(depths),
        config.get("mlp_ratio", 1),
        [windows] * len(depths),
        qkv_bias=config.get("qkv_bias", True),
        **more,
    )
    return GCViT(
        sizes,
        layer_factory("GlobalContext", attention_dropout=0.0),
        image_size=4 * resolution,
        in_channels=config.get("in_chans", 3),
        layer_scale=config.get("layer_scale") or 0.0,
        drop_path=0.0,
    )


def _stage(case: Case) -> nn.Module:
    """Build a stage, and what follows it unless it is the last."""
    config = case.config
    resolution = config["input_resolution"]
    network = _network(case, (config["depth"], 1), resolution, config["window_size"])
    _check_rule(resolution, config["image_resolution"], config["window_size"])
    stages = [network.stages[0]]
    if config["downsample"]:
        stages.append(sequence(downsample=network.stages[1].downsample))
    return sequence(stages=nn.Sequential(*stages))


def _check_rule(resolution: int, image: int, window: int) -> None:
    """The published code counts poolings by the share of the image; ours by the windows, which is to be the same."""
    published = {image // 4: 3, image // 8: 2, image // 16: 0, image // 32: 0}[resolution]
    if (resolution // window).bit_length() - 1 != published:
        raise ValueError(f"a map of {resolution} and windows of {window} are not halved {published} times")


def _block(case: Case) -> nn.Module:
    config = case.config
    network = _network(case, (2,), config.get("input_resolution", config["window_size"]), config["window_size"])
    is_global = case.tensors["param.attn.qkv.weight"].shape[0] == 2 * config["dim"]
    return network.stages[0].blocks[int(is_global)]


def _with_queries(ours: nn.Module, x: Tensor, queries: Tensor | None) -> Tensor:
    """Call a block, which gets queries in any case, and reads them if its attention is global."""
    attention = ours.mixing.inner.mixer
    if attention.scope == "local":
        return ours(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return ours(x.permute(0, 3, 1, 2), _as_map(queries, attention.side)).permute(0, 2, 3, 1)


def _as_map(queries: Tensor, side: int) -> Tensor:
    """Join the heads of queries (B, 1, heads, side side, d): (B, side, side, C)."""
    return queries[:, 0].transpose(1, 2).flatten(2).unflatten(1, (side, side))


def _stem(case: Case) -> nn.Module:
    return _network(case, (1,), 4, 2).stem


def _on_channels_first(ours: nn.Module, x: Tensor) -> Tensor:
    out = x.permute(0, 3, 1, 2)
    for stage in ours.stages:
        out = stage(out)
    return out.permute(0, 2, 3, 1)


def _in_windows(ours: WindowAttention, x: Tensor, queries: Tensor | None) -> Tensor:
    """Put windows side by side, those of each image in a row."""
    images = x.shape[0] if queries is None else queries.shape[0]
    side = ours.side
    maps = x.view(images, -1, side, side, x.shape[-1]).transpose(1, 2).flatten(2, 3)
    if queries is not None:
        queries = _as_map(queries, side)
    out = ours(maps, queries)
    return out.unflatten(2, (-1, side)).transpose(1, 2).reshape(x.shape)


def _generate(ours: nn.Module, x: Tensor) -> Tensor:
    queries = ours.queries(x, (ours.side, ours.side)).flatten(1, 2)
    return queries.unflatten(2, (ours.heads, -1)).transpose(1, 2).unsqueeze(1)


def _generator(case: Case) -> nn.Module:
    config = case.config
    resolution, window = config["input_resolution"], config["window_size"]
    _check_rule(resolution, config["image_resolution"], window)
    ours = sequence(queries=GlobalQueries(config["dim"], (resolution // window).bit_length() - 1))
    ours.side, ours.heads = window, config["num_heads"]
    return ours


def _attention(scope: str) -> Callable[[Case], nn.Module]:
    def build(case: Case) -> nn.Module:
        refuse(case, qk_scale="the scale is one over the square root of a head's width")
        config = case.config
        bias = config.get("qkv_bias", True)
        return WindowAttention(config["dim"], config["num_heads"], config["window_size"], scope=scope, qkv_bias=bias)

    return build


def _named(before: str = "", drop: str = "") -> Callable[[Case], dict[str, str]]:
    """Return our names of parameters that stand after `before` in a network, and after `drop` in ours."""

    def names(case: Case) -> dict[str, str]:
        theirs = [name for kind in ("param", "buffer") for name in case.named(kind)]
        return {name: GCViT.our_name(before + name).removeprefix(drop) for name in theirs}

    return names


def _arranged(named: dict[str, Tensor], _: nn.Module) -> dict[str, Tensor]:
    return {name: as_offsets(value) if name.endswith("relative_bias") else value for name, value in named.items()}


def _places(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    """Return the published index of each offset, of a window's places one after the other."""
    found = {}
    for name in case.named("buffer"):
        side = round(case.tensors[f"buffer.{name}"].numel() ** 0.25)
        places = torch.cartesian_prod(torch.arange(side), torch.arange(side))
        away = places[:, None] - places + side - 1
        index = away[..., 0] * (2 * side - 1) + away[..., 1]
        found[f"buffer.{name}"] = index.view_as(case.tensors[f"buffer.{name}"])
    return found


def _timm(case: Case) -> nn.Module:
    config = case.config
    sizes = GCViTSizes(
        config["depths"],
        config["embed_dim"],
        config["num_heads"],
        config["mlp_ratio"],
        config["window_size"],
        squeezed=lambda channels: max(8, (channels // 4 + 4) // 8 * 8),  # timm's, for widths below 64
    )
    return GCViT(
        sizes,
        layer_factory("GlobalContext", attention_dropout=0.0),
        image_size=config["img_size"],
        num_classes=config["num_classes"],
        layer_scale=float(config["layer_scale"]),
    )


_ATTENTION = {"proj": "output", "relative_position_bias_table": "relative_bias", "relative_position_index": ""}

ENTRIES = {
    "GCViTLayer": Entry(_stage, names=_named("levels.0."), arrange=_arranged, call=_on_channels_first, also=_places),
    "GCViTBlock": Entry(
        _block,
        inputs=("input", "q_global"),
        names=_named("levels.0.blocks.0.", INNER),
        arrange=_arranged,
        call=_with_queries,
        also=_places,
    ),
    "118-gcvit/PatchEmbed": Entry(
        _stem, names=_named("patch_embed.", "stem."), call=lambda ours, x: ours(x).permute(0, 2, 3, 1)
    ),
    "GlobalQueryGen": Entry(_generator, names=_named("levels.0.q_global_gen.", "stages.0."), call=_generate),
    "WindowAttentionGlobal": Entry(
        _attention("global"),
        inputs=("input", "q_global"),
        names=_ATTENTION,
        arrange=_arranged,
        call=_in_windows,
        also=_places,
    ),
    "118-gcvit/WindowAttention": Entry(
        _attention("local"),
        inputs=("input", "q_global"),
        names=_ATTENTION,
        arrange=_arranged,
        call=lambda ours, x, _: _in_windows(ours, x, None),
        also=_places,
    ),
    "GC ViT network (timm)": Entry(
        _timm, names=_named(), arrange=lambda named, ours: ours.arranged(named), also=_places
    ),
}
