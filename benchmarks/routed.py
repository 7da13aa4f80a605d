"""Kernels mixed for every sample, against a convolution of the same shape and against the published form."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.contestants import Case, step
from convnn.bench.measure import milliseconds, ratio
from convnn.nn import CondConv2d, FDConv2d

FREQUENCIES = {"frequency_groups": 64, "plain_up_to": 0}
"""As published."""


class GroupedCondConv(CondConv2d):
    """CondConv as published: one convolution whose groups are the samples."""

    def _forward(self, x: Tensor) -> Tensor:
        weight = self.shares(x) @ self.weight.flatten(1)
        weight = weight.view(-1, *self.weight.shape[2:])
        out = F.conv2d(x.reshape(1, -1, *x.shape[2:]), weight, padding=1, groups=x.shape[0])
        return out.view(x.shape[0], -1, *out.shape[2:])


class FourierFDConv(FDConv2d):
    """FDConv as published: bands by the Fourier transform, a transform of the kernel for every sample, groups."""

    def _forward(self, x: Tensor) -> Tensor:
        assert self.modulation is not None
        assert self.local is not None
        means = x.flatten(2).mean(2)
        outputs, inputs, shares = self.modulation(means)
        spectrum = torch.view_as_complex(self.spectrum[0] * self.scale)
        total = shares[:, self.group[0].flatten()].view(-1, *spectrum.shape) * spectrum
        weight = torch.fft.irfft2(total, s=(self.out_channels * 3, self.in_channels * 3))
        weight = weight.view(-1, self.out_channels, 3, self.in_channels, 3).transpose(2, 3)
        factors = self.local(means, inputs) * outputs[:, :, None, None]
        weight = weight * factors.unflatten(2, (3, 3)).movedim(4, 2)
        mixed = self.by_fourier(x).reshape(1, -1, *x.shape[2:])
        out = F.conv2d(mixed, weight.flatten(0, 1), padding=1, groups=x.shape[0])
        return out.view(x.shape[0], -1, *out.shape[2:])

    def by_fourier(self, x: Tensor) -> Tensor:
        assert self.bands is not None
        spectrum, (height, width) = torch.fft.rfft2(x), x.shape[2:]
        high = torch.maximum(torch.fft.fftfreq(height).abs()[:, None], torch.fft.rfftfreq(width))
        factors, outer, out = 2 * self.bands.gates(x).sigmoid(), x, 0
        for i, divisor in enumerate(self.bands.divisors):
            low = torch.fft.irfft2(spectrum * (high < 0.5 / divisor + 1e-8), s=(height, width))
            out, outer = out + (outer - low) * factors[:, i : i + 1], low
        return out + outer


def measure_routed(cases: list[Case], repeats: int) -> list[dict[str, Any]]:
    """Measure training steps and forward passes, interleaved, and compare the results with those of the old forms."""
    return [_measure(case, repeats) for case in cases]


LAYERS: dict[str, Callable[[int, int], nn.Module]] = {
    "Conv2d": lambda i, o: nn.Conv2d(i, o, 3, padding=1, bias=False),
    "CondConv": lambda i, o: CondConv2d(i, o, bias=False),
    "CondConv, published form": lambda i, o: GroupedCondConv(i, o, bias=False),
    "FDConv": lambda i, o: FDConv2d(i, o, bias=False, **FREQUENCIES),
    "FDConv, 4 groups": lambda i, o: FDConv2d(i, o, bias=False, plain_up_to=0),
    "FDConv, published form": lambda i, o: FourierFDConv(i, o, bias=False, **FREQUENCIES),
}


def _measure(case: Case, repeats: int) -> dict[str, Any]:
    torch.manual_seed(0)
    layers = {name: make(case.inputs, case.outputs) for name, make in LAYERS.items()}
    for name in ("CondConv", "FDConv"):
        layers[f"{name}, published form"].load_state_dict(layers[name].state_dict())
    x = torch.randn(case.batch, case.inputs, case.side, case.side)
    agrees = all(_agree(layers[name], layers[f"{name}, published form"], x[:2]) for name in ("CondConv", "FDConv"))
    result: dict[str, Any] = {"case": case._asdict(), "agrees": agrees}
    for phase in ("forward", "training"):
        given = x.requires_grad_(phase == "training")
        times = milliseconds({n: partial(step, one, given, phase == "training") for n, one in layers.items()}, repeats)
        result[phase] = {
            name: {"ms": statistics.median(times[name]), "times Conv2d": ratio(times, name, "Conv2d")} for name in times
        }
        for name in ("CondConv", "FDConv"):
            result[phase][name]["times published"] = ratio(times, name, f"{name}, published form")
    print(result, flush=True)
    return result


@torch.no_grad()
def _agree(ours: nn.Module, published: nn.Module, x: Tensor) -> bool:
    return torch.allclose(ours.eval()(x), published.eval()(x), atol=1e-3) and bool(ours.train() and published.train())
