"""Long convolutions: SGConv (arXiv 2210.09298) and simple long convolutions (arXiv 2302.06646), in two forms."""

from collections import OrderedDict
from math import ceil, log2

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.nn.generated.long import LagConv
from convnn.nn.kernels.pyramid import PyramidKernel
from convnn.nn.kernels.squashed import SquashedKernel
from golden.case import Case
from golden.entry import Entry, Refused, refuse

ACTIVATIONS = {None: nn.Identity, "gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "swish": nn.SiLU, "tanh": nn.Tanh}


class OverChannels(nn.Module):
    """Normalisation over channels with one factor and one shift for all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.m, self.s = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        deviation, mean = torch.std_mean(x, dim=1, correction=0, keepdim=True)
        return self.s / deviation * (x - mean + self.m)


class Last(nn.Module):
    """A module of rows (B, L, C) on signals (B, C, L)."""

    def __init__(self, of_rows: nn.Module) -> None:
        super().__init__()
        self.of_rows = of_rows

    def forward(self, x: Tensor) -> Tensor:
        return self.of_rows(x.transpose(1, 2)).transpose(1, 2)


def _layer(
    operator: LagConv, case: Case, *, activation: str | None, postact: str | None, norm: nn.Module | None = None
) -> nn.Module:
    """Return an operator with activation, normalisation and the linear layer after it."""
    if case.is_training:
        refuse(case, dropout="outputs are left out at random", kernel_dropout="taps are left out at random")
    if activation not in ACTIVATIONS or postact not in (*ACTIVATIONS, "glu"):
        raise Refused(f"activation={activation!r}, postact={postact!r}: the definition has GELU, and GLU after it")
    inner = operator.channels * operator.heads
    linear = nn.Linear(inner, operator.channels * (2 if postact == "glu" else 1))
    after = nn.GLU(1) if postact == "glu" else ACTIVATIONS[postact]()
    parts = OrderedDict(operator=operator, activation=ACTIVATIONS[activation]())
    return nn.Sequential(parts | OrderedDict(norm=norm or nn.Identity(), linear=Last(linear), after=after))


class Transposed(nn.Module):
    """A module of signals (B, C, L) on rows (B, L, C), where the published layer reads those."""

    def __init__(self, inner: nn.Module, reads_rows: bool) -> None:
        super().__init__()
        self.inner, self.reads_rows = inner, reads_rows

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.transpose(1, 2)).transpose(1, 2) if self.reads_rows else self.inner(x)


def _gconv(case: Case) -> nn.Module:
    refuse(case, hyper_act="the gate is never applied, and raises", shift="not part of the operator")
    width, l_max = case.config["d_model"], case.config["l_max"]
    kernel_dim, scales = case.config.get("kernel_dim", 64), case.config.get("n_scales")
    init_scale = case.config.get("init_scale", 0)
    if init_scale:
        raise Refused(f"init_scale={init_scale}: blocks begin at the first scale")
    if scales is None and kernel_dim > l_max:
        raise Refused(f"l_max={l_max} < kernel_dim={kernel_dim}: no scale is left, and the published code raises")
    kernel = PyramidKernel(
        width,
        heads=case.config["channels"],
        l_max=l_max,
        kernel_dim=min(kernel_dim, l_max) if scales is None else kernel_dim,
        n_scales=1 + ceil(log2(l_max / kernel_dim)) if scales is None else scales,
        mode=case.config["mode"],
        bidirectional=case.config["bidirectional"],
    )
    operator, rows = LagConv(kernel), not case.config["transposed"]
    if case.config["linear"]:
        return Transposed(operator, rows)
    inner = width * kernel.heads
    norm = (Last(nn.LayerNorm(inner)) if rows else OverChannels()) if case.config["ln"] else None
    layer = _layer(operator, case, activation=case.config["activation"], postact=case.config["postact"], norm=norm)
    return Transposed(layer, rows)


def _names_of_gconv(case: Case) -> dict[str, str]:
    operator = "inner" if case.config["linear"] else "inner.operator"
    names = {"D": f"{operator}.D", "kernel_list": f"{operator}.conv.kernel.blocks"}
    names |= {name: f"{operator}.conv.kernel.{name}" for name in ("decay", "multiplier", "kernel_norm")}
    names |= {f"output_linear{index}": "inner.linear.of_rows" for index in (".0", "")}
    return names | {"norm.norm": "inner.norm" if case.config["transposed"] else "inner.norm.of_rows"}


def _kernel_of_gconv(ours: Transposed, case: Case) -> dict[str, Tensor]:
    """Return the kernel as published: lags from 0 up, then those from -L up to -1."""
    kernel = ours.inner.conv.kernel if isinstance(ours.inner, LagConv) else ours.inner.operator.conv.kernel
    length = case.tensors["input"].shape[2 if case.config["transposed"] else 1]
    values = F.pad(kernel.values(), (0, max(length - kernel.length, 0)))[..., :length]
    past, *future = values.split(kernel.heads)
    return {"aux.kernel": torch.cat([past, *(one.flip(-1) for one in future)], dim=-1)}


def _standalone(case: Case) -> nn.Module:
    """Return the circular form, whose second half of taps has negative lags."""
    length = case.tensors["input"].shape[-1]
    kernel = SquashedKernel(
        case.config["H"], heads=case.config["channels"], l_max=length, lam=case.config["kernel_lam"]
    )
    return _layer(LagConv(kernel), case, activation="gelu", postact="glu")


def _long_conv(case: Case) -> nn.Module:
    refuse(case, shift="not part of the operator", hyper_act="a gate that the definition does not have")
    width, causal = case.config["d_model"], case.config.get("causal", True)
    if case.config["bidirectional"] and not causal:
        raise Refused("causal=False: doubles the kernel, and must not be combined with bidirectional")
    length = case.tensors["input"].shape[2 if case.config["transposed"] else 1]
    window = case.config.get("ma_window_len", 7) if case.config.get("use_ma_smoothing") else 0
    if window and not causal:
        raise Refused("causal=False with smoothing: the average runs from the last positive to the last negative lag")
    kernel = SquashedKernel(
        width,
        heads=case.config["channels"],
        l_max=case.config["l_max"] if causal else length,
        lam=case.config["lam"],
        ma_window_len=window,
        smooth_freq=bool(case.config.get("smooth_freq")),
        bidirectional=case.config["bidirectional"] or not causal,
    )
    operator, rows = LagConv(kernel), not case.config["transposed"]
    if case.config["activation"] is None and case.config["postact"] is None:
        return Transposed(operator, rows)
    return Transposed(
        _layer(operator, case, activation=case.config["activation"], postact=case.config["postact"]), rows
    )


def _names_of_long_conv(case: Case) -> dict[str, str]:
    is_operator = case.config["activation"] is None and case.config["postact"] is None
    operator = "inner" if is_operator else "inner.operator"
    names = {"D": f"{operator}.D", "kernel.kernel": f"{operator}.conv.kernel.taps"}
    return names | {f"output_linear{index}": "inner.linear.of_rows" for index in (".0", "")}


def _two_sided(named: dict[str, Tensor], ours: nn.Module) -> dict[str, Tensor]:
    """Return the taps of a circular kernel, where tap 2 L - 1 - j has the lag -(j + 1), and tap L none."""
    taps = next(part for part in ours.modules() if isinstance(part, SquashedKernel))
    name = next(name for name in named if name.endswith("taps"))
    if named[name].shape == taps.taps.shape:
        return named
    circular = F.pad(named[name], (0, max(2 * taps.length - named[name].shape[-1], 0)))[..., : 2 * taps.length]
    past, future = circular[..., : taps.length], circular[..., taps.length :]
    used = torch.cat([future[..., :1] * 0, future[..., 1:]], dim=-1).flip(-1)
    return named | {name: torch.cat([past, used])}


def _squashed(ours: nn.Module, case: Case) -> dict[str, Tensor]:
    """Return the taps after the squash; not those of the circular form, of which ours leaves one out."""
    kernel = next(part for part in ours.modules() if isinstance(part, SquashedKernel))
    published = case.tensors["aux.kernel_squashed"]
    return {"aux.kernel_squashed": kernel.values()} if published.shape == kernel.taps.shape else {}


ENTRIES = {
    "GConv": Entry(_gconv, names=_names_of_gconv, also=_kernel_of_gconv, aside=("buffer.kernel_norm_initialized",)),
    "LongConv (standalone_long_convs.py)": Entry(
        _standalone,
        names={"D": "operator.D", "kernel": "operator.conv.kernel.taps", "output_linear.0": "linear.of_rows"},
        arrange=_two_sided,
        also=_squashed,
    ),
    "LongConv (src/models/sequence/long_conv.py)": Entry(
        _long_conv, names=_names_of_long_conv, arrange=_two_sided, also=_squashed
    ),
}
