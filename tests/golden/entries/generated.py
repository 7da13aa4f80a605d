"""Kernels that are functions of the offset.

CKConv (arXiv 2102.02611), SMPConv (arXiv 2304.02330), FlexConv (arXiv 2110.08059), CCNN (arXiv 2301.10540).
"""

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from convnn.nn import ConvMaker
from convnn.nn.generated.operator import GeneratedConv
from convnn.nn.generated.paired import PointsAndSmall
from convnn.nn.generated.points import PointConv
from convnn.nn.generated.separable import ccnn_mask
from convnn.nn.kernels.function import KernelFunction
from convnn.nn.kernels.gabor import GaborKernel, GaussianMask, MaskedKernel
from convnn.nn.kernels.points import PointKernel
from convnn.nn.kernels.siren import SirenKernel
from golden.case import Case
from golden.entry import Entry, Refused, refuse

ASIDE = (
    *("buffer.conv_kernel", "buffer.train_length", "buffer.initialized", "buffer.temperature", "buffer.mask_threshold"),
    *("buffer.linspace_stepsize", "buffer.kernel_positions", "buffer.kernel_coord", "buffer.smp.conv.kernel_coord"),
    *("aux.rel_positions", "aux.rel_positions_full", "aux.kernel_positions_full"),
    *("aux.published_fft_output", "aux.published_output"),
    *(f"buffer.Kernel.kernel_net.{n}.omega_0" for n in range(0, 20, 2)),
)
"""Kernels of the last forward pass, grids and settings, which the kernel's values show, and wrong published results."""


