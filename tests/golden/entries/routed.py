"""Kernels that depend on the input: arXiv 1904.04971, 2503.18783; shared kernels: arXiv 2210.14151."""

from functools import partial

import torch
from torch import Tensor, nn

from convnn import models
from convnn import nn as cnn
from convnn.models.se_resnet import make_stage
from golden.case import Case
from golden.entry import Entry, Refused


def _experts(case: Case) -> nn.Module:
    config = case.config
    padding = config["padding"]
    if padding == "":  # timm's static padding, which is symmetric
        padding = (config["stride"] - 1 + config["dilation"] * (config["kernel_size"] - 1)) // 2
    return cnn.CondConv2d(
        config["in_channels"],
        config["out_channels"],
        padding=padding,
        **case.pick("kernel_size", "stride", "dilation", "groups", "bias", experts="num_experts"),
    )


def _fdconv(case: Case) -> nn.Module:
    """Build the layer from its published arguments, with the published groups of frequencies."""
    config, bands = case.config, case.config["fbm_cfg"]
    inputs, outputs, side = config["in_channels"], config["out_channels"], config["kernel_size"]
    _refuse(config, bands)
    number, spectra = config["kernel_num"], config["param_ratio"]
    layer = cnn.FDConv2d(
        inputs,
        outputs,
        kernel_size=side,
        frequency_groups=number,
        spectra=spectra,
        stride=config["stride"],
        padding=config["padding"],
        dilation=config["dilation"],
        groups=config["groups"],
        squeeze=config["reduction"],
        gate=config["ksm_global_act"],
        temperature=config["temp"],
        share_temperature=config["kernel_temp"],
        gain=config["att_multi"],
        local_gate=config["ksm_local_act"] if config["use_ksm_local"] else None,
        divisors=tuple(bands["k_list"]) if side in config["use_fbm_if_k_in"] else (),
        band_groups=bands["spatial_group"],
        band_gate=bands["act"],
        band_kernel_size=bands["spatial_kernel"],
        weigh_lowest=bands["lowfreq_att"],
        in_frequency=config["convert_param"],
        plain_up_to=config["use_fdconv_if_c_gt"] if side in config["use_fdconv_if_k_in"] else max(inputs, outputs),
        bias=config["bias"],
    )
    if layer.side:
        _group(layer, case.tensors["buffer.indices"])
    return layer


def _group(layer: nn.Module, places: Tensor) -> None:
    """Group the frequencies as published, in an order that depends on the machine."""
    for group, (rows, columns) in zip(layer.group, places, strict=True):
        group[rows, columns] = torch.arange(len(rows)).unsqueeze(1).expand_as(rows)


def _refuse(config: dict, bands: dict) -> None:
    for name, reason in {
        "ksm_only_kernel_att": "no factors but those of the frequencies, which its definition does not describe",
        "spatial_freq_decompose": "unfinished in the published code, where it breaks the shapes",
    }.items():
        if config.get(name):
            raise Refused(f"{name}={config[name]!r}: {reason}")
    if config["param_reduction"] != 1:
        raise Refused(
            f"param_reduction={config['param_reduction']}: dropped coefficients, with which the output shrinks"
        )
    if bands["fs_feat"] != "feat" or bands["spatial"] != "conv":
        raise Refused(f"fbm_cfg={bands}: weights of bands from anything but a convolution of the map")


OF_FDCONV = {
    "dft_weight": "spectrum",
    "KSM_Global.fc": "modulation.reduce",
    "KSM_Global.bn": "modulation.norm",
    "KSM_Global.relu": "modulation.activation",
    "KSM_Global.channel_fc": "modulation.inputs",
    "KSM_Global.filter_fc": "modulation.outputs",
    "KSM_Global.spatial_fc": "modulation.places",
    "KSM_Global.kernel_fc": "modulation.shares",
    "KSM_Local": "local",
    "FBM": "bands",
    "indices": None,
}


