"""Kernels that are functions of the offset: CKConv (arXiv 2102.02611), in both of its published forms."""

import re

from torch import Tensor, nn

from convnn.nn.functions.generated import GeneratedConv
from convnn.nn.kernels.siren import SirenKernel
from golden.case import Case
from golden.entry import Entry, Refused, refuse

ASIDE = ("buffer.conv_kernel", "aux.rel_positions", "aux.rel_positions_full", "aux.kernel_positions_full")
"""The kernel of the last forward pass, and its grid, which the kernel's values show."""


def sampled(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    """Return the kernel of the first convolution of a module, in the published shape."""
    conv = next(part for part in ours.modules() if isinstance(part, GeneratedConv))
    kernel = conv.sampled(case.tensors["input"].shape[2:])[0]
    published = case.tensors.get("aux.kernel")
    if published is None or published.numel() != kernel.numel():  # ours leaves out taps that never meet the map
        return {}
    return {"aux.kernel": kernel.reshape(published.shape)}


def at_rate(conv: GeneratedConv, case: Case) -> GeneratedConv:
    """Set the sampling rate from the published length of training, 0 if that is the first input's."""
    length = case.tensors["input"].shape[-1]
    trained = int(case.tensors["buffer.train_length"]) if "buffer.train_length" in case.tensors else 0
    conv.rate = length / (trained or length)
    return conv


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


def names_of_net(case: Case) -> dict[str, str]:
    """Return our names of the layers of a kernel network, which are published by their places in a sequence."""
    names = {"Kernel": "kernel", "kernel_net": "", "layer_norm": "", "omega_0": ""}
    found = [re.fullmatch(r"Kernel\.(kernel_net\.(\d+))\.(.+)", name) for name in case.named("param")]
    linear = sorted({int(m[2]) for m in found if m and case.tensors[f"param.Kernel.{m[1]}.{m[3]}"].dim() > 1})
    others = sorted({int(m[2]) for m in found if m} - set(linear))
    names |= {f"kernel_net.{place}": f"layers.{number}" for number, place in enumerate(linear)}
    names |= {f"kernel_net.{place}": f"norms.{number}" for number, place in enumerate(others)}
    return names | {"output_linear": f"layers.{len(linear)}"}


def _ckconv_on_images(case: Case) -> nn.Module:
    refuse(case, kernel_learn_omega_0="the frequency is fixed, a prior on smoothness")
    if (kind := case.config["kernel_type"]) not in ("SIREN", "nSIREN"):
        raise Refused(f"kernel_type={kind!r}: an ablation of the paper, without a definition")
    kernel = SirenKernel(
        case.config["kernel_dim_linear"],
        case.config["out_channels"],
        case.config["in_channels"],
        no_hidden=case.config["kernel_no_hidden"],
        no_layers=case.config["kernel_no_layers"],
        omega_0=case.config["kernel_omega_0"],
        weight_norm=case.config["kernel_weight_norm"],
        scaled_bias=kind == "SIREN",
    )
    causal = case.config["kernel_dim_linear"] == 1
    return GeneratedConv(kernel, horizon=case.config["horizon"], causal=causal, bias=case.config["conv_bias"])


ENTRIES = {
    "1-ckconv/CKConv": Entry(
        _ckconv,
        names=names_of_net,
        also=sampled,
        aside=(*ASIDE, "aux.published_fft_output", "buffer.train_length"),
    ),
    "CKConv 2D (flexconv)": Entry(
        _ckconv_on_images,
        names=names_of_net,
        also=sampled,
        aside=(*ASIDE, "buffer.train_length", *(f"buffer.Kernel.kernel_net.{n}.omega_0" for n in range(0, 20, 2))),
    ),
}