def sampled(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    """Return the kernel of the first convolution of a module, in the published shape."""
    published = case.tensors.get("aux.kernel")
    conv = next(part for part in ours.modules() if isinstance(part, GeneratedConv))
    kernel = conv.sampled(case.tensors["input"].shape[2:])[0]
    if published is None or published.numel() != kernel.numel():  # ours leaves out taps that never meet the map
        return {}
    return {"aux.kernel": kernel.reshape(published.shape)}


def at_rate(conv: GeneratedConv, case: Case) -> GeneratedConv:
    """Set the sampling rate from the published length of training, 0 if that is the first input's."""
    length = case.tensors["input"].shape[-1]
    if not conv.horizon.causal:  # there it is the number of taps
        return conv
    trained = int(case.tensors["buffer.train_length"]) if "buffer.train_length" in case.tensors else 0
    conv.rate = length / (trained or length)
    return conv


def names_of_net(case: Case, inner: str = "kernel") -> dict[str, str]:
    """Return our names of the layers of a kernel network, which are published by their places in a sequence."""
    names = {"Kernel": inner, "kernel_net": "", "layer_norm": "", "omega_0": ""}
    found = [re.fullmatch(r"Kernel\.(kernel_net\.(\d+))\.(.+)", name) for name in case.named("param")]
    linear = sorted({int(m[2]) for m in found if m and case.tensors[f"param.Kernel.{m[1]}.{m[3]}"].dim() > 1})
    others = sorted({int(m[2]) for m in found if m} - set(linear))
    names |= {f"kernel_net.{place}": f"layers.{number}" for number, place in enumerate(linear)}
    names |= {f"kernel_net.{place}": f"norms.{number}" for number, place in enumerate(others)}
    return names | {"output_linear": f"layers.{len(linear)}"}


def _ckconv(case: Case) -> nn.Module:
    kernel = SirenKernel(
        case.config["dim_linear"],
        case.config["out_channels"],
        case.config["in_channels"],
        no_hidden=case.config["hidden_channels"],
        omega_0=case.config["omega_0"],
        weight_norm=True,
        bias=case.config["bias"],
        activation=case.config["activation_function"],
        norm="" if case.config["activation_function"] == "Sine" else case.config["norm_type"],
    )
    if case.is_training:
        refuse(case, weight_dropout="values of the kernel are left out at random")
    return at_rate(GeneratedConv(kernel, causal=True, bias=case.config["bias"], smooth=True), case)


def _channels(case: Case) -> tuple[int, int]:
    return case.config["out_channels"], case.config["in_channels"]


def _siren(case: Case, axes: int) -> SirenKernel:
    refuse(case, kernel_learn_omega_0="the frequency is fixed, a prior on smoothness")
    if (kind := case.config["kernel_type"]) not in ("SIREN", "nSIREN"):
        raise Refused(f"kernel_type={kind!r}: an ablation of the paper, without a definition")
    return SirenKernel(
        axes,
        *_channels(case),
        no_hidden=case.config["kernel_no_hidden"],
        no_layers=case.config["kernel_no_layers"],
        omega_0=case.config["kernel_omega_0"],
        weight_norm=case.config.get("kernel_weight_norm", False),
        scaled_bias=kind == "SIREN",
    )


def _of_horizon(kernel: KernelFunction, case: Case) -> GeneratedConv:
    """Return the convolution of a kernel, causal on signals."""
    horizon, causal = case.config["horizon"], kernel.axes == 1
    if causal and horizon.isdecimal():
        raise Refused(f"horizon={horizon!r}: on signals the kernel is as long as the input")
    if horizon in ("same", "full") and not causal:  # the last axis decides, as published
        last = case.tensors["input"].shape[-1]
        horizon = last if horizon == "same" else 2 * last - 1
    return GeneratedConv(kernel, horizon=horizon, causal=causal, bias=case.config["conv_bias"])


def _ckconv_on_images(case: Case) -> nn.Module:
    return _of_horizon(_siren(case, case.config["kernel_dim_linear"]), case)


def _points(case: Case) -> nn.Module:
    axes = case.config["kernel_dim_linear"]
    points = {"n_points": case.config["kernel_n_points"], "causal": axes == 1}
    return at_rate(_of_horizon(PointKernel(axes, *_channels(case), **points), case), case)


def _shared_points(case: Case) -> nn.Module:
    side, planes = case.config["kernel_size"], case.config["planes"]
    kernel = PointKernel(2, planes, 1, n_points=case.config["n_points"], shared=True)
    return GeneratedConv(kernel, horizon=side, groups=planes, bias=False)


def _points_and_small(case: Case) -> nn.Module:
    side, points = case.config["kernel_size"], case.config["n_points"]
    points = side**2 // case.config["n_points_divide"] if points is None else points
    return PointsAndSmall(ConvMaker(2), case.config["in_channels"], side, n_points=int(points))


def _upwards(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """Return places by row and column: published ones are to the right and upwards."""
    name = next(name for name in named if name.endswith("places"))
    places = named[name]
    if places.shape[-1] == 2:
        places = torch.stack([-places[..., 1], places[..., 0]], dim=-1)
    return named | {name: places}


OF_POINTS = {"weight_coord": "places", "Kernel": "kernel"}
OF_PAIR = {"smp.conv": "large.kernel", "smp.bn": "norm", "small_conv.conv": "small.conv", "small_conv.bn": "small.norm"}


def _flexconv(case: Case) -> nn.Module:
    refuse(case, mask_steerable="the window is not rotated", steerable="the window is not rotated")
    axes = case.config["kernel_dim_linear"]
    if case.config["kernel_type"] == "MAGNet":
        sizes = case.pick(no_hidden="kernel_no_hidden", no_layers="kernel_no_layers", input_scale="kernel_input_scale")
        kernel: KernelFunction = GaborKernel(axes, *_channels(case), **sizes)
    else:
        kernel = _siren(case, axes)
    if not case.config["mask_use"]:
        return _of_horizon(kernel, case)
    if (kind := case.config["mask_type"]) != "gaussian":
        raise Refused(f"mask_type={kind!r}: the published code has no such mask")
    threshold = case.config["mask_threshold"] if case.config["mask_dynamic_cropping"] else 0.0
    mask = GaussianMask(axes, case.config["mask_init_value"], threshold, causal=axes == 1)
    return _of_horizon(MaskedKernel(kernel, mask), case)


def _names_of_flexconv(case: Case) -> dict[str, str | None]:
    inner = "kernel.kernel" if case.config["mask_use"] else "kernel"
    if case.config["kernel_type"] != "MAGNet":
        return names_of_net(case, inner)
    names = {"Kernel": inner, "Kernel.linear": f"{inner}.linears", "output_linear": "output"}
    return names if case.config["mask_use"] else names | {"mask_params": None}


def _split_mask(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """Return mean and width of the mask, which are published in one tensor."""
    named = dict(named)
    if (both := named.pop("mask_params", None)) is not None:
        named |= {"kernel.mask.mean": both[:, 0], "kernel.mask.width": both[:, 1]}
    return named


def _ccnn_kernel(case: Case, channels: tuple[int, int]) -> KernelFunction:
    settings, axes = case.config["kernel_cfg"], case.config["data_dim"]
    if settings["type"] == "SIREN":
        sizes = {"omega_0": settings["omega_0"], "bias": settings["bias"]}
        return SirenKernel(axes, *channels, no_hidden=settings["no_hidden"], no_layers=settings["no_layers"], **sizes)
    if settings["type"] != "MAGNet":
        raise Refused(f"type={settings['type']!r}: an ablation of the paper, without a definition")
    if not settings["bias"]:
        raise Refused("bias=False: the published network sets the biases of all its layers")
    sizes = {name: settings[name] for name in ("no_hidden", "no_layers", "omega_0")}
    return GaborKernel(axes, *channels, **sizes)


def _ccnn(masked: bool, separable: bool) -> Callable[[Case], nn.Module]:
    def build(case: Case) -> nn.Module:
        outputs, inputs = _channels(case)
        kernel = _ccnn_kernel(case, (inputs, 1) if separable else (outputs, inputs))
        conv, axes = case.config["conv_cfg"], case.config["data_dim"]
        if masked and axes == 3:
            raise Refused("data_dim=3: no masked form on grids of three axes is published")
        if masked:
            settings = case.config["mask_cfg"]
            if settings["type"] != "gaussian":
                raise Refused(f"type={settings['type']!r}: the published code has no such mask")
            threshold = settings["threshold"] if settings["dynamic_cropping"] else 0.0
            mask = ccnn_mask(axes, settings["init_value"], threshold, causal=conv["causal"])
            if settings["learn_mean"]:
                mask.mean = nn.Parameter(mask._buffers.pop("mean"))
            kernel = MaskedKernel(kernel, mask)
        operator = GeneratedConv(
            kernel,
            horizon=_ccnn_horizon(case),
            causal=conv["causal"],
            groups=inputs if separable else 1,
            bias=conv["bias"],
        )
        if not separable:
            return operator
        mixer = ConvMaker(axes).pointwise(inputs, outputs, bias=conv["bias"])
        return nn.Sequential(operator, mixer)

    return build


def _ccnn_horizon(case: Case) -> int | str:
    size, last = case.config["kernel_cfg"]["size"], case.tensors["input"].shape[-1]
    if case.config["conv_cfg"]["causal"]:
        return size if size == "same" else int(size)
    side = {"same": last, "full": 2 * last - 1}.get(size) or int(size)
    if side % 2 == 0:
        raise Refused(
            f"size={size!r}: a centred kernel of {side} taps has no middle, and the output has another length"
        )
    return side


def _names_of_ccnn(masked: bool, separable: bool) -> Callable[[Case], dict[str, str]]:
    def names(case: Case) -> dict[str, str]:
        first = "0." if separable else ""
        inner = f"{first}kernel" + (".kernel" if masked else "")
        if case.config["kernel_cfg"]["type"] == "SIREN":
            found = names_of_net(case, inner)
        else:
            found = {"Kernel": inner, "output_linear": "output"}
        found |= {f"mask_{part}_param": f"{first}kernel.mask.{part}" for part in ("mean", "width")}
        return found | {"channel_mixer": "1"}

    return names


def _bias_of_first(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """Return the bias of the convolution under its name in a sequence."""
    return {"0.bias" if name == "bias" else name: value for name, value in named.items()}


def _point_conv(case: Case) -> nn.Module:
    settings, factor = case.config["kernel_cfg"], case.config["kernel_cfg"]["bottleneck_factor"]
    inputs = case.config["in_channels"]
    if settings["type"] != "MAGNet":
        raise Refused(f"type={settings['type']!r}: an ablation of the paper, without a definition")
    return PointConv(
        inputs,
        case.config["out_channels"],
        axes=case.config["data_dim"],
        num_edges=settings["num_edges"],
        bottleneck_factor=factor if inputs > 32 and factor != -1 else 1,
        **{name: settings[name] for name in ("no_hidden", "no_layers", "omega_0")},
        mask_init_value=case.config["mask_cfg"]["init_value"],
        bias=case.config["conv_cfg"]["bias"],
    )


def _weights_of_points(ours: PointConv, case: Case) -> dict[str, Tensor]:
    """Return the kernel between each point and its neighbours."""
    points = case.tensors["input.pos"]
    near = case.tensors["input.sorted_indices"][..., : ours.num_edges]
    offsets = points.unsqueeze(2) - points[torch.arange(points.shape[0]).view(-1, 1, 1), near]
    return {"aux.kernel": (ours.kernel(offsets)[:, 0] * ours.mask(offsets)).movedim(0, -1)}


OF_POINT_CONV = {
    "Kernel": "kernel",
    "output_linear": "output",
    "mask_width_param": "mask.width",
    "mask_mean_param": "mask.mean",
    "channel_mixer": "mix",
    "bottleneck_linear": "bottleneck",
}

ENTRIES = {
    "1-ckconv/CKConv": Entry(_ckconv, names=names_of_net, also=sampled, aside=ASIDE),
    "CKConv 2D (flexconv)": Entry(_ckconv_on_images, names=names_of_net, also=sampled, aside=ASIDE),
    "SMPConv (ImageNet, depthwise)": Entry(
        _shared_points,
        names={"weight_coord": "kernel.places", "radius": "kernel.radius", "weights": "kernel.weights"},
        arrange=_upwards,
        also=sampled,
        aside=ASIDE,
    ),
    "SMPCNN (SMPConv+BN plus 5x5 depthwise+BN)": Entry(
        _points_and_small,
        names=OF_PAIR | {"smp.conv.weight_coord": "large.kernel.places"},
        arrange=_upwards,
        also=sampled,
        aside=ASIDE,
    ),
    **{
        f"CKConv(SMPKernel) {form}": Entry(_points, names=OF_POINTS, arrange=_upwards, also=sampled, aside=ASIDE)
        for form in ("2D dense", "1D dense", "1D causal", "1D causal dense", "1D dense causal")
    },
    "91-flexconv/FlexConv": Entry(_flexconv, names=_names_of_flexconv, arrange=_split_mask, also=sampled, aside=ASIDE),
    **{
        f"20-ccnn/{name}": Entry(
            _ccnn(masked, separable),
            names=_names_of_ccnn(masked, separable),
            arrange=_bias_of_first if separable else lambda named, _: named,
            also=sampled,
            aside=ASIDE,
        )
        for name, masked, separable in (
            ("SeparableFlexConv", True, True),
            ("SeparableCKConv", False, True),
            ("FlexConv", True, False),
            ("CKConv", False, False),
        )
    },
    **{
        name: Entry(
            _point_conv,
            inputs=("input", "input.pos"),
            names=OF_POINT_CONV,
            also=_weights_of_points,
            aside=(*ASIDE, "input.rel_pos"),
        )
        for name in ("SeparablePointFlexConv (neighbour gather corrected)", "SeparablePointFlexConv")
    },
}
