"""Measures of a tree: counts of voxels in loops, a search by hand for what hangs together, and true branches."""

from itertools import product
from math import dist

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor

from convnn.data.airways import make_airways
from convnn.errors import InputError
from convnn.tasks.segment import trees
from convnn.tasks.segment.trees import TreeScores


@pytest.fixture(scope="module")
def case() -> tuple[Tensor, Tensor, Tensor]:
    """What is found of a tree, at random, with some voxels outside; the tree; its branches."""
    _, masks, branches = make_airways(1, side=16, seed=1)
    chance = torch.rand(masks[0].shape, generator=torch.Generator().manual_seed(0))
    return ((masks[0] > 0) & (chance > 0.2)) | (chance > 0.97), masks[0], branches[0]


def test_they_count_voxels(case: tuple[Tensor, Tensor, Tensor]) -> None:
    found, true, branches = case
    voxels = [*product(range(16), repeat=3)]
    f, t = ({v for v in voxels if mask[v]} for mask in (found, true))
    lines: dict[int, set] = {}
    for v in voxels:
        lines.setdefault(int(branches[v]), set()).add(v)
    del lines[0]
    score = trees.score_tree(found, true, branches)
    assert score.dice == pytest.approx(f1_score(true.flatten(), found.flatten()))
    assert score.leakage == pytest.approx(len(f - t) / len(t))
    assert score.length == pytest.approx(len(set().union(*lines.values()) & f) / sum(map(len, lines.values())))
    seen = {number: len(line & f) / len(line) for number, line in lines.items()}
    assert score.branches == sum(share >= 0.8 for share in seen.values()) / len(lines)
    for least in (0, min(seen.values()), 0.7, 1):
        wanted = sum(share >= least for share in seen.values()) / len(lines)
        assert trees.branches_detected(found, branches, least=least) == wanted
    assert 0 < score.branches < 1


def test_all_nothing_and_means(case: tuple[Tensor, Tensor, Tensor]) -> None:
    _, true, branches = case
    best, worst = (trees.score_tree(found, true, branches) for found in (true, torch.zeros_like(true)))
    assert best == (1, 1, 1, 0)
    assert worst == (0, 0, 0, 0)
    assert trees.mean_scores([best, worst, worst]) == pytest.approx((1 / 3, 1 / 3, 1 / 3, 0))
    assert trees.dice(torch.zeros(3), torch.zeros(3)) == 1


def parts_by_hand(mask: np.ndarray) -> list[set]:
    """The connected parts: a search from voxel to voxel."""
    left, parts = set(map(tuple, np.argwhere(mask))), []
    while left:
        part, edge = set(), [left.pop()]
        while edge:
            part.add(place := edge.pop())
            near = {one for one in left if max(abs(a - b) for a, b in zip(one, place, strict=True)) <= 1}
            left -= near
            edge += near
        parts.append(part)
    return parts


@pytest.mark.parametrize("seed", range(3))
def test_the_largest_part_hangs_together(seed: int) -> None:
    mask = torch.rand(4, 5, 6, generator=torch.Generator().manual_seed(seed)) > 0.88
    sizes = [len(part) for part in parts_by_hand(mask.numpy())]
    kept = trees.largest_part(mask)
    assert kept.dtype == torch.bool
    assert (kept & ~mask).sum() == 0
    assert [len(part) for part in parts_by_hand(kept.numpy())] == [max(sizes)]
    assert not trees.largest_part(torch.zeros(2, 2, 2)).any()


def tube(mask: Tensor, start: tuple, end: tuple, radius: float) -> None:
    places = torch.stack(torch.meshgrid(*map(torch.arange, mask.shape), indexing="ij"), -1).double()
    start, along = torch.tensor(start).double(), torch.tensor(end).double() - torch.tensor(start).double()
    share = ((places - start) @ along / along.square().sum()).clamp(0, 1)
    mask |= (places - start - share[..., None] * along).norm(dim=-1) < radius


def test_branches_of_straight_tubes_are_their_axes() -> None:
    pytest.importorskip("skimage")
    mask = torch.zeros(30, 9, 41, dtype=torch.bool)
    axes = [((0, 4, 20), (14, 4, 20)), ((14, 4, 20), (28, 4, 4)), ((14, 4, 20), (28, 4, 36))]
    for start, end in axes:
        tube(mask, start, end, 2.2)
    branches = trees.branches_of(mask)
    assert branches.unique().tolist() == [0, 1, 2, 3]
    places = [(branches == number).nonzero().tolist() for number in (1, 2, 3)]
    assert all(10 <= len(one) <= 18 for one in places)
    points = [
        [tuple(a + share * (b - a) for a, b in zip(start, end, strict=True)) for share in np.linspace(0, 1, 60)]
        for start, end in axes
    ]
    farthest = [[max(min(dist(v, p) for p in axis) for v in one) for axis in points] for one in places]
    assert sorted(row.index(min(row)) for row in farthest) == [0, 1, 2]
    assert max(min(row) for row in farthest) < 1.5


def test_branches_of_a_tree_run_where_the_true_ones_do() -> None:
    pytest.importorskip("skimage")
    _, masks, branches = make_airways(1, side=24, seed=2)
    found = trees.branches_of(masks[0])
    assert (masks[0][found > 0] == 1).all()
    away = torch.cdist(found.nonzero().double(), branches[0].nonzero().double()).amin(1)
    assert away.max() < 2.5
    assert 4 <= found.max() <= 12


def test_without_scikit_image_one_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "skimage", None)
    monkeypatch.setitem(__import__("sys").modules, "skimage.morphology", None)
    with pytest.raises(InputError, match=r"^convnn.tasks.segment.trees.branches_of needs the package skimage"):
        trees.branches_of(torch.ones(2, 2, 2))


NONE = torch.zeros(2, 2, 2, dtype=torch.long)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trees.dice(NONE, NONE[0]), r"^found of shape \(2, 2, 2\) must have the shape \(2, 2\) of the truth$"),
        (lambda: trees.leakage(NONE, NONE), "^true must have at least one voxel that is not 0$"),
        (lambda: trees.length_detected(NONE, NONE), "^branches of torch.int64 must be int64, with 0 off the"),
        (lambda: trees.branches_detected(NONE, NONE + 1.0), "^branches of torch.float32 must be int64"),
        (lambda: trees.branches_detected(NONE, NONE + 1, least=2), "^least=2 must lie between 0 and 1$"),
        (lambda: trees.mean_scores([]), r"^scores=\[\] must be those of at least one volume$"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_scores_have_names() -> None:
    assert TreeScores._fields == ("dice", "length", "branches", "leakage")
