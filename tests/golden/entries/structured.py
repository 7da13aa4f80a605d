"""Kernels of a special structure: KAN convolutions (arXiv 2407.01092), FInC Flow (arXiv 2301.09266), Lie
groups (arXiv 2310.11366).
"""

from typing import Any

import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.models import KANNetwork
from convnn.models.normalizing_flow import FInCFlow
from convnn.nn.invertible.triangular import AXES_FLIPPED, ORDERS, TriangularConv2d
from convnn.nn.lie_groups import decomposition as lie
from golden.case import Case
from golden.entry import Entry, Refused, refuse

NORMS = {"BatchNorm": "batch", "InstanceNorm": "instance", "Identity": "none"}
KAN = {1: cnn.KANConv1d, 2: cnn.KANConv2d, 3: cnn.KANConv3d}
KAN_BASES = {
    "KAN": "spline",
    "FastKAN": "rbf",
    "KACN": "chebyshev",
    "KAGN": "gram",
    "KALN": "legendre",
    "KAJN": "jacobi",
    "ReLUKAN": "relu",
    "WavKAN": "wavelet",
}


def _norm(name: str) -> str:
    kind = name.split(".")[-1].rstrip("d123")
    if kind not in NORMS:
        raise Refused(f"norm_layer={name!r}: other normalisation than batch and instance")
    return NORMS[kind]


