"""Sliding windows: convolutions of few channels by rows that are moved, instead of a matrix of unfolded windows."""

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from convnn.bench.measure import Action, peak_megabytes
from convnn.ops import sliding_conv

SYSTEM = "Sliding convolution"
CLAIM = "Convolution by sliding windows is quicker than unfolding and a matrix product, and needs none of its memory."
EXPERIMENT = (
    "Processor time of a float32 convolution in the compiled core, of unfolding and a matrix product (im2col), and of"
    " PyTorch's convolution, one thread, medians of 3 turns: 1 channel on 256 x 256, 4 on 128 x 128, 16 on 64 x 64 and"
    " 64 on 32 x 32, to as many. Memory: the peak of a process above its input of 4 MB, one channel on 1024 x 1024,"
    " 7 x 7."
)
SEEDS = (0, 1, 2)
SHAPES = {1: 256, 4: 128, 16: 64, 64: 32}  # side of the map by number of channels
KINDS = ("sliding", "im2col", "PyTorch")


def measure(seeds: list[int], quick: bool) -> Outcome:
    rows, gains = [["channels", "side of the kernel", "sliding, ms", "im2col / sliding", "PyTorch / sliding"]], {}
    for channels, side in SHAPES.items():
        for kernel in (3, 7) if quick else (3, 7, 17):
            times = [milliseconds(channels, side, kernel, seed, 1 if quick else 3) for seed in seeds]
            ours, others = [one["sliding"] for one in times], [[t[k] / t["sliding"] for t in times] for k in KINDS[1:]]
            gains[channels, kernel] = min(others[0])
            rows.append([f"{channels} -> {channels}", f"{kernel}", spread(ours, ".2f"), *map(spread, others)])
    side = 256 if quick else 1024
    above = {kind: peak_megabytes(make, kind, side) for kind in KINDS}
    rows += [[f"memory of {kind}, MB", f"{above[kind]:.0f}", "", "", ""] for kind in KINDS]
    few = [gain for (channels, kernel), gain in gains.items() if channels <= 16 and kernel >= 7]
    many = [gain for (channels, _), gain in gains.items() if channels == 64]
    return Outcome(
        rows,
        {
            "from 7 x 7 on, up to 16 channels take less than half of im2col's time": min(few) > 2,
            "so do 64 channels": min(many) > 2,
            "memory above the input is less than twice the input": above["sliding"] < 2 * 4 * side**2 / 2**20,
        },
    )


def milliseconds(channels: int, side: int, kernel: int, seed: int, turns: int) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(1, channels, side, side, generator=generator)
    weight = torch.randn(channels, channels, kernel, kernel, generator=generator)
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for turn in range(turns + 1):
        for kind, action in actions(x, weight).items():
            start = time.process_time()
            action()
            if turn:  # the first one warms up
                times[kind].append(1000 * (time.process_time() - start))
    return {kind: median(found) for kind, found in times.items()}


def actions(x: Tensor, weight: Tensor) -> dict[str, Callable[[], Tensor]]:
    padding = weight.shape[-1] // 2
    ways = (
        lambda: sliding_conv(x, weight, padding=padding, backend="cpu"),
        lambda: weight.flatten(1) @ F.unfold(x, weight.shape[-1], padding=padding),
        lambda: F.conv2d(x, weight, padding=padding),
    )
    return dict(zip(KINDS, ways, strict=True))


def make(kind: str, side: int) -> tuple[Action, Action]:
    torch.set_num_threads(1)
    weight = torch.randn(1, 1, 7, 7)
    small, large = (actions(torch.randn(1, 1, one, one), weight)[kind] for one in (32, side))
    return small, large
