"""UNet-GNN: a graph of voxels in place of the deepest convolutions of a U-Net, on generated airways."""

from collections.abc import Callable
from functools import partial
from statistics import mean

import torch

from claims._experiment import Outcome, spread
from convnn.data.airways import AirwayTrees, make_airways
from convnn.models.segmentation import GraphUNet3d, UNet3d
from convnn.objectives.overlap import dice_loss
from convnn.tasks.segment.trees import TreeScores, mean_scores, score_tree

SYSTEM = "UNet-GNN: a graph below a U-Net"
CLAIM = (
    "A graph in place of the deepest convolutions of a U-Net, of adjacent voxels or of voxels with similar features,"
    " segments airways no worse, with fewer parameters."
)
EXPERIMENT = (
    "Generated airways in volumes of 24^3 voxels: trees of three generations of tubes, whose radii fall from 2.3 to 1.2"
    " voxels, 8 dark balls that are no airway, blur, and noise of deviation 0.35. U-Nets of three levels with 4"
    " features, 90 steps of Adam on the soft Dice loss of 3 of 12 volumes; Dice, share of the length of the centrelines"
    " found, share of the branches found to 80 percent, and voxels found outside over voxels of the tree, all in"
    " percent, as means of 8 other volumes. The graph joins 26 adjacent voxels, or the 10 with the most similar"
    " features."
)
SEEDS = (0, 1, 2, 3, 4)
NETWORKS: dict[str, Callable[[], UNet3d]] = {
    "convolutions": partial(UNet3d, 4),
    "graph of adjacent voxels": partial(GraphUNet3d, 4),
    "graph of similar voxels": partial(GraphUNet3d, 4, adjacency="knn"),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    scores = {name: [_scores(make, seed, quick) for seed in seeds] for name, make in NETWORKS.items()}
    parameters = {name: sum(p.numel() for p in make().parameters()) for name, make in NETWORKS.items()}
    dice = {name: mean(one.dice for one in found) for name, found in scores.items()}
    usual, grid, similar = NETWORKS
    return Outcome(
        [
            ["deepest level", "parameters", "Dice", "length found", "branches found", "leakage"],
            *(
                [name, f"{parameters[name]:,}", *(spread([100 * one[i] for one in found]) for i in range(4))]
                for name, found in scores.items()
            ),
        ],
        {
            "the Dice of the graph of adjacent voxels is at least that of convolutions less 2 points": dice[grid]
            >= dice[usual] - 0.02,
            "both graphs have fewer parameters than convolutions": max(parameters[grid], parameters[similar])
            < parameters[usual],
            "every run of every network is above a Dice of 40": min(
                one.dice for found in scores.values() for one in found
            )
            > 0.4,
        },
    )


def _scores(make: Callable[[], UNet3d], seed: int, quick: bool) -> TreeScores:
    trees = make_airways(6 if quick else 20, seed=seed)
    first = 4 if quick else 12
    seen, unseen = AirwayTrees(*(one[:first] for one in trees)), AirwayTrees(*(one[first:] for one in trees))
    torch.manual_seed(seed)
    network = make()
    generator, optimizer = torch.Generator().manual_seed(seed), torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(2 if quick else 90):
        chosen = torch.randperm(first, generator=generator)[:3]
        optimizer.zero_grad()
        dice_loss(network(seen.volumes[chosen]), seen.masks[chosen]).backward()
        optimizer.step()
    with torch.no_grad():
        found = torch.cat([network(one[None])[:, 0] > 0 for one in unseen.volumes])
    return mean_scores([score_tree(*one) for one in zip(found, unseen.masks, unseen.branches, strict=True)])
