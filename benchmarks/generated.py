"""Long convolutions and the generation of kernels: time over the length, memory, and shares of a training step."""

import math
import statistics
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.contestants import Case
from convnn.bench.measure import Action, milliseconds, peak_megabytes, ratio
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
        forward, training = _times(length, ways, repeats, training=False), {}
        if length <= LONGEST_DIRECT:
            training = _times(length, {name: ways[name] for name in ("FFT", "direct")}, repeats, training=True)
        memory = peak_megabytes(_convolution, length) if with_memory else None
        rows.append({"length": length, "ms": forward, "training": training, "megabytes": memory})
    first, last = rows[0], rows[-1]
    growth = math.log(last["ms"]["FFT"] / first["ms"]["FFT"]) / math.log(last["length"] / first["length"])
    shares = {name: _shares(name, case, repeats) for name in GENERATED}
    return {"rows": rows, "exponent": growth, "case": case._asdict(), "generation": shares}


def _times(length: int, ways: dict[str, str], repeats: int, *, training: bool) -> dict[str, float]:
    """Return the median time of each way, forward or forward and backward."""
    x, kernel = _inputs(length)
    x.requires_grad_(training), kernel.requires_grad_(training)

    def run(way: str) -> None:
        out = convolve(x, kernel, **_geometry(length, way))
        if training:
            torch.autograd.grad(out, (x, kernel), torch.ones_like(out))

    times = milliseconds({name: partial(run, way) for name, way in ways.items()}, repeats)
    return {name: statistics.median(ms) for name, ms in times.items()}


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
    """Return the times of a training step and of the generation of its kernel, both ways, and the share of this."""
    torch.manual_seed(0)
    layer = GENERATED[name](case.inputs, case.outputs)
    x = torch.randn(case.batch, case.inputs, case.side, case.side, requires_grad=True)

    def generate() -> None:
        layer.operator.sampled((case.side, case.side))[0].sum().backward()

    times = milliseconds({"step": lambda: layer(x).sum().backward(), "generation": generate}, repeats)
    step, generation = (statistics.median(times[name]) for name in ("step", "generation"))
    return {"ms": step, "generation": generation, "share": ratio(times, "generation", "step")}


def lengths_table(results: dict[str, Any]) -> str:
    """A row a length: the time of each way, forward; forward and backward."""
    measured = results["generated"]
    head = ["length and taps", "FFT, ms", "butterfly, ms", "direct, ms", "FFT, times faster", "memory of FFT, MB"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for one in measured["rows"]:
        phases = [times for times in (one["ms"], one.get("training")) if times]
        cells = ["; ".join(f"{times[name]:.1f}" for times in phases if name in times) for name in WAYS]
        cells.append("; ".join(f"{times['direct'] / times['FFT']:.1f}" for times in phases if "direct" in times))
        memory = "" if one["megabytes"] is None else f"{one['megabytes']:.1f}"
        lines.append("| " + " | ".join([f"{one['length']:,}", *cells, memory]) + " |")
    return (
        "### Long convolutions\n\n"
        "A causal kernel as long as the signal for each of 16 channels, batch 4. Forward; forward and backward. The"
        f" forward time by FFT grows with the length to the power of {measured['exponent']:.2f}. Memory is that of the"
        " forward pass above the inputs.\n\n" + "\n".join(lines) + "\n"
    )


def generation_table(results: dict[str, Any]) -> str:
    """A row a layer: the time of a training step, and that of the generation of its kernel."""
    measured = results["generated"]
    head = ["layer", "training step, ms", "generation of its kernel, ms", "share of the step"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, one in measured["generation"].items():
        generation = one.get("generation", one["ms"] * one["share"])
        cells = [f"{one['ms']:.1f}", f"{generation:.1f}", f"{100 * one['share']:.1f} %"]
        lines.append("| " + " | ".join([name, *cells]) + " |")
    return (
        f"### Generation of kernels, {Case(**measured['case'])}\n\n"
        "Both forward and backward; the step computes the layer once, its kernel included.\n\n"
        + "\n".join(lines)
        + "\n"
    )
