"""Kernels that depend on the input: arXiv 1904.04971, 2503.18783; shared kernels: arXiv 2210.14151."""

import torch
from torch import Tensor, nn

from convnn import nn as cnn
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
    return frequency_layer(case, case.config["in_channels"], case.config["out_channels"], "", case.config)


def frequency_layer(case: Case, inputs: int, outputs: int, prefix: str, config: dict) -> nn.Module:
    """Build the layer from its published arguments, with the published groups of frequencies."""
    side, bands = config["kernel_size"], config["fbm_cfg"]
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
        places = case.tensors[f"buffer.{prefix}indices"]
        for group, (rows, columns) in zip(layer.group, places, strict=True):
            group[rows, columns] = torch.arange(len(rows)).unsqueeze(1).expand_as(rows)
    return layer


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
    "KSM_Global": "modulation",
    "KSM_Local": "local",
    "FBM": "bands",
    "fc": "reduce",
    "bn": "norm",
    "relu": "activation",
    "channel_fc": "inputs",
    "filter_fc": "outputs",
    "spatial_fc": "places",
    "kernel_fc": "shares",
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


ENTRIES = {
    "sigmoid(Linear(GAP)) + timm.layers.CondConv2d": Entry(
        _experts,
        names={"routing_fn": "routing", "conv": ""},
        also=lambda ours, case: {"routing_weights": ours.shares(case.tensors["input"])},
    ),
    "FDConv": Entry(_fdconv, names=OF_FDCONV, arrange=_joined, also=_kernels),
}
