"""Layers of a special structure against their published form in plain PyTorch."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.contestants import Case, step
from convnn.bench.measure import milliseconds, ratio
from convnn.nn import FInC2d, KANConv2d, LieConv2d
from convnn.nn.lie_groups.decomposition import draw
from convnn.ops import triangular


def measure_structured(case: Case, repeats: int) -> dict[str, Any]:
    """Measure forward and backward of each layer and of its published form, and the inverse of FInC."""
    rows: dict[str, Any] = {}
    for name, (ours, published) in _pairs(case).items():
        x = torch.randn(case.batch, case.inputs, case.side, case.side, requires_grad=True)
        contestants = {"ours": partial(step, ours, x, True), "published": partial(step, published, x, True)}
        rows[name] = _row(milliseconds(contestants, repeats))
        print(name, rows[name], flush=True)
    kernel = FInC2d(case.inputs).kernel.detach()
    z = torch.randn(case.batch, case.inputs, case.side, case.side)
    inverse = {
        "ours": lambda: triangular.solve(z, kernel, 4),
        "published": lambda: by_position(z, kernel),
    }
    rows["inverse of FInC"] = _row(milliseconds(inverse, repeats))
    print("inverse of FInC", rows["inverse of FInC"], flush=True)
    return {"case": case._asdict(), "rows": rows}


def _row(times: dict[str, list[float]]) -> dict[str, float]:
    return {
        "ms": statistics.median(times["ours"]),
        "published ms": statistics.median(times["published"]),
        "times published": ratio(times, "ours", "published"),
    }


def _pairs(case: Case) -> dict[str, tuple[nn.Module, nn.Module]]:
    inputs, outputs = case.inputs, case.outputs
    pairs: dict[str, tuple[nn.Module, nn.Module]] = {}
    for basis, expand in EXPANSIONS.items():
        layer = KANConv2d(inputs, outputs, basis=basis, norm_layer="none", padding=1)
        pairs[f"KANConv, {basis}"] = layer, PublishedKAN(layer, expand)
    pairs["FInC"] = _OutputOf(FInC2d(inputs)), PublishedFInC(inputs)
    lie = LieConv2d(inputs, outputs, padding=2)
    return pairs | {"LieConv": (lie, PublishedLift(lie))}


def _splines(x: Tensor) -> Tensor:
    knots = torch.linspace(-1 - 1.2, 1 + 1.2, 12).view(-1, *[1] * (x.dim() - 1))
    u = x.unsqueeze(2)
    knots = knots.view(12, 1, 1)
    found = ((u >= knots[:-1]) & (u < knots[1:])).to(x.dtype)
    for k in range(1, 4):
        left = (u - knots[: -k - 1]) / (knots[k:-1] - knots[: -k - 1])
        right = (knots[k + 1 :] - u) / (knots[k + 1 :] - knots[1:-k])
        found = left * found[:, :, :-1] + right * found[:, :, 1:]
    return found.flatten(1, 2)


def _cosines(x: Tensor) -> Tensor:
    angles = x.tanh().clamp(-1 + 1e-7, 1 - 1e-7).acos().unsqueeze(2)
    return (angles * torch.arange(4.0).view(4, 1, 1)).cos().flatten(1, 2)


def _gaussians(x: Tensor) -> Tensor:
    centers = torch.linspace(-2, 2, 8)
    return torch.exp(-(((x.unsqueeze(-1) - centers) / (4 / 7)) ** 2)).moveaxis(-1, 2).flatten(1, 2)


def _legendre(x: Tensor) -> Tensor:
    t = 2 * (x - x.min()) / (x.max() - x.min()) - 1
    return torch.cat([torch.ones_like(t), t, 1.5 * t * t - 0.5, (5 * t * (1.5 * t * t - 0.5) - 2 * t) / 3], 1)


EXPANSIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "spline": _splines,
    "rbf": _gaussians,
    "chebyshev": _cosines,
    "legendre": _legendre,
}


class PublishedKAN(nn.Module):
    """A convolution of the functions, and one of the activated map."""

    def __init__(self, layer: KANConv2d, expand: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.expand, self.base, self.weight = expand, layer.base, nn.Parameter(layer.weight.detach().clone())
        self.base_weight = None if layer.base_weight is None else nn.Parameter(layer.base_weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        out = F.conv2d(self.expand(x), self.weight, padding=1)
        return out if self.base is None else F.conv2d(self.base(x), self.base_weight, padding=1) + out


class _OutputOf(nn.Module):
    """The output of an invertible layer, without its determinant."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class PublishedFInC(nn.Module):
    """Four padded convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(channels // 4, channels // 4, 3, bias=False) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        margins = ((2, 0, 2, 0), (0, 2, 2, 0), (2, 0, 0, 2), (0, 2, 0, 2))
        parts = zip(self.convs, x.chunk(4, 1), margins, strict=True)
        return torch.cat([conv(F.pad(part, margin)) for conv, part, margin in parts], 1)


class PublishedLift(nn.Module):
    """A lifting and the largest over the elements, kernel by kernel as published."""

    def __init__(self, layer: LieConv2d) -> None:
        super().__init__()
        self.kernel, self.outputs = layer.lift.kernel, layer.out_channels
        self.points, self.number = layer.lift.points, layer.num_gsamples

    def forward(self, x: Tensor) -> Tensor:
        places = torch.einsum("nij,yxj->nyxi", draw(self.number, "sl2").inverse, self.points)
        values = self.kernel(places) * (places.norm(dim=-1, keepdim=True) <= 1)
        weight = values.unflatten(-1, (self.outputs, -1)).permute(3, 0, 4, 1, 2)
        out = F.conv2d(x, weight.flatten(0, 1), padding=2).unflatten(1, (self.outputs, -1))
        return out.max(2).values


def by_position(z: Tensor, kernel: Tensor) -> Tensor:
    """Undo four triangular convolutions of 3 x 3, one position after the other."""
    taps, seen = kernel.unflatten(0, (4, -1)).flatten(3), z.unflatten(1, (4, -1))
    x = F.pad(torch.zeros_like(seen), (2, 0, 2, 0))
    for i in range(z.shape[2]):
        for j in range(z.shape[3]):
            before = torch.einsum("gock,bgck->bgo", taps[..., :-1], x[..., i : i + 3, j : j + 3].flatten(3)[..., :-1])
            rest = (seen[..., i, j] - before).unsqueeze(-1)
            x[..., i + 2, j + 2] = torch.linalg.solve_triangular(taps[..., -1], rest, upper=False)[..., 0]
    return x[..., 2:, 2:].flatten(1, 2)
