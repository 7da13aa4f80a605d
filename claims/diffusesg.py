"""DiffuseSG: categories, boxes and relations of scene graphs come out of noise together."""

from dataclasses import replace
from statistics import mean

import torch
from torch import Tensor

from claims._experiment import Outcome, is_above, spread
from convnn.data.scene_graphs import make_scene_graphs, size_of
from convnn.models.scene_graphs import SceneGraphDiffusion
from convnn.objectives.denoising import BOX, noise_like
from convnn.ops.boxes import corners, overlap
from convnn.ops.dense_graphs import DenseGraphs
from convnn.ops.edm import EDMSampler
from convnn.ops.scene_graphs import SceneGraphs, spatial_relations
from convnn.tasks.generate import scene_graphs as scenes

SYSTEM = "DiffuseSG: scene graphs from noise"
CLAIM = "Objects, boxes and relations are generated jointly, so that they agree; a term for overlap makes boxes better."
EXPERIMENT = (
    "3 or 4 squares of 5 categories, of side 0.1 + 0.08 times the category; their centres say who is left of or above"
    " whom. A denoiser of 68,022 weights, scalar codes, 3000 steps of Adam on 32 graphs, without and with the term for"
    " overlap (weight 0.1, a mean over each graph); 400 samples by 24 steps of Heun's method. Percent of ordered pairs"
    " whose relation agrees with the boxes, for the sample's own relations and for those of another sample of its size,"
    " as from two separate generators; mean error of width and height; overlap of true boxes with those found under"
    " noise of level 0.3."
)
SEEDS = (0, 1)
SETTINGS = {"dim": 32, "depths": (2,), "heads": (4,), "window": 4, "mlp_ratio": 2, "noise_channels": 64}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps, number = (2, 20) if quick else (3000, 400)
    without, with_it = (
        list(zip(*(scores(weight, seed, steps, number) for seed in seeds), strict=True)) for weight in (0.0, 0.1)
    )
    graphs = make_scene_graphs(2000)
    sides = size_of(graphs.types)[graphs.flags].std().item()
    joint, apart, error, shared = without
    rows = [
        [name, *(spread(cells, form) for cells, form in zip(columns, (".1f", ".1f", ".3f", ".3f"), strict=True))]
        for name, columns in (("without", without), ("with", with_it))
    ]
    return Outcome(
        [["overlap", "relations agree, %", "another's, %", "error of sides", "overlap under noise"], *rows],
        {
            "own relations agree in more than 25 of 100 pairs more than another's": mean(joint) > mean(apart) + 25,
            f"the error of the sides is below a third of their spread, {sides:.3f}": mean(error) < sides / 3,
            "with the term, denoised boxes overlap more": is_above(with_it[3], shared),
            "with the term, the error of the sides is smaller": is_above(error, with_it[2]),
        },
    )


def by_centres(boxes: Tensor, flags: Tensor) -> Tensor:
    return spatial_relations(boxes, flags, inside=False)


def scores(weight: float, seed: int, steps: int, number: int) -> tuple[float, float, float, float]:
    graphs, unseen = (make_scene_graphs(20 * number, 2 * seed + i, inside=False) for i in (0, 1))
    torch.manual_seed(seed)
    model = SceneGraphDiffusion(graphs, code="scalar", iou_weight=weight, **SETTINGS)
    scenes.train(model, graphs, steps=steps, lr=4e-3, seed=seed)
    found = model.sample(number, EDMSampler(steps=24, churn=0), torch.Generator().manual_seed(seed))
    found = found[found.sizes.argsort()]  # so that the one before has the same size
    swapped = replace(found, relations=found.relations.roll(1, 0))
    agree, others = (100 * scenes.share_right(graphs, by_centres) for graphs in (found, swapped))
    error = (found.boxes[..., 2:] - size_of(found.types).unsqueeze(2)).abs()[found.flags].mean().item()
    return agree, others, error, denoised_overlap(model, unseen[:number])


@torch.no_grad()
def denoised_overlap(model: SceneGraphDiffusion, graphs: SceneGraphs, level: float = 0.3) -> float:
    clean, flags = model.encode(graphs), graphs.flags
    noise = noise_like(clean, flags, torch.Generator().manual_seed(0))
    noisy = DenseGraphs(*(part + level * more for part, more in zip(clean, noise, strict=True)))
    found = model.denoise(noisy, flags, torch.full((len(graphs),), level))
    boxes = (corners((part.nodes[..., -BOX:] + 1) / 2).clamp(0, 1) for part in (found, clean))
    return overlap(*boxes)[flags].mean().item()
