"""Tests of every network with every layer and every setting: one training step of each combination.

Continuous integration runs a covering array in which each pair of values occurs; `make test-long` runs all of them.
"""

from itertools import product

import pytest
import torch
from torch.nn import functional as F

from convnn.models import create_model
from convnn.nn import CONVOLUTION_TYPES, LAYERS, SPARSE_MODES, list_layers
from kernel_layers import KERNELS
from pairwise import Case, cover_of, one_in, tuples

SIDE = {"vgg": 32, "resnet": 6, "densenet": 16, "mobilevigv": 64, "greedyvig": 64, "convmixer": 8, "se": 8, "vit": 32}
ONE_OF_EACH = ("vgg11", "resnet18", "densenet121", "mobilevigv2_ti", "greedyvig_s", "convmixer_256_16", "se_resnet_d_2")
"""The others differ only in size, or are tested with other layers in files of their own."""
ON_MAPS = {
    "model": ONE_OF_EACH,
    "layer": list_layers("maps"),
    "sampling_type": ["all", "random", "spatial"],
    "metric": ["cosine", "euclidean"],
    "similarity_type": ["Col", "Loc", "Loc_Col"],
    "aggregation_type": ["Col", "Loc_Col"],
    "shuffle_pattern": ["NA", "BA"],
}
ON_TOKENS = {
    "model": ["vit"],
    "layer": list_layers("tokens"),
    "sampling_type": ["all", "random", "spatial"],
    "metric": ["matmul", "cosine", "euclidean"],
    "convolution_type": CONVOLUTION_TYPES,
    "softmax_topk_val": [True, False],
    "coordinate_encoding": [True, False],
    "sparse_mode": SPARSE_MODES,
}
NUM_SAMPLES = {"maps": {"all": -1, "random": 6, "spatial": 2}, "tokens": {"all": -1, "random": 6, "spatial": 5}}
SETTINGS = {
    "maps": {"width": 1 / 16, "shuffle_scale": 2},
    "tokens": {
        "d_hidden": 12,
        "d_mlp": 8,
        "num_heads": 3,
        "num_layers": 2,
        "patch_size": 8,
        "sparse_context_window": 4,
    },
}


def _matrix(axes: dict[str, list]) -> list[Case]:
    """Return every combination of values that the layer reads, with the first value on the other axes."""
    cases = (dict(zip(axes, values, strict=True)) for values in product(*axes.values()))
    return [case for case in cases if all(_counts(name, value, case, axes) for name, value in case.items())]


def _counts(name: str, value: object, case: Case, axes: dict[str, list]) -> bool:
    return name in ("model", "layer") or value == axes[name][0] or name in LAYERS[case["layer"]].settings


def _name(case: Case) -> str:
    return "-".join(map(str, case.values()))


def _train_one_step(case: Case) -> None:
    reads = LAYERS[case["layer"]].reads
    settings = {name: value for name, value in case.items() if name not in ("model", "layer")}
    settings |= {"num_samples": NUM_SAMPLES[reads][case["sampling_type"]], "K": 4} | SETTINGS[reads]
    torch.manual_seed(0)
    settings |= KERNELS.get(case["layer"], {})
    network = create_model(case["model"], case["layer"], num_classes=3, **settings)
    side = SIDE[case["model"].split("_")[0].rstrip("0123456789")]
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


MATRICES = [_matrix(ON_MAPS), _matrix(ON_TOKENS)]
COVERS = [cover_of(matrix, 2) for matrix in MATRICES]


def pairs(cases: list[Case]) -> set:
    return set().union(*(tuples(case, 2) for case in cases))


def test_covers_hold_every_pair() -> None:
    for cover, matrix in zip(COVERS, MATRICES, strict=True):
        assert pairs(cover) == pairs(matrix)


@pytest.mark.parametrize("case", one_in(10, [*COVERS[0], *COVERS[1]]), ids=_name)
def test_pairwise_cover_trains(case: Case) -> None:
    _train_one_step(case)


@pytest.mark.long
@pytest.mark.parametrize("case", [*MATRICES[0], *MATRICES[1]], ids=_name)
def test_whole_matrix_trains(case: Case) -> None:
    _train_one_step(case)
