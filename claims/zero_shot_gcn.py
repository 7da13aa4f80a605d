"""A graph of classes carries classifiers to classes without an example."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from convnn.tasks.knowledge import UnseenClasses, zero_shot_hits

SYSTEM = "Classifiers of unseen classes"
CLAIM = (
    "Word vectors and a graph of classes predict classifiers of classes without an example, much better than word"
    " vectors alone, and bear noise in the graph."
)
EXPERIMENT = (
    "A random tree of 120 classes, whose hidden vectors are like their parents'; word vectors and classifiers are noisy"
    " functions of them, and 35 % of the classes have no example. Hits at 5 of ten images of each, among unseen classes"
    " (in percent): six and three layers on the tree, three with a share of its edges left out, without edges, and on"
    " the tree with its nodes permuted."
)
SEEDS = (0, 1, 2)
CLASSES, LATENT, WORDS, CLASSIFIER = 120, 12, 16, 24


def measure(seeds: Sequence[int], quick: bool) -> Outcome:
    """Fit every graph to the same seen classes."""
    layers = {"6 layers": 5, **dict.fromkeys(("3 layers", "20 % of edges out", "50 % out", "no edges", "permuted"), 2)}
    found: dict[str, list[float]] = {name: [] for name in layers}
    for seed in seeds:
        torch.manual_seed(seed)
        words, true, tree = make_classes()
        unseen = torch.rand(CLASSES) < 0.35
        labels = unseen.nonzero().squeeze(1).repeat_interleave(10)
        images = F.normalize(true)[labels] + 0.15 * torch.randn(len(labels), CLASSIFIER)
        shuffled = torch.randperm(CLASSES)[tree]
        of_edges = torch.rand(tree.shape[1])
        kept = {"20 % of edges out": of_edges >= 0.2, "50 % out": of_edges >= 0.5, "no edges": of_edges > 1}
        for name, depth in layers.items():
            edges = shuffled if name == "permuted" else tree[:, kept[name]] if name in kept else tree
            model = UnseenClasses(
                words, both_ways(edges), hidden_channels=(64,) * depth, lr=0.003, epochs=3 if quick else 300, seed=seed
            )
            seen = (~unseen).nonzero().squeeze(1)
            weights = model.fit(true[seen], seen).predict_classifier(torch.arange(CLASSES))
            found[name].append(100 * zero_shot_hits(images, labels, weights, unseen.nonzero().squeeze(1), 5))
    rows = [[name, spread(scores)] for name, scores in found.items()]
    alone = found["no edges"]
    gains = {name: [a - b for a, b in zip(found[name], alone, strict=True)] for name in found}
    return Outcome(
        [["graph", "hits at 5"], *rows],
        {
            "three layers on the tree hit more than 25 points above no edges, on each seed": min(gains["3 layers"])
            > 25,
            "without a fifth of the edges still 15 points above": min(gains["20 % of edges out"]) > 15,
            "a permuted tree is worse than none": sum(gains["permuted"]) < 0,
        },
    )


def make_classes() -> tuple[Tensor, Tensor, Tensor]:
    """Return word vectors, classifiers and the edges (2, E) from children to parents."""
    latent = torch.randn(CLASSES, LATENT)
    parents = [int(torch.randint(max(0, child - 25), child, ())) for child in range(1, CLASSES)]
    for child, parent in enumerate(parents, 1):
        latent[child] = 0.8 * latent[parent] + 0.6 * latent[child]
    words = (latent @ torch.randn(LATENT, WORDS) / LATENT**0.5).tanh() + torch.randn(CLASSES, WORDS)
    true = (1.5 * latent @ torch.randn(LATENT, CLASSIFIER) / LATENT**0.5).tanh()
    return words, true, torch.stack([torch.arange(1, CLASSES), torch.tensor(parents)])


def both_ways(edges: Tensor) -> Tensor:
    """Return the edges and their reverse."""
    return torch.cat([edges, edges.flip(0)], dim=1)