def _joined(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """Ours has one convolution for the factors of all bands, the published code one for each."""
    joined = {}
    for name in list(named):
        prefix, found, rest = name.partition("bands.freq_weight_conv_list.")
        if found:
            kind = rest.partition(".")[2]
            joined.setdefault(f"{prefix}bands.gates.{kind}", []).append(named.pop(name))
    return named | {name: torch.stack(parts, 1).flatten(0, 1) for name, parts in joined.items()}


def _kernels(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    x = case.tensors["input"]
    return {"per_sample_weight": ours.kernels(x), "fbm_output": ours.weighted(x)}


class Bottleneck(nn.Module):
    """The block of ResNet-50, as torchvision has it with expansion 4."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = nn.Conv2d(channels, 4 * channels, 1, bias=False), nn.BatchNorm2d(4 * channels)
        project = nn.Conv2d(inputs, 4 * channels, 1, stride, bias=False)
        self.downsample = nn.Sequential(project, nn.BatchNorm2d(4 * channels))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        return (self.bn3(self.conv3(inner)) + self.downsample(x)).relu()


class Host(nn.Module):
    """A ResNet of two bottlenecks."""

    def __init__(self, stem: int, planes: list[int], strides: list[int], num_classes: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, stem, 7, 2, padding=3, bias=False), nn.BatchNorm2d(stem)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        widths = [stem, *(4 * width for width in planes)]
        for number, (before, width, stride) in enumerate(zip(widths, planes, strides, strict=False), 1):
            setattr(self, f"layer{number}", nn.Sequential(Bottleneck(before, width, stride)))
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.bn1(self.conv1(x)).relu())
        return self.fc(self.layer2(self.layer1(x)).mean((2, 3)))


def _host(case: Case) -> nn.Module:
    """Replace the convolutions of the blocks, as published, but not the first or those of the shortcuts."""
    config = case.config["fdconv"]
    _refuse(config, config["fbm_cfg"])
    host = Host(*(case.config[name] for name in ("stem", "planes", "strides", "num_classes")))
    where = cnn.Where(names=("layer*.conv?",), pointwise=True)
    cnn.replace_layers(
        host,
        "FDConv",
        where,
        frequency_groups=config["kernel_num"],
        spectra=config["param_ratio"],
        plain_up_to=config["use_fdconv_if_c_gt"],
    )
    for name, part in host.named_modules():
        if isinstance(part, cnn.FDConv2d):
            _group(part, case.tensors[f"buffer.{name}.indices"])
    return host


def _efficientnet(case: Case) -> nn.Module:
    """Build timm's network, which is the system."""
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet

    config = case.config
    return EfficientNet(
        block_args=decode_arch_def(config["arch"], experts_multiplier=config["num_experts"]),
        stem_size=config["stem"],
        num_features=config["num_features"],
        num_classes=config["num_classes"],
        norm_layer=partial(nn.BatchNorm2d, eps=config["bn_eps"]),
        act_layer={"silu": nn.SiLU}[config["act"]],
        pad_type=config["pad"],
        round_chs_fn=lambda channels: channels,
    )


def _convmixer(case: Case) -> nn.Module:
    """Build the network, whose kernels may be dilated, and share them."""
    config, dilation = case.config, case.config.get("dilation", 1)

    def layer(inputs: int, outputs: int, *, kernel_size: int, depthwise: bool) -> nn.Module:
        geometry = {"padding": "same", "dilation": dilation, "groups": inputs if depthwise else 1}
        return nn.Conv2d(inputs, outputs, kernel_size, **geometry)

    sizes = [config[name] for name in ("dim", "depth", "kernel_size", "patch_size")]
    network = models.ConvMixer(*sizes, nn.GELU, layer, num_classes=config["n_classes"])
    if config.get("apply_kernel_sharing", config.get("shared")):
        cnn.share_kernels(network)
    return network


def _of_convmixer(case: Case) -> dict[str, str]:
    depth = case.config["depth"]
    names = {"0": "stem.0", "2": "stem.2", f"{depth + 5}": "head.2"}
    for number in range(depth):
        block = f"blocks.{number}"
        names |= {f"{number + 3}.0.fn.{i}": f"{block}.positions.{i}" for i in (0, 2)}
        names |= {f"{number + 3}.1": f"{block}.channels.0", f"{number + 3}.3": f"{block}.channels.2"}
    return names


PLAIN = cnn.layer_factory("Conv2d")


def _stage(case: Case) -> nn.Module:
    config = case.config
    settings = {"stride": config["stride"], "reduction": config["reduction"], "preactivation": config["new_resnet"]}
    stage = make_stage(config["inplane"], config["planes"], config["blocks"], PLAIN, **settings)
    holder = nn.ModuleDict({"layer": stage})
    if config["share"]:
        cnn.share_kernels(holder)
    return holder


def _se_resnet(case: Case) -> nn.Module:
    config = case.config
    if len(set(config["share_stages"])) > 1:
        where = [f"layer{number}.*" for number, one in enumerate(config["share_stages"], 1) if one]
    else:
        where = "*" if all(config["share_stages"]) else ""
    sizes = config["stem"], config["planes"], config["reduction"]
    network = models.SEResNet(config["n_size"], PLAIN, *sizes, num_classes=config["num_classes"])
    if where:
        cnn.share_kernels(network, where)
    return network


CONVMIXER = Entry(_convmixer, names=_of_convmixer)

ENTRIES = {
    "sigmoid(Linear(GAP)) + timm.layers.CondConv2d": Entry(
        _experts,
        names={"routing_fn": "routing", "conv": ""},
        also=lambda ours, case: {"routing_weights": ours.shares(case.tensors["input"])},
    ),
    "FDConv": Entry(_fdconv, names=OF_FDCONV, arrange=_joined, also=_kernels),
    "FDConv in a bottleneck ResNet host": Entry(_host, names=OF_FDCONV, arrange=_joined),
    "EfficientNet with CondConv (timm)": Entry(_efficientnet),
    "ConvMixer": CONVMIXER,
    "ConvMixer with shared kernels": CONVMIXER,
    "SEResNetStage": Entry(_stage, call=lambda ours, x: ours["layer"](x)),
    "SE-ResNet with shared kernels": Entry(_se_resnet, names={"se.fc": "se.fc", "fc": "head.2"}),
}
