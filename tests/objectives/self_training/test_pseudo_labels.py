"""Pseudo-labels: scikit-learn's nearest centroids, loops, the published quota, and bad input."""

import pytest
import torch
from sklearn.neighbors import NearestCentroid
from torch import Tensor

from convnn.errors import InputError
from convnn.objectives.self_training import align_clusters, select_confident, stage_quota
from small_graphs import features

CLASSES = 3


def labels(nodes: int = 40, known: int = 9, seed: int = 0) -> Tensor:
    """Return labels of 3 classes for the first `known` of the nodes, in a random order."""
    found = torch.where(torch.arange(nodes) < known, torch.arange(nodes) % CLASSES, -1)
    return found[torch.randperm(nodes, generator=torch.Generator().manual_seed(seed))]


@pytest.mark.parametrize("members", ["unlabelled", "all"])
def test_alignment_is_the_nearest_centroid_of_scikit_learn(members: str) -> None:
    for seed in range(5):
        rows, known = features(40, 4, seed=seed), labels(seed=seed)
        clusters = torch.randint(8, (40,), generator=torch.Generator().manual_seed(seed))
        given = known >= 0
        oracle = NearestCentroid().fit(rows[given].numpy(), known[given].numpy())
        found = align_clusters(rows, clusters, known, classes=CLASSES, members=members)
        for cluster in clusters[~given].unique():
            counted = clusters == cluster if members == "all" else (clusters == cluster) & ~given
            expected = int(oracle.predict(rows[counted].mean(0, keepdim=True).numpy())[0])
            assert (found[(clusters == cluster) & ~given] == expected).all()
        assert torch.equal(found[given], known[given])


def test_a_tie_goes_to_the_first_class_and_a_cluster_of_labelled_nodes_alone_changes_nothing() -> None:
    rows = torch.tensor([[-1.0], [1.0], [0.0], [7.0]])
    found = align_clusters(rows, torch.tensor([1, 1, 0, 2]), torch.tensor([0, 1, -1, 1]), classes=2)
    assert found.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("quota", [[5.0, 4.0, 6.0], [0.5, 2.5, 0.0], [99.0, 99.0, 99.0]])
@pytest.mark.parametrize("is_checked", [False, True])
def test_the_surest_nodes_in_a_loop(quota: list[float], is_checked: bool) -> None:
    known, generator = labels(), torch.Generator().manual_seed(1)
    probabilities = (3 * features(40, CLASSES)).softmax(1).mul(50).round().div(50)  # with ties
    check = torch.randint(CLASSES, (40,), generator=generator) if is_checked else None
    counts, expected = [0] * CLASSES, []
    for node in sorted(range(40), key=lambda i: (-probabilities[i].max().item(), i)):
        given = int(probabilities[node].argmax())
        if known[node] < 0 and counts[given] < quota[given]:
            counts[given] += 1
            if check is None or check[node] == given:
                expected.append((node, given))
    nodes, given = select_confident(probabilities, known, torch.tensor(quota), check=check)
    assert list(zip(nodes.tolist(), given.tolist(), strict=True)) == expected


def test_the_quota_is_that_of_the_published_stage() -> None:
    known = torch.tensor([0, 1, 2] + [-1] * 21)
    assert stage_quota(known, 64, classes=3, layers=2, stages=2).tolist() == [1.5, 1.5, 1.5]
    assert stage_quota(known, 120, classes=3, layers=2, stages=2).tolist() == [0, 0, 0]  # 5 neighbours each
    known[3] = 2
    assert stage_quota(known, 48, classes=3, layers=1, stages=1).tolist() == [9, 9, 18]  # eta is 12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x, y, c: align_clusters(x, c, y, classes=4),
            r"^labels must have a node of each of the 4 .* none of 3$",
        ),
        (lambda x, y, c: align_clusters(x, c, y, classes=2), r"^labels has 2; they must lie between 0 and 1, or be -1"),
        (lambda x, y, c: align_clusters(x, c, y.double(), classes=3), r"^labels of shape \(40,\) and torch.float64"),
        (lambda x, y, c: align_clusters(x[1:], c, y, classes=3), r"^features of shape \(39, 4\)"),
        (lambda x, y, c: align_clusters(x, c - 1, y, classes=3), r"^clusters of shape .* not negative"),
        (lambda x, y, c: align_clusters(x, c, y, classes=3, members="some"), r"^members='some' is not one of"),
        (lambda x, y, c: stage_quota(y, 0, classes=3, layers=2, stages=2), r"^edges=0 must be"),
        (lambda x, y, c: stage_quota(y, 9, classes=3, layers=2, stages=0), r"^stages=0 must be"),
        (lambda x, y, c: stage_quota(y, 9, classes=4, layers=2, stages=1), r"^labels must have a node of each"),
        (lambda x, y, c: select_confident(x, y, torch.tensor([1.0, -1, 1, 1])), r"^quota=.* must be 4 numbers"),
        (lambda x, y, c: select_confident(x, y, torch.ones(3)), r"^quota=.* must be 4 numbers of at least 0"),
        (lambda x, y, c: select_confident(x, y >= 0, torch.ones(4)), r"^probabilities of shape .*torch.bool must be"),
        (lambda x, y, c: select_confident(x, y, torch.ones(4), check=y[1:]), r"^check of shape \(39,\)"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(features(40, 4), labels(), torch.arange(40) % 8)
