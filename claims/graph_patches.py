"""Graph ViT and MLP-Mixer: graphs that message passing cannot tell apart."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from convnn.models import create_model
from convnn.nn.graphs.batch import GraphBatch, side_by_side

SYSTEM = "Graph ViT and MLP-Mixer: patches of a graph"
CLAIM = "Patches of a graph, mixed as tokens, tell graphs apart that message passing cannot."
EXPERIMENT = (
    "Cycles of 20 nodes with chords of length 2 or 3, in any order, all degrees 4 and all features 1, so that no"
    " message passing distinguishes them: accuracy in percent on 60 new graphs after 200 steps of Adam on 120, chance"
    " 50, and the standard deviation of the logits over the new graphs. Four layers of GIN and a mean, against 5"
    " patches with two of them and two blocks of width 16, without encodings of positions."
)
SEEDS = (0, 1)
PATCHES = {"d_hidden": 16, "num_layers": 2, "num_mixers": 2, "num_patches": 5, "patch_walk_dim": 0}
CONTESTANTS = {
    "message passing": {"name": "gnn", "d_hidden": 16, "num_layers": 4, "linear_head": True, "dropout": 0.0},
    "MLP-Mixer": {"name": "graph_patches", **PATCHES},
    "Graph ViT": {"name": "graph_patches", **PATCHES, "mixing": "standard"},
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 3 if quick else 200
    found = {name: [learned(settings, seed, steps) for seed in seeds] for name, settings in CONTESTANTS.items()}
    scores = {name: [one[0] for one in of_seeds] for name, of_seeds in found.items()}
    spreads = {name: [one[1] for one in of_seeds] for name, of_seeds in found.items()}
    with_patches = [*scores["MLP-Mixer"], *scores["Graph ViT"]]
    return Outcome(
        [
            ["network", "accuracy, %", "deviation of the logits"],
            *([name, spread(scores[name]), spread(spreads[name], ".5f")] for name in CONTESTANTS),
        ],
        {
            "message passing is at chance, with logits that do not differ": max(spreads["message passing"]) < 1e-4
            and set(scores["message passing"]) == {50.0},
            "both kinds of patches are right for 95 % of the graphs": min(with_patches) > 95,
        },
    )


def learned(settings: dict, seed: int, steps: int) -> tuple[float, float]:
    """Return the accuracy of a trained network on new graphs, in percent, and how much its logits differ."""
    train, labels = circulants(60, seed)
    test, answers = circulants(30, 1000 + seed)
    torch.manual_seed(seed)
    network: nn.Module = create_model(**settings, layer="GIN", in_channels=1, num_classes=2)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(network(train), labels).backward()
        optimizer.step()
    with torch.no_grad():
        logits = network.eval()(test)
    return 100 * (logits.argmax(1) == answers).double().mean().item(), logits.std(0).max().item()


def circulants(count: int, seed: int) -> tuple[GraphBatch, Tensor]:
    """Make as many cycles with chords of length 2 as with those of length 3, and their labels."""
    generator, graphs = torch.Generator().manual_seed(seed), []
    for chord in (2, 3):
        for _ in range(count):
            order = torch.randperm(20, generator=generator)
            edges = torch.cat([torch.stack([order, order.roll(-step)]) for step in (1, chord)], 1)
            graphs.append(GraphBatch(torch.ones(20, 1), torch.cat([edges, edges.flip(0)], 1)))
    return side_by_side(graphs, 1), torch.tensor([0, 1]).repeat_interleave(count)
