"""What a layer costs on small, middling and large maps, and what the cheaper searches save."""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks.contestants import Case, K, step
from benchmarks.photographs import photographic_features
from convnn.bench.measure import milliseconds, ratio
from convnn.nn import Branching2d, ConvNN2d, ConvNNPos2d

CONTESTANTS: dict[str, Callable[[int, int], nn.Module]] = {
    "Conv2d": partial(nn.Conv2d, kernel_size=3, padding=1),
    "ConvNN, K = 9": partial(ConvNN2d, K=K),
    "Branching, half ConvNN": partial(Branching2d.with_convnn, K=K, branch_ratio=0.5),
    "ConvNN, clustered search": partial(ConvNN2d, K=K, search="clustered"),
    "ConvNN of 64 random candidates": partial(ConvNN2d, K=K, sampling_type="random", num_samples=64),
    "ConvNN of a grid of 8 x 8 candidates": partial(ConvNN2d, K=K, sampling_type="spatial", num_samples=8),
    "ConvNN_Pos": ConvNNPos2d,
}
"""The convolution, the exact search over the whole map, and the ways around that search."""


def measure_map_sizes(batch: int, sides: tuple[int, ...], repeats: int) -> list[dict[str, Any]]:
    """Forward alone, and forward and backward, of 64 channels to 64 on square maps of each size."""
    results = []
    for side in sides:
        case = Case(batch, side, 64, 64)
        result: dict[str, Any] = {"case": case._asdict()}
        for phase in ("forward", "training"):
            times = milliseconds({name: _make_step(name, case, phase == "training") for name in CONTESTANTS}, repeats)
            result[phase] = {
                name: {"ms": statistics.median(times[name]), "times Conv2d": ratio(times, name, "Conv2d")}
                for name in CONTESTANTS
            }
        print(result, flush=True)
        results.append(result)
    return results


def _make_step(name: str, case: Case, training: bool) -> Callable[[], object]:
    torch.manual_seed(0)
    layer = CONTESTANTS[name](case.inputs, case.outputs).to(memory_format=torch.channels_last)
    x = photographic_features(case.batch, case.inputs, case.side).contiguous(memory_format=torch.channels_last)
    return partial(step, layer, x.requires_grad_(training), training)
