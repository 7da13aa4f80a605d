"""Networks of mixtures of Gaussians (arXiv 2202.09153)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.models import MixtureNet
from convnn.nn.mixtures import MixtureConv, MixtureNorm, MixtureReLU
from convnn.ops.mixtures import Mixture, convolve, group
from golden.case import Case
from golden.entry import Entry, Refused

REDUCTIONS = {"fixed_point_only": None, "fixed_point_and_mhem": "absorb", "fixed_point_and_max": "largest"}
BIASES = {"negative_softplus": "minus_softplus", "normal": "plain", "none": "none"}
OF_CONV = {"weights": "weight", "positions": "position", "covariance_factors": "factor"}
OF_CONV |= {"position_range": "radius", "covariance_range": "variance"}
BOTH = ("input", "input_constant")


def _some(count: int) -> int | None:
    return count if count > 0 else None


def _conv(case: Case) -> MixtureConv:
    settings = case.pick(
        dims="n_dims",
        kernel_components="n_kernel_components",
        radius="position_range",
        variance="covariance_range",
        learn_radius="learnable_radius",
        weight_scale="weight_sd",
        weight_mean="weight_mean",
        ridge="covariance_epsilon",
    )
    components = _some(case.config["n_fitting_components"])
    return MixtureConv(case.config["n_layers_in"], case.config["n_layers_out"], components=components, **settings)


def _relu(case: Case) -> MixtureReLU:
    reduction = REDUCTIONS.get(method := case.config["method"], "")
    if reduction == "":
        raise Refused(f"method={method!r}: the pseudo-inverse, which mixes up axes of length 1, and trees on CUDA")
    if reduction is None:
        return MixtureReLU()
    return MixtureReLU(_some(case.config["n_components"]), reduction)


def _packed(ours: nn.Module, packed: Tensor, constant: Tensor | None = None) -> tuple[Tensor, Tensor]:
    found = ours(Mixture.from_packed(packed, constant))
    return found.packed, found.constant


def _of_conv(ours: MixtureConv, case: Case) -> dict[str, Tensor]:
    found = {"kernels": ours.kernel.packed}
    if "group" in case.tensors:
        full = convolve(Mixture.from_packed(case.tensors["input"]), ours.kernel)
        found["group"] = group(full, ours.components)
    return found


def _norms(case: Case) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """Return the normalisation in all modes, with its gradients, which the file has one of for each mode."""

    def run(packed: Tensor, constant: Tensor) -> dict[str, Tensor]:
        found = {}
        for mode in case.config["cases"]:
            norm = MixtureNorm(packed.shape[1], "sample" if mode == "sample" else "batch").double()
            if mode != "sample":
                norm.mean_trace.copy_(case.tensors["buffer.averaged_cov_trace"])
            leaf = packed.detach().requires_grad_()
            output = norm.train(mode != "eval")(Mixture.from_packed(leaf, constant)).packed
            (gradient,) = torch.autograd.grad(output, leaf, case.tensors[f"grad_output.{mode}"])
            found |= {f"output.{mode}": output.detach(), f"grad_input.{mode}": gradient}
            found |= {f"buffer_after.{mode}": norm.mean_trace} if mode != "sample" else {}
        return found

    return run


def _net(case: Case) -> MixtureNet:
    config = case.config
    for name, known in (("bn_place", "after_relu"), ("bn_type", "Cov"), ("dropout", 0.0)):
        if config[name] != known:
            raise Refused(f"{name}={config[name]!r}: ours has {known!r} alone")
    if REDUCTIONS.get(config["relu"], "largest") == "largest":
        raise Refused(f"relu={config['relu']!r}: networks fit by a fixed point, and may absorb")
    channels, radii, components, kept = zip(*config["layers"], strict=True)
    ours = MixtureNet(
        case.tensors["input"].shape[1],
        config["n_classes"],
        dims=config["n_dims"],
        widths=channels[:-1],
        radii=radii,
        components=[_some(count) for count in components],
        kept=[_some(count) for count in kept],
        kernel_components=config["n_kernel_components"],
        bias=BIASES[config["bias_type"]],
    )
    for block in ours.blocks:
        block.conv.weight_scale, block.conv.weight_mean = config["weight_sd"], config["weight_mean"]
        block.conv.ridge = config["covariance_epsilon"]
    return ours


def _log_shares(ours: MixtureNet, packed: Tensor) -> Tensor:
    return F.log_softmax(ours(packed), 1)


def _names_of_net(case: Case) -> dict[str, str]:
    blocks = range(len(case.config["layers"]))
    places = {f"{theirs}.{i}": f"blocks.{i}.{ours}" for i in blocks for theirs, ours in PARTS.items()}
    return OF_CONV | places | {"normX": "head", "averaged_cov_trace": "mean_trace"}


PARTS = {"gmcs": "conv", "biases": "bias", "norms": "norm"}

ENTRIES = {
    "42-gmcn/Convolution": Entry(
        _conv, BOTH, ("output", "output_constant"), names=OF_CONV, call=_packed, also=_of_conv
    ),
    "ReLUFitting": Entry(_relu, BOTH, ("output", "output_constant"), call=_packed),
    "CovScaleNorm": Entry(_norms, BOTH, aside=("buffer_after.sample",)),
    "42-gmcn/Net": Entry(_net, names=_names_of_net, call=_log_shares, aside=("buffer.norm0.0.averaged_cov_trace",)),
}
