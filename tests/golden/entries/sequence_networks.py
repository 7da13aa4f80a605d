"""Networks whose kernels reach over all of their input, on sequences and images."""

from functools import partial

import torch
from torch import Tensor, nn

from convnn.models import CCNN, CKCNN, CCNN1d, FlexNet, SMPNet, SMPNet1d, longconvnet, sgnet
from convnn.nn import CCNNConv1d, CCNNConv2d, CKConv1d, FlexConv2d, LongConv1d, SGConv1d, SMPConv1d, SMPConv2d
from golden.case import Case
from golden.entries.generated import _upwards
from golden.entry import Entry, Names

SAMPLED = ("conv_kernel", "train_length", "kernel_positions", "linspace_stepsize")
"""The kernel of the last forward pass and its grid, and the length of training, which is that of the input."""

FLAGS = ("initialized", "mask_threshold", "temperature")
"""What has happened to a layer, and its fixed settings."""


def _aside(*layers: str) -> list[str]:
    """Return the buffers of published layers that are no state of ours."""
    return [f"buffer.{layer}.{name}" for layer in layers for name in (*SAMPLED, *FLAGS)]


def _in_blocks(prefix: str, count: int = 3) -> list[str]:
    return [f"{prefix}.{j}.cconv{i}" for j in range(count) for i in (1, 2)]


def _two_layers(prefix: str, ours: str, first: int) -> Names:
    """Return the names of blocks of two layers, the first of which is `ours.first`."""
    names: dict[str, str | None] = {}
    for j in range(7):
        theirs, block = f"{prefix}.{j}", f"{ours}.{first + j}"
        names |= {f"{theirs}.shortcut.0": f"{block}.shortcut"}
        for i, unit in enumerate((f"{block}.first", f"{block}.second"), start=1):
            names |= {f"{theirs}.cconv{i}": f"{unit}.layer.operator", f"{theirs}.norm{i}": f"{unit}.norm"}
            names |= {f"{theirs}.cconv{i}s": f"{unit}.small.0", f"{theirs}.norm{i}s": f"{unit}.small.1"}
    return names


STEM = {
    "cconv1": "features.0.layer.operator",
    "norm1": "features.0.norm",
    "cconv1s": "features.0.small.0",
    "norm1s": "features.0.small.1",
    "out_layer": "head",
}


def _factors(case: Case) -> tuple[tuple[float, int], ...]:
    flat = case.config["block_width_factors"]
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def _ckcnn(case: Case) -> nn.Module:
    layer = partial(CKConv1d, no_hidden=case.config["kernelnet_no_hidden"])
    settings = case.pick("in_channels", "omega_0", num_classes="out_channels", d_hidden="no_hidden")
    return CKCNN(layer, num_layers=case.config["no_blocks"], **settings)


def _flexnet(case: Case) -> nn.Module:
    of_kernel = case.pick(no_hidden="kernel_no_hidden", no_layers="kernel_no_layers", mask_threshold="threshold")
    settings = case.pick("in_channels", "horizon", num_classes="out_channels", d_hidden="no_hidden")
    return FlexNet(_factors(case), partial(FlexConv2d, **of_kernel), **settings)


