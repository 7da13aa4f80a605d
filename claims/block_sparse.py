"""Block-sparse attention: the attention of many frames lies in few blocks."""

from statistics import mean, median
from time import process_time

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from convnn.nn.tokens._hilbert import hilbert_order
from convnn.ops import blocks

SYSTEM = "Block-sparse attention"
CLAIM = (
    "The attention of many frames lies in few blocks, so attention to the best of them is faster at similar quality."
)
EXPERIMENT = (
    "Six overlapping crops of 224 x 224 pixels of a photograph, in patches of 8 x 8 (4,704 tokens, blocks of 128 and"
    " 64); queries and keys are their first 32 principal components, of length 16; values are random: the share of the"
    " attention in the blocks opened, the relative error of the output, and the time, as a share of attention to all."
)
SEEDS = (0, 1, 2)
BLOCK = (128, 64)
KINDS = [(order, keep) for order in ("raster", "hilbert") for keep in (0.5, 0.25)]


def measure(seeds: list[int], quick: bool) -> Outcome:
    found = {}
    for kind in KINDS:
        results = [measured(*kind, seed, 2 if quick else 6) for seed in seeds]
        found |= {(*kind, name): list(zip(*(one[name] for one in results), strict=True)) for name in results[0]}
    means = {key: [mean(column) for column in columns] for key, columns in found.items()}
    curve, raster = (means[order, 0.25, "pooled"] for order in ("hilbert", "raster"))
    held = {name: [means[(*kind, name)][0] for kind in KINDS] for name in ("pooled", "random")}
    return Outcome(
        [["order", "opened", "blocks", "attention, %", "error, %", "time, %"]]
        + [[*map(str, key), *(spread([100 * x for x in column]) for column in found[key])] for key in found],
        {
            "the best quarter of the blocks holds half of the attention": means["raster", 0.25, "best"][0] > 0.5,
            "those of the highest pooled scores hold more than random ones": all(map(float.__gt__, *held.values())),
            "along the Hilbert curve a quarter of them holds more than in raster order": curve[0] > raster[0],
            "a quarter of the blocks takes less than half of the time": max(curve[2], raster[2]) < 0.5,
            "with half of the blocks the error is below 10 %": means["hilbert", 0.5, "pooled"][1] < 0.1,
        },
    )


def measured(order: str, keep: float, seed: int, frames: int) -> dict[str, tuple[float, float, float]]:
    generator = torch.Generator().manual_seed(seed)
    x = features(order, frames, generator)
    weights = (x @ x.mT * x.shape[2] ** -0.5).softmax(-1)
    sums = F.avg_pool2d(weights, BLOCK, ceil_mode=True, divisor_override=1)
    orders = {"pooled": blocks.pooled_scores(x, x, BLOCK), "random": torch.rand(sums.shape, generator=generator)}
    values = torch.randn(x.shape, generator=generator)
    found, exact = {}, weights @ values
    for name, scores in (orders | {"best": sums}).items():
        is_open = torch.zeros(sums.shape, dtype=bool).scatter(2, scores.topk(int(sums.shape[2] * keep)).indices, True)
        error = (blocks.attend(x, x, values, is_open, BLOCK) - exact).norm() / exact.norm()
        ours = seconds(blocks.attend, x, x, values, is_open, BLOCK)
        share = ours / seconds(F.scaled_dot_product_attention, *(one.unsqueeze(0) for one in (x, x, values)))
        found[name] = (sums[is_open].sum() / sums.sum()).item(), error.item(), share
    return found


def features(order: str, frames: int, generator: torch.Generator) -> Tensor:
    image = torch.from_numpy(load_sample_image("china.jpg").mean(2) / 255).float()
    places = (torch.rand(frames, 2, generator=generator) * (torch.tensor(image.shape) - 224)).long().tolist()
    crops = torch.stack([image[row : row + 224, column : column + 224] for row, column in places])
    patches = F.unfold(crops.unsqueeze(1), 8, stride=8).mT
    if order == "hilbert":
        patches = patches[:, list(hilbert_order(28, 28))]
    centred = (patches - patches.mean((0, 1))).flatten(0, 1)
    return 16 * F.normalize(centred @ torch.linalg.svd(centred, full_matrices=False).Vh[:32].T, dim=-1).unsqueeze(0)


def seconds(function, *arguments) -> float:
    times = [(process_time(), function(*arguments), process_time()) for _ in range(5)]
    return median(end - start for start, _, end in times)
