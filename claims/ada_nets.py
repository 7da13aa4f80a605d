"""Ada-NETS: neighbours by shared neighbours, and as many of them as each node is worth."""

import torch
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from convnn.graphs.build import AdaptiveFilter, Ranked, fit_filter, nearest_lists, quality_cut, structure_space

SYSTEM = "Ada-NETS"
CLAIM = "Edges cut off by node, in the space of shared neighbours, join fewer labels and keep the edges within them."
EXPERIMENT = (
    "30 identities of 4 to 29 unit vectors in 32 dimensions, unit centres plus noise of 0.17, 20 candidates for each:"
    " edges of two labels, in percent of all, and edges of one label, of those among all candidates. Cut-offs: none,"
    " the mean of the best, the best by the labels, and a filter's, trained for 800 steps on five other such sets."
)
SEEDS = (0, 1, 2)
K, STEPS = 20, 800


def faces(seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(4, 30, (30,), generator=generator)
    labels = torch.arange(30).repeat_interleave(sizes)
    centres = F.normalize(torch.randn(30, 32, generator=generator), dim=1)
    return F.normalize(centres[labels] + 0.17 * torch.randn(len(labels), 32, generator=generator), dim=1), labels


def measure(seeds: list[int], quick: bool) -> Outcome:
    found = [edges(seed, 5 if quick else STEPS) for seed in seeds]
    each = {name: torch.tensor([one[name] for one in found]) for name in found[0]}
    noise, kept = torch.stack(list(each.values())).unbind(2)
    head = ["candidates and cut-off", "two labels, %", "kept of one label, %"]
    checks = {
        "with one cut-off, structure space has fewer edges of two labels": noise[2] < noise[1],
        "best cut-offs in structure space leave below 1 %": noise[4] < 1,
        "and keep more of one label than best cut-offs by feature": kept[4] > kept[3],
        "learned cut-offs have fewer edges of two labels than one for all": noise[5] < noise[2],
    }
    return Outcome(
        [head, *([name, *map(spread, shares.T.tolist())] for name, shares in each.items())],
        {sentence: bool(held.all()) for sentence, held in checks.items()},
    )


def edges(seed: int, steps: int) -> dict[str, tuple[float, float]]:
    x, labels = faces(seed)
    near = nearest_lists(x, K)
    ranked = structure_space(*near)
    of_feature, best = (quality_cut(one.indices, labels) for one in (near, ranked))
    fixed, learned = of_feature.double().mean().round(), trained(seed, steps).cut(x[ranked.indices])
    ways = {
        "nearest by feature, all candidates": (near, torch.tensor(K)),
        "nearest by feature, one cut-off for all": (near, fixed),
        "structure space, the same cut-off": (ranked, fixed),
        "nearest by feature, best cut-offs": (near, of_feature),
        "structure space, best cut-offs": (ranked, best),
        "structure space, learned cut-offs": (ranked, learned),
    }
    kept = {name: right_and_wrong(one, labels, cuts) for name, (one, cuts) in ways.items()}
    most = max(right for right, _ in kept.values())
    return {name: (100 * wrong / (right + wrong), 100 * right / most) for name, (right, wrong) in kept.items()}


def trained(seed: int, steps: int) -> AdaptiveFilter:
    torch.manual_seed(seed)
    lists, cuts = [], []
    for other in range(100 + 10 * seed, 105 + 10 * seed):
        x, labels = faces(other)
        indices = structure_space(*nearest_lists(x, K)).indices
        lists.append(x[indices])
        cuts.append(quality_cut(indices, labels))
    model = AdaptiveFilter(32, 64, dropout=0.1)
    return fit_filter(model, torch.cat(lists), torch.cat(cuts), steps=steps, batch_size=64, lr=0.1, warm_up=4)


def right_and_wrong(ranked: Ranked, labels: Tensor, cuts: Tensor) -> tuple[int, int]:
    is_kept = (torch.arange(1, K) < cuts.reshape(-1, 1)).expand(len(labels), K - 1)
    is_right = labels[ranked.indices[:, 1:]] == labels[:, None]
    return int((is_kept & is_right).sum()), int((is_kept & ~is_right).sum())