def _masks(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """Return mean and width of the masks, which are published in one tensor."""
    split = {}
    for name, value in named.items():
        mask = name.removesuffix("mask_params")
        parts = {"kernel.mask.mean": value[:, 0], "kernel.mask.width": value[:, 1]} if mask != name else {"": value}
        split |= {f"{mask}{part}": one for part, one in parts.items()}
    return split


def _smpnet(case: Case) -> nn.Module:
    layer = partial(SMPConv2d, n_points=case.config["n_points"])
    settings = case.pick("in_channels", "horizon", num_classes="out_channels", d_hidden="no_hidden")
    return SMPNet(_factors(case), layer, **settings)


def _smpnet_1d(case: Case) -> nn.Module:
    settings = case.pick("in_channels", "n_points", num_classes="out_channels", d_hidden="no_hidden")
    return SMPNet1d(SMPConv1d, num_layers=case.config["no_blocks"], layer_bias=case.config["bias"], **settings)


def _places(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """Return places by row and column."""
    return {name: one for key, value in named.items() for name, one in _turned(key, value).items()}


def _turned(name: str, value: Tensor) -> dict[str, Tensor]:
    return _upwards({name: value}, None) if name.endswith("places") else {name: value}


def _ccnn(case: Case) -> nn.Module:
    of_kernel = case.pick(no_layers="kernel_no_layers", mask_threshold="threshold")
    settings = case.pick("in_channels", num_classes="out_channels", d_hidden="no_hidden", num_layers="no_blocks")
    settings |= case.pick(horizon="kernel_size", no_hidden="kernel_no_hidden")
    if case.config["causal"]:
        return CCNN1d(partial(CCNNConv1d, **of_kernel), **settings)
    return CCNN(partial(CCNNConv2d, **of_kernel), **settings)


def _names_of_ccnn(case: Case) -> Names:
    count = case.config["no_blocks"]
    names: dict[str, str | None] = {"out_norm": f"features.{2 + count}", "out_layer": "head"}
    blocks = [("", "features.0"), *((f"blocks.{j}.", f"features.{2 + j}") for j in range(count))]
    for theirs, ours in blocks:
        operator = f"{ours}.layer.operator"
        names |= {f"{theirs}conv1": operator, f"{theirs}conv1.channel_mixer": f"{ours}.layer.pointwise"}
        names |= {f"{theirs}norm1": f"{ours}.norm", f"{theirs}linear1": f"{ours}.mix"}
    return names | OF_GABOR | {f"mask_{part}_param": f"kernel.mask.{part}" for part in ("mean", "width")}


def _sgnet(case: Case) -> nn.Module:
    decay = case.config["decay"]
    of_layer = case.pick("bidirectional", "kernel_dim", l_max="length") | {"decay_min": decay, "decay_max": decay}
    settings = case.pick("norm", "prenorm", in_channels="d_input", num_classes="d_output", d_hidden="d_model")
    return sgnet(partial(SGConv1d, **of_layer), num_layers=case.config["n_layers"], **settings)


def _longconvnet(case: Case) -> nn.Module:
    layer = partial(LongConv1d, **case.pick(l_max="length", lam="kernel_lam"))
    settings = case.pick("prenorm", in_channels="d_input", num_classes="d_output", d_hidden="d_model", heads="channels")
    return longconvnet(layer, num_layers=case.config["n_layers"], **settings)


def _two_sided(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """Return the taps of both sides; published are those of a circular convolution, lag -1 last."""
    return {name: _sides(value) if name.endswith("taps") else value for name, value in named.items()}


def _sides(taps: Tensor) -> Tensor:
    past, future = (one[..., : taps.shape[-1] // 2] for one in (taps, taps.flip(-1)))
    return torch.cat([past, future])


def _stack(layers: str, norms: str, convolution: str) -> Names:
    """Return the names of a stack, from those of its layers, norms and of what is inside a layer."""
    names: dict[str, str | None] = {"decoder": "head"}
    for j in range(2):
        layer, block = layers.format(j), f"blocks.{j}"
        names |= {layer: f"{block}.mix.layer.{convolution}", f"{layer}.D": f"{block}.mix.layer.D"}
        names |= {f"{layer}.output_linear": f"{block}.mix.mix", f"{layer}.output_linear.0": f"{block}.mix.mix"}
        names |= {norms.format(j): f"{block}.norm"}
    return names


OF_GABOR = {"Kernel": "kernel.kernel", "Kernel.linear": "kernel.kernel.linears", "output_linear": "output"}
OF_POINTS = {"Kernel": "kernel", "weight_coord": "places"}

ENTRIES = {
    "CKCNN network (seqImg_CKCNN)": Entry(
        _ckcnn,
        names=_two_layers("backbone", "features", 0)
        | {"Kernel": "kernel", "layer_norm": "", "finallyr": "head"}
        | {"kernel_net.0": "layers.0", "kernel_net.4": "layers.1", "kernel_net.8": "layers.2"},
        aside=_aside(*_in_blocks("backbone")),
    ),
    "FlexNet (ResNet of FlexConv)": Entry(
        _flexnet,
        names=_two_layers("blocks", "features", 2) | STEM | OF_GABOR,
        arrange=_masks,
        aside=_aside("cconv1", *_in_blocks("blocks")),
    ),
    "SMPConv CIFAR ResNet": Entry(
        _smpnet,
        names=_two_layers("blocks", "features", 2) | STEM | OF_POINTS,
        arrange=_places,
        aside=_aside("cconv1", *_in_blocks("blocks")),
    ),
    "SMPConv TCN": Entry(
        _smpnet_1d,
        names=_two_layers("backbone", "features", 0) | OF_POINTS | {"finallyr": "head"},
        arrange=_places,
        aside=_aside(*_in_blocks("backbone")),
    ),
    "CCNN network": Entry(
        _ccnn,
        names=_names_of_ccnn,
        aside=_aside("conv1", *(f"blocks.{j}.conv1" for j in range(2))),
    ),
    "SGConv stack (published GConv layer in the published S4-type residual stack of safari; encoder, mean pooling and"
    " decoder are ours)": Entry(
        _sgnet,
        names=_stack("model.layers.{}.layer", "model.layers.{}.norm.norm", "conv.kernel")
        | {"kernel_list": "blocks", "model.norm.norm": "final_norm"},
        call=lambda ours, x: ours(x.mT),
        aside=[f"buffer.model.layers.{j}.layer.kernel_norm_initialized" for j in range(2)],
    ),
    "Long convolution model (standalone)": Entry(
        _longconvnet,
        names=_stack("conv_layers.{}", "norms.{}", "conv.kernel") | {"kernel": "taps"},
        arrange=_two_sided,
        call=lambda ours, x: ours(x.mT),
    ),
}
