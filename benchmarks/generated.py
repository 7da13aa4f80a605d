"""Long convolutions and the generation of kernels: time over the length, memory, and shares of a training step."""

import math
import statistics
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.contestants import Case
from convnn.bench.measure import Action, milliseconds, peak_megabytes
from convnn.nn import CCNNConv2d, CKConv2d, FlexConv2d, SMPConv2d, convolve

BATCH, CHANNELS = 4, 16
WAYS = {"FFT": "always", "butterfly": "butterfly", "direct": "never"}
LONGEST_DIRECT = 4096
GENERATED = {"CKConv": CKConv2d, "SMPConv": SMPConv2d, "FlexConv": FlexConv2d, "CCNNConv": CCNNConv2d}


def measure_generated(lengths: tuple[int, ...], case: Case, repeats: int, *, with_memory: bool) -> dict[str, Any]:
    """Measure causal kernels as long as the signal, and the generation of the kernels of layers on maps."""
    rows = []
    for length in lengths:
        ways = {name: way for name, way in WAYS.items() if name != "direct" or length <= LONGEST_DIRECT}
        x, kernel = _inputs(length)
        actions = {name: partial(convolve, x, kernel, **_geometry(length, way)) for name, way in ways.items()}
        times = {name: statistics.median(ms) for name, ms in milliseconds(actions, repeats).items()}
        memory = peak_megabytes(_convolution, length) if with_memory else None
        rows.append({"length": length, "ms": times, "megabytes": memory})
    first, last = rows[0], rows[-1]
    growth = math.log(last["ms"]["FFT"] / first["ms"]["FFT"]) / math.log(last["length"] / first["length"])
    shares = {name: _shares(name, case, repeats) for name in GENERATED}
    return {"rows": rows, "exponent": growth, "case": case._asdict(), "generation": shares}


def _inputs(length: int) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(BATCH, CHANNELS, length), torch.randn(CHANNELS, 1, length)


def _geometry(length: int, way: str) -> dict[str, Any]:
    return {"before": length - 1, "groups": CHANNELS, "use_fft": way}


def _convolution(length: int) -> tuple[Action, Action]:
    x, kernel = _inputs(length)
    small = _inputs(64)
    warm_up = partial(convolve, *small, **_geometry(64, "always"))
    return warm_up, partial(convolve, x, kernel, **_geometry(length, "always"))


def _shares(name: str, case: Case, repeats: int) -> dict[str, float]:
    """Return the time of a training step, and the share of the generation of the kernel, forward and backward."""
    torch.manual_seed(0)
    layer = GENERATED[name](case.inputs, case.outputs)
    x = torch.randn(case.batch, case.inputs, case.side, case.side, requires_grad=True)

    def generate() -> None:
        layer.operator.sampled((case.side, case.side))[0].sum().backward()

    times = milliseconds({"step": lambda: layer(x).sum().backward(), "generation": generate}, repeats)
    step = statistics.median(times["step"])
    return {"ms": step, "share": statistics.median(times["generation"]) / step}
