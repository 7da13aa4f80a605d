"""Single layers of each contestant."""

import statistics
from typing import Any

import torch

from benchmarks.contestants import LAYERS, Case, make_step
from convnn.bench.measure import milliseconds, peak_megabytes, ratio
from convnn.nn import LayerFactory

SLOW_TO = 64  # the largest side in `measure_sizes` of contestants that write T x T scores


def measure_layer(case: Case, repeats: int, with_memory: bool) -> dict[str, Any]:
    """Measure one layer of each contestant: forward alone, and forward and backward."""
    result: dict[str, Any] = {
        "case": case._asdict(),
        "agrees": layers_agree(LAYERS["ours"], LAYERS["reference"], case),
    }
    for training in (False, True):
        times = milliseconds({name: make_step(name, case, training)[1] for name in LAYERS}, repeats)
        result["training" if training else "forward"] = {
            name: {
                "ms": statistics.median(times[name]),
                "MB": peak_megabytes(make_step, name, case, training) if with_memory and training else None,
                "images/s": 1000 * case.batch / statistics.median(times[name]),
                "ours is faster": ratio(times, name, "ours"),
            }
            for name in LAYERS
        }
    print(result, flush=True)
    return result


def layers_agree(make: LayerFactory, make_reference: LayerFactory, case: Case) -> bool:
    """Return whether output and all gradients of two layers agree, with the same weights and without dropout."""
    torch.manual_seed(0)
    layers = [one(case.inputs, case.outputs).eval() for one in (make, make_reference)]
    layers[0].load_state_dict(layers[1].state_dict())
    data = torch.randn(min(case.batch, 8), case.inputs, case.side, case.side)
    results = []
    for one in layers:
        x = data.clone().requires_grad_()
        out = one(x)
        out.backward(torch.ones_like(out))
        results.append([out.detach(), x.grad, *[p.grad for p in one.parameters()]])
    return all(near(found, expected, 1e-4) for found, expected in zip(*results, strict=True))


def near(found: torch.Tensor, expected: torch.Tensor, tolerance: float) -> bool:
    """Return whether the difference is within the tolerance, in units of the largest number."""
    return bool((found - expected).abs().max() <= tolerance * expected.abs().max())


def measure_sizes(sides: tuple[int, ...], repeats: int, with_memory: bool) -> list[dict[str, Any]]:
    """Measure time and memory of a training step over the size of the map, for one image of 64 channels."""
    points = []
    for side in sides:
        case = Case(1, side, 64, 64)
        names = [name for name in LAYERS if side <= SLOW_TO or name in ("Conv2d", "ours")]
        times = milliseconds({name: make_step(name, case, True)[1] for name in names}, repeats)
        peaks = {name: peak_megabytes(make_step, name, case, True) for name in names} if with_memory else {}
        points.append({"side": side, "ms": {name: statistics.median(times[name]) for name in names}, "MB": peaks})
        print(points[-1], flush=True)
    return points
