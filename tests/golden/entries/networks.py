"""Whole networks, under the names that `load_published` reads."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import convnn
from convnn.models import (
    VAN,
    InceptionNeXt,
    LSKNet,
    RecNeXt,
    RecNeXtA,
    RepLKNet,
    Shiftwise,
    ShiftwiseV1,
    SMPConvNet,
    UniRepLKNet,
)
from convnn.nn import ShiftedSum2d, layer_factory
from convnn.nn.registry import NamedLayer
from golden.case import Case
from golden.entry import Entry, Refused, refuse

Network = type[nn.Module]


def _classes(case: Case) -> dict[str, int]:
    names = {"num_classes": "num_classes", "in_channels": "in_chans"}
    return {ours: case.config[theirs] for ours, theirs in names.items() if theirs in case.config}


def _inceptionnext(case: Case, layer: NamedLayer) -> nn.Module:
    layer = layer_factory(layer.name, **case.config["token_mixer"])
    return InceptionNeXt(case.config["depths"], case.config["dims"], layer, **_classes(case))


def _gated(network: Network) -> Callable[[Case, NamedLayer], nn.Module]:
    def build(case: Case, layer: NamedLayer) -> nn.Module:
        sizes = (case.config[name] for name in ("depths", "embed_dims", "mlp_ratios"))
        return network(*sizes, layer, **_classes(case))

    return build


def _backbone(case: Case, layer: NamedLayer) -> nn.Module:
    ours = _gated(LSKNet)(case, layer)
    ours.head = nn.Identity()
    return ours


def _replknet(case: Case, layer: NamedLayer) -> nn.Module:
    layer = layer_factory(layer.name, **case.pick("small_kernel"))
    sizes = (case.config[name] for name in ("layers", "channels", "large_kernel_sizes", "dw_ratio"))
    return RepLKNet(*sizes, layer, **_classes(case))


def _smpconv(case: Case, layer: NamedLayer) -> nn.Module:
    if case.config["n_points_divide"] != 4:
        raise Refused(f"n_points_divide={case.config['n_points_divide']}: the published networks have a quarter")
    layer = layer_factory(layer.name, n_points=None)
    sizes = (case.config[name] for name in ("layers", "channels", "large_kernel_sizes"))
    return SMPConvNet(*sizes, 1, layer, **_classes(case))


def _unireplknet(case: Case, layer: NamedLayer) -> nn.Module:
    return UniRepLKNet(case.config["dims"], case.config["kernel_sizes"], layer, **_classes(case))


def _shiftwise(network: Network) -> Callable[[Case, NamedLayer], nn.Module]:
    def build(case: Case, layer: NamedLayer) -> nn.Module:
        *kernels, small = case.config["kernel_size"]
        layer = layer_factory(layer.name, small_kernel=small, **case.pick("ghost_ratio", "N_path", "N_rep"))
        return network(case.config["depths"], case.config["dims"], kernels, layer, **_classes(case))

    return build


def _recnext(network: Network) -> Callable[[Case, NamedLayer], nn.Module]:
    def build(case: Case, layer: NamedLayer) -> nn.Module:
        sizes = (case.config[name] for name in ("depth", "embed_dim", "mlp_ratio"))
        return network(*sizes, layer, **_classes(case))

    return build


def _results(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    """Return the output of the inference form, and the tables of shifted kernels, which ours draws."""
    found = (
        {"output_merged": convnn.merge(ours).model(case.tensors["input"])} if "output_merged" in case.tensors else {}
    )
    for path, sums in ours.named_modules():
        if isinstance(sums, ShiftedSum2d):
            place = ".".join(path.split(".")[i] for i in (0, 1, 3))  # of "stages.i.blocks.j"
            found |= {f"index.{place}.large_kernel.{name}": table for name, table in _tables(sums).items()}
    return found


def _tables(sums: ShiftedSum2d) -> dict[str, Tensor]:
    """Return channels and shifts in the published form: a shift for each kernel and order."""
    moved, number, side = *sums.wide.shape[1:], sums.weight.shape[-1]
    blocks = torch.cat([sums.wide, sums.tall]).argsort(-1).flatten(1).T
    return {
        "rep": sums.channels[:moved],
        "ghost": sums.channels[moved:],
        "pad_hv": sums.big_kernel // 2 - (side - 1) - side * blocks,
        "idx_identit": sums.square.T + number * torch.arange(moved).unsqueeze(1),
    }


def _entry(
    network: Network, build: Callable[[Case, NamedLayer], nn.Module], outputs: Sequence[str] = ("output",), **more: Any
) -> Entry:
    def build_evaluated(case: Case) -> nn.Module:
        if case.is_training:
            refuse(case, drop_path="blocks are left out at random")
        return build(case, layer_factory(network.default_layer))

    return Entry(
        build_evaluated,
        outputs=outputs,
        names=lambda case: {name: network.our_name(name) for kind in ("param", "buffer") for name in case.named(kind)},
        arrange=lambda named, ours: ours.arranged(named),
        also=_results,
        **more,
    )


def _maps(ours: LSKNet, x: Tensor) -> list[Tensor]:
    """Return the maps of all stages, the last of which is the output."""
    *others, last = ours.forward_stages(x)
    return [last, *others]


ENTRIES = {
    "InceptionNeXt network": _entry(InceptionNeXt, _inceptionnext),
    "VAN network": _entry(VAN, _gated(VAN)),
    "LSKNet backbone": _entry(LSKNet, _backbone, ("output", "output.0", "output.1", "output.2"), call=_maps),
    "RepLKNet network": _entry(RepLKNet, _replknet),
    "SMPConv ImageNet network": _entry(SMPConvNet, _smpconv),
    "UniRepLKNet network (#8 and #11)": _entry(UniRepLKNet, _unireplknet),
    "ShiftWise_v2 network": _entry(Shiftwise, _shiftwise(Shiftwise)),
    "ShiftWise_v1 network": _entry(ShiftwiseV1, _shiftwise(ShiftwiseV1)),
    "RecNeXt-M network": _entry(RecNeXt, _recnext(RecNeXt)),
    "RecNeXt-A network": _entry(RecNeXtA, _recnext(RecNeXtA)),
}
