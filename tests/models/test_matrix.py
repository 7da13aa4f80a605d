"""Every network takes every layer with every setting: one training step of each combination.

Continuous integration runs a cover in which each pair of values meets; `make test-long` runs all of them.
"""

import random
from itertools import combinations, product

import pytest
import torch
from torch.nn import functional as F

from convnn.models import create_model, list_models
from convnn.nn import list_layers

SIDE = {"vgg": 32, "resnet": 6, "densenet": 16}
AXES = {
    "model": list_models(),
    "layer": list_layers(),
    "sampling_type": ["all", "random", "spatial"],
    "magnitude_type": ["cosine", "euclidean"],
    "similarity_type": ["Col", "Loc", "Loc_Col"],
    "aggregation_type": ["Col", "Loc_Col"],
    "shuffle_pattern": ["NA", "BA"],
}
NUM_SAMPLES = {"all": -1, "random": 6, "spatial": 2}
MATRIX = [dict(zip(AXES, values, strict=True)) for values in product(*AXES.values())]


def _pairs(case: dict[str, str]) -> set[tuple[tuple[str, str], ...]]:
    return set(combinations(case.items(), 2))


def _pairwise_cover(cases: list[dict[str, str]]) -> list[dict[str, str]]:
    """Greedily: of a few hundred random cases the one with most pairs not met yet, until all have met."""
    rng = random.Random(0)
    missing = set().union(*map(_pairs, cases))
    cover = []
    while missing:
        best = max(rng.sample(cases, 300), key=lambda case: len(_pairs(case) & missing))
        if _pairs(best) & missing:
            cover.append(best)
            missing -= _pairs(best)
    return cover


def _name(case: dict[str, str]) -> str:
    return "-".join(case.values())


def _train_one_step(case: dict[str, str]) -> None:
    settings = {name: value for name, value in case.items() if name not in ("model", "layer")}
    settings |= {"num_samples": NUM_SAMPLES[case["sampling_type"]], "shuffle_scale": 2, "K": 4}
    torch.manual_seed(0)
    network = create_model(case["model"], case["layer"], width=1 / 16, num_classes=3, **settings)
    side = SIDE[case["model"].rstrip("0123456789")]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    logits = network(torch.randn(4, 3, side, side))
    assert logits.shape == (4, 3)
    loss = F.cross_entropy(logits, torch.tensor([0, 1, 2, 0]))
    loss.backward()
    optimizer.step()
    assert loss.isfinite()
    for name, p in network.named_parameters():
        assert p.grad is not None, f"{name} has no gradient"
        assert p.isfinite().all(), f"{name} is not finite"
    assert any(not torch.equal(before[name], p) for name, p in network.named_parameters())


COVER = _pairwise_cover(MATRIX)


def test_cover_holds_every_pair() -> None:
    assert set().union(*map(_pairs, COVER)) == set().union(*map(_pairs, MATRIX))


@pytest.mark.parametrize("case", COVER, ids=_name)
def test_pairwise_cover_trains(case: dict[str, str]) -> None:
    _train_one_step(case)


@pytest.mark.long
@pytest.mark.parametrize("case", MATRIX, ids=_name)
def test_whole_matrix_trains(case: dict[str, str]) -> None:
    _train_one_step(case)
