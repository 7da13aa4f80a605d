"""The space of shared neighbours, against sets in loops."""

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.graphs.build import nearest_lists, reciprocal_neighbors, shared_neighbors, structure_space


def points(nodes: int, channels: int, *, seed: int = 0) -> Tensor:
    return torch.randn(nodes, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sets_in_loops(lists: list[list[int]], k: int) -> list[set[int]]:
    return [{j for j in own[:k] if i in lists[j][:k]} for i, own in enumerate(lists)]


@pytest.mark.parametrize(
    ("nodes", "channels", "K", "lamb"), [(30, 3, 7, 0.3), (25, 2, 10, 0.55), (9, 4, 9, 0), (6, 2, 1, 0.3)]
)
def test_sets_and_distances_are_those_of_loops(nodes: int, channels: int, K: int, lamb: float) -> None:
    x = points(nodes, channels)
    near = nearest_lists(x, K)
    lists = near.indices.tolist()
    outer, inner = sets_in_loops(lists, K), sets_in_loops(lists, K // 2)
    extended = []
    for own in outer:
        joined = set(own)
        for j in own:
            if len(inner[j] & own) >= 2 / 3 * len(inner[j]):
                joined |= inner[j]
        extended.append(joined)
    for found, expected in (
        (reciprocal_neighbors(near.indices, K), outer),
        (reciprocal_neighbors(near.indices, K // 2), inner),
        (shared_neighbors(near.indices), extended),
    ):
        assert [set(row.nonzero()[0].tolist()) for row in found.toarray()] == expected
        assert found.max() <= 1
    ranked = structure_space(*near, lamb)
    for i, own in enumerate(lists):
        d = {}
        for j, feature in zip(own, near.distances[i].tolist(), strict=True):
            share = len(extended[i] & extended[j]) / len(extended[i] | extended[j])
            d[j] = (1 - lamb) * (1 - share) + lamb * feature
        order = sorted(own, key=d.__getitem__)  # which is stable, too
        assert ranked.indices[i].tolist() == order
        torch.testing.assert_close(ranked.distances[i], torch.tensor([d[j] for j in order], dtype=torch.float64))


def test_rows_at_once_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    near = nearest_lists(points(20, 3), 6)
    expected = structure_space(*near)
    monkeypatch.setattr("convnn.graphs.build.structure._ROWS_AT_ONCE", 7)
    for ours, theirs in zip(structure_space(*near), expected, strict=True):
        assert torch.equal(ours, theirs)


def test_the_distance_of_features_alone_changes_nothing() -> None:
    near = nearest_lists(points(40, 3), 8)
    ranked = structure_space(*near, lamb=1)
    assert torch.equal(ranked.indices, near.indices)
    torch.testing.assert_close(ranked.distances, near.distances)


def test_a_node_comes_before_its_twins() -> None:
    x = points(5, 3)[[0, 1, 0, 2, 0, 3, 4]]
    near = nearest_lists(x, 4)
    assert near.indices[:, 0].tolist() == list(range(7))
    assert structure_space(*near).indices[:, 0].tolist() == list(range(7))
    assert sorted(near.indices[4, :3].tolist()) == [0, 2, 4]


def test_distances_are_half_the_squares_between_unit_vectors() -> None:
    x = points(20, 4).float()
    near, unit = nearest_lists(x, 20), torch.nn.functional.normalize(x.double(), dim=1)
    expected = (unit[:, None] - unit).square().sum(2) / 2
    torch.testing.assert_close(near.distances, expected.gather(1, near.indices))
    torch.testing.assert_close(near.distances, expected.sort(1).values)
    assert near.distances.max() > 1, "a negative cosine"


@pytest.mark.parametrize(
    ("x", "K", "message"),
    [
        (torch.ones(3), 1, r"x of shape \(3,\)"),
        (torch.ones(3, 2, dtype=torch.long), 1, "must be floating"),
        (torch.tensor([[1.0], [0.0]]), 1, r"x\[1\] has length 0.0"),
        (torch.tensor([[1.0], [torch.nan]]), 1, r"x\[1\] has length nan"),
        (torch.ones(3, 2), 0, "K=0"),
        (torch.ones(3, 2), 4, "K=4 must be at most 3"),
    ],
)
def test_bad_features(x: Tensor, K: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        nearest_lists(x, K)


@pytest.mark.parametrize(
    ("indices", "lamb", "message"),
    [
        ([[0, 1], [1, 2]], 0.3, "indices from 0 to 2 must lie between 0 and 1"),
        ([[0, -1], [1, 0]], 0.3, "indices from -1"),
        ([[0, 1], [0, 1]], 0.3, r"indices\[1\] begins with 0; a list must begin with the node itself, 1"),
        ([[0.0, 1], [1, 0]], 0.3, "float32 must be"),
        ([[0, 1], [1, 0]], 1.1, "lamb=1.1"),
        ([[0, 1], [1, 0]], -0.1, "lamb=-0.1"),
    ],
)
def test_bad_lists(indices: list, lamb: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        structure_space(torch.tensor(indices), torch.zeros(2, 2), lamb)
    with pytest.raises(InputError, match=r"distances of shape \(3,\)"):
        structure_space(torch.tensor([[0, 1], [1, 0]]), torch.zeros(3))