def _sides(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _kan(axes: int, basis: str, case: Case) -> nn.Module:
    config = case.config
    settings: dict[str, Any] = {name: _sides(config[name]) for name in ("kernel_size", "stride", "padding", "dilation")}
    settings |= case.pick("degree", "spline_order", "grid_size", "groups", "dropout", "wavelet_type")
    if basis == "relu":
        settings |= {"grid_size": config.get("g", 5), "spline_order": config.get("k", 3)}
    if basis == "jacobi":
        settings |= {"jacobi_a": float(config.get("a", 1)), "jacobi_b": float(config.get("b", 1))}
    if "grid_range" in config:
        settings["grid_range"] = tuple(config["grid_range"])
    if "base_activation" in config:
        settings["base_activation"] = config["base_activation"].lower()
    norm = _norm(config.get("norm_layer", "InstanceNorm"))
    inputs, outputs = config["input_dim"], config["output_dim"]
    layer = KAN[axes](inputs, outputs, basis=basis, norm_layer=norm, activate=True, dtype=torch.double, **settings)
    return _with_statistics(layer, case)


def _kan_names(named: dict[str, Tensor]) -> dict[str, str]:
    """Group by our parameters what the published layer keeps for each block of channels."""
    ours = {
        "base_conv": "base_weight",
        "prelus": "activation.weight",
        "norm": "norm",
        "poly_weights": "weight",
        "beta_weights": "expand.weights",
        "scale": "expand.scale",
        "translation": "expand.translation",
        "wavelet_weights": "weight",
        "wavelet_out": "mix",
        "phase_low": "expand.low",
        "phase_height": "expand.high",
        "phase_high": "expand.high",
    }
    by_number = sorted(named, key=lambda name: [int(part) if part.isdigit() else -1 for part in name.split(".")])
    return {name: next((o for t, o in ours.items() if t in name), "weight") for name in by_number if "rbf" not in name}


def _with_statistics(layer: nn.Module, case: Case, prefix: str = "") -> nn.Module:
    """Load running statistics, of which the published layer keeps a list for the blocks of channels."""
    for name in ("running_mean", "running_var"):
        blocks = [f"buffer.{prefix}layer_norm.{i}.{name}" for i in range(layer.groups)]
        if blocks[0] in case.tensors:
            getattr(layer.norm, name).copy_(torch.cat([case.tensors[one] for one in blocks]))
    return layer


def _arrange_kan(named: dict[str, Tensor], layer: nn.Module) -> dict[str, Tensor]:
    """Concatenate the blocks of channels, and put the functions of a channel side by side."""
    parts: dict[str, list[Tensor]] = {}
    for name, target in _kan_names(named).items():
        full = f"{target}.{name.rpartition('.')[2]}" if target == "norm" else target
        parts.setdefault(full, []).append(named[name])
    places = dict(layer.named_parameters()) | dict(layer.named_buffers())
    out: dict[str, Tensor] = {}
    for name, values in parts.items():
        value = torch.cat([one.reshape(-1, *places[name].shape[1:]) for one in values])
        if name == "weight" and layer.basis in ("gram", "legendre", "jacobi"):
            per_channel = value.unflatten(1, (layer.functions, -1))
            value = per_channel.transpose(1, 2).flatten(1, 2)
        out[name] = value
    return out


def _kan_entry(axes: int, kind: str) -> Entry:
    return Entry(
        lambda case: _kan(axes, KAN_BASES[kind], case),
        arrange=_arrange_kan,
        aside=("grid", "param.rbf.grid", "buffer.arange"),
    )


def _kan_network(case: Case) -> nn.Module:
    config = case.config
    if config["degree_out"] >= 2:
        raise Refused(f"degree_out={config['degree_out']}: a KAN layer as the head; the reports use degree_out = 1")
    refuse(case, l1_penalty="a penalty on the weights")
    if not config["affine"]:
        raise Refused("affine=False: batch normalisation without weights")
    settings = {"basis": "rbf", "grid_size": config["grid_size"]}

    def layer(inputs: int, outputs: int, **more: Any) -> nn.Module:
        more["norm_layer"] = _norm(config["norm"])
        return cnn.KANConv2d(inputs, outputs, **settings | more)

    sizes, strides = config["layer_sizes"], config["strides"]
    if strides[0] != 1:
        raise Refused(f"strides={strides}: a stride of the first layer")
    channels = {"in_channels": config["input_channels"], "num_classes": config["num_classes"]}
    network = KANNetwork(sizes, strides[1:], layer, **channels, kan_groups=config["groups"]).double()
    for i, one in enumerate(network.layers):
        _with_statistics(one, case, f"layers.{i}." + ("module." if i else ""))
    return network


def _arrange_network(named: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Arrange every layer by itself."""
    out = {name: value for name, value in named.items() if name.startswith("head.")}
    for i, layer in enumerate(network.layers):
        start = f"layers.{i}."
        own = {name.removeprefix(start): value for name, value in named.items() if name.startswith(start)}
        out |= {f"{start}{name}": value for name, value in _arrange_kan(own, layer).items()}
    return out


def _triangular(orders: tuple[str, ...]) -> Entry:
    return Entry(
        lambda case: _triangular_conv(orders, case),
        names={"conv_tl": "TL", "conv_tr": "TR", "conv_bl": "BL", "conv_br": "BR", "conv": ""},
        arrange=_arrange_corners,
        call=lambda ours, x: ours.convolve(x, ours.weight),  # the published gradient is that of fixed taps too
        also=_inverted,
    )


def _triangular_conv(orders: tuple[str, ...], case: Case) -> nn.Module:
    config = case.config
    if config["in_channels"] != config["out_channels"]:
        raise Refused(f"out_channels={config['out_channels']}: only in == out can be inverted")
    order = config.get("order")
    orders = (order,) if order else orders
    return TriangularConv2d(config["in_channels"], kernel_size=_sides(config["kernel_size"]), orders=orders)


def _arrange_corners(named: dict[str, Tensor], ours: TriangularConv2d) -> dict[str, Tensor]:
    """Mirror the kernel of each corner, and join them."""
    kernels = [named.get(f"{order}.weight", named.get("weight")) for order in ours.orders]
    mirrored = [one.flip(AXES_FLIPPED[order]) for one, order in zip(kernels, ours.orders, strict=True)]
    return {"weight": torch.cat(mirrored)}


def _inverted(ours: TriangularConv2d, case: Case) -> dict[str, Tensor]:
    x = case.tensors["input"]
    torch.testing.assert_close(ours.kernel, ours.weight, rtol=0, atol=0)
    found = {"inverse_output": ours.inverse(case.tensors["inverse_input"])}
    found |= dict.fromkeys(("logdet", "logdet_jacobian"), ours(x)[1][0])
    free = dict(zip(ours.orders, ours.free.chunk(len(ours.orders)), strict=True))
    masks = {order: one.flip(AXES_FLIPPED[order]) for order, one in free.items()}
    alone = (
        dict.fromkeys(("mask.conv.weight", "mask.conv.conv.weight"), masks[ours.orders[0]]) if len(masks) == 1 else {}
    )
    return found | alone | {f"mask.conv_{order.lower()}.conv.weight": mask for order, mask in masks.items()}


def _flow(case: Case) -> nn.Module:
    config = case.config
    if not config["actnorm"]:
        raise Refused("actnorm=False: steps without ActNorm")
    if config["preprocessing"]:
        raise Refused("preprocessing=True: noise that is drawn")
    channels, sides = config["size"][0], tuple(config["kernel"])
    form = case.pick("levels", "steps", "width", "split_prior")
    return FInCFlow(channels, kernel_size=sides, values=0, **form)


def _arrange_flow(named: dict[str, Tensor], flow: FInCFlow) -> dict[str, Tensor]:
    """Number the layers of the published list, which goes through all levels and splits."""
    places, number = {}, 0
    for i, level in enumerate(flow.levels):
        for j, _ in enumerate(level.layers):
            places[number] = f"levels.{i}.layers.{j}"
            number += 1
        if i < len(flow.splits):
            places[number] = f"splits.{i}"
            number += 1
    out: dict[str, Tensor] = {}
    for number, place in places.items():
        start = f"{number}."
        own = {name.removeprefix(start): value for name, value in named.items() if name.startswith(start)}
        layer = flow.get_submodule(place)
        if isinstance(layer, TriangularConv2d):
            own = _arrange_corners(own, layer)
        out |= {f"{place}.{name.removeprefix('transform.')}": value for name, value in own.items()}
    return out


def _run_flow(flow: FInCFlow, x: Tensor) -> tuple[Tensor, Tensor]:
    latents, log_prob = flow(x)
    return latents[-1], log_prob


_CORNERS = {"conv_tl": "TL", "conv_tr": "TR", "conv_bl": "BL", "conv_br": "BR", "conv": "", "W": "weight"}


def _masks(flow: FInCFlow, case: Case) -> dict[str, Tensor]:
    units = [part for part in flow.modules() if isinstance(part, TriangularConv2d)]
    names = sorted({int(name.split(".")[1]) for name in case.tensors if name.startswith("mask.")})
    found = {}
    for number, unit in zip(names, units, strict=True):
        for order, free in zip(unit.orders, unit.free.chunk(4), strict=True):
            found[f"mask.{number}.conv_{order.lower()}.conv.weight"] = free.flip(AXES_FLIPPED[order])
    return found


def _coordinates(case: Case) -> Any:
    group, alpha = case.config["group"], case.config["metric_alpha"]

    def call(g: Tensor) -> dict[str, Tensor]:
        log_p, p, r = lie.polar(g)
        theta = lie.angle(r, centered=False)
        elements = lie.basis(group, alpha, like=g)
        turn = elements[3 if group == "gl2" else 1]
        xi = lie.coordinates(g, group, alpha, centered=False)
        torch.testing.assert_close(lie.element(xi, group, alpha), g, rtol=0, atol=1e-12)
        factors = {"polar.p": p, "polar.r": r, "cartan.log_p": log_p, "sqrtpolar.s": g @ g.mT, "so2.theta": theta}
        bases = {
            "basis.group": elements,
            "basis.so2": turn[None],
            "basis.spd": lie.symmetric_basis(group, alpha, like=g),
        }
        return {"output": xi, "so2.logm": theta[:, None, None] * turn} | factors | bases

    return call


def _from_tangent(case: Case) -> Any:
    group, alpha = case.config["group"], case.config["metric_alpha"]

    def call(v: Tensor, theta: Tensor) -> dict[str, Tensor]:
        drawn = lie.from_tangent(v, theta, group, alpha)
        unturned = lie.from_tangent(2 * v, torch.zeros_like(theta), group, alpha).g
        return {"output": drawn.g, "output_inverse": drawn.inverse, "spd": unturned, "rotation": lie.rotation(theta)}

    return call


def _group_conv(kind: type, case: Case) -> nn.Module:
    config, inr = case.config, case.config["inr"]
    if inr["type"] != "SIREN" or inr["first_w0"] != inr["w0"]:
        raise Refused(f"inr={inr}: another kernel function than a SIREN of one frequency")
    if not config["masked"] or config["grid_type"] != "affine":
        raise Refused("masked=False or another grid_type: kernels without an end, other points")
    form = case.pick("group", "metric_alpha", "kernel_size", "padding", "stride")
    form |= {"kernel_hidden": inr["hidden_features"], "num_hidden": inr["num_hidden"], "w0": inr["w0"]}
    return kind(config["in_channels"], config["out_channels"], centered=False, dtype=torch.double, **form)


def _samples(case: Case) -> lie.Samples:
    return lie.Samples(case.tensors["g"], case.tensors["g_inv"])


def _inputs(case: Case) -> lie.Samples:
    """Return the elements h' of the input, whose determinants the published code gives to the output's axis."""
    g = case.tensors["buffer.g_tilde"]
    return lie.Samples(g, torch.linalg.inv(g))


def _lift_kernel(ours: cnn.LiftConv2d, case: Case) -> dict[str, Tensor]:
    torch.testing.assert_close(ours.points.permute(2, 1, 0), case.tensors["buffer.grid"], rtol=0, atol=1e-15)
    return {"kernel": ours.weight(_samples(case))}


class _Lifted(nn.Module):
    """A lifting with the elements of a case."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.layer, self.samples = _group_conv(cnn.LiftConv2d, case), _samples(case)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, self.samples)


class _Convolved(nn.Module):
    """A group convolution with the elements of a case, and its determinants where the published code has them."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.layer, self.samples, self.inputs = _group_conv(cnn.GroupConv2d, case), _samples(case), _inputs(case)

    def weight(self) -> Tensor:
        weight = self.layer.weight(self.samples, self.inputs)
        if self.layer.group == "gl2":
            size = torch.linalg.det(self.inputs.g).abs()
            weight = weight * size.view(-1, 1, 1) / size.view(-1, 1, 1, 1, 1)
        return weight

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight()
        bias = self.layer.bias.repeat_interleave(weight.shape[1])
        out = torch.conv2d(x.flatten(1, 2), weight.flatten(2, 3).flatten(0, 1), bias, padding=self.layer.grid.padding)
        return out.unflatten(1, weight.shape[:2])


def _sine_names(case: Case) -> dict[str, str | None]:
    count = case.config["inr"]["num_hidden"] + 1
    names: dict[str, str | None] = {"bias": "layer.bias"}
    for i in range(count):
        published = f"inr.kernel_net.net.{i}"
        names[f"{published}.act_layer"] = None
        for part in ("weight", "bias"):
            names[f"{published}.linear.{part}"] = f"layer.kernel.layers.{i}.{part}"
    return names | {f"inr.final_linear.{part}": f"layer.kernel.last.{part}" for part in ("weight", "bias")}


_OF_GROUP = ("basis.basis_matrix", "orthogonal.basis_matrix", "orthogonal.pi", "spd.basis.basis_matrix")
_OF_SAMPLER = ("spd_sampler.cov", "spd_sampler.mean", "spd_sampler.mean_sym")
_BUFFERS = (*(f"buffer.group.{name}" for name in (*_OF_GROUP, *_OF_SAMPLER)), "buffer.g_inv", "buffer.g_tilde")


ENTRIES = (
    {f"kan_convs.{kind}Conv{axes}DLayer": _kan_entry(axes, kind) for kind in KAN_BASES for axes in KAN}
    | {
        "SimpleFastConvKAN network": Entry(
            _kan_network, names={"module": "", "rbf": None, "output.1": "head.3"}, arrange=_arrange_network
        ),
        "PaddedConv2d": _triangular(("TL",)),
        "FastFlowUnit": _triangular(ORDERS),
        "CINCFlowUnit": _triangular(("TL",)),
        "FInC Flow network": Entry(
            _flow,
            outputs=("output", "log_prob"),
            names=_CORNERS,
            arrange=_arrange_flow,
            call=_run_flow,
            also=_masks,
            aside=tuple(f"buffer.{i}.initialized" for i in range(1000)),
        ),
        "left_xi_inv": Entry(_coordinates),
        "sample_from_tangent": Entry(_from_tangent, inputs=("input", "theta")),
        "LiftGConv2d": Entry(
            _Lifted, names=_sine_names, also=lambda ours, case: _lift_kernel(ours.layer, case), aside=_BUFFERS
        ),
    }
    | {
        name: Entry(_Convolved, names=_sine_names, also=lambda ours, _: {"kernel": ours.weight()}, aside=_BUFFERS)
        for name in ("GConv2d", "GroupConv2d", "GConv2dS", "RnGConv2d")
    }
)
