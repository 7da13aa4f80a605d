"""All layers on maps: ConvNN, its variants, and the layers of other papers."""

import statistics
from functools import partial
from typing import Any

import torch

from benchmarks.contestants import Case, network_layer, step
from convnn.bench.measure import milliseconds, peak_megabytes, ratio
from convnn.nn import list_layers
from convnn.train.summary import summarize


def measure_family(case: Case, repeats: int, with_memory: bool) -> dict[str, Any]:
    """Measure a training step and a forward pass of each layer with the default settings of networks."""
    names = list_layers("maps")
    training = milliseconds({name: _make_step(name, case, True)[1] for name in names}, repeats)
    forward = milliseconds({name: _make_step(name, case, False)[1] for name in names}, repeats)
    rows: dict[str, Any] = {}
    for name in names:
        summary = summarize(network_layer(name, "auto")(case.inputs, case.outputs), (case.inputs, case.side, case.side))
        rows[name] = {
            "parameters": summary.parameters,
            "GFLOPs": summary.gflops,
            "forward ms": statistics.median(forward[name]),
            "training ms": statistics.median(training[name]),
            "times Conv2d": ratio(training, name, "Conv2d"),
            "MB": peak_megabytes(_make_step, name, case, True) if with_memory else None,
        }
        print(name, rows[name], flush=True)
    return {"case": case._asdict(), "rows": rows}


def _make_step(name: str, case: Case, training: bool) -> tuple[Any, Any]:
    torch.manual_seed(0)
    layer = network_layer(name, "auto")(case.inputs, case.outputs).to(memory_format=torch.channels_last)
    maps = [torch.randn(batch, case.inputs, case.side, case.side) for batch in (1, case.batch)]
    maps = [x.contiguous(memory_format=torch.channels_last).requires_grad_(training) for x in maps]
    return partial(step, layer, maps[0], training), partial(step, layer, maps[1], training)
