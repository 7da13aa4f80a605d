"""Probes and scores: loops over pairs and permutations, and bad input."""

from itertools import permutations

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.objectives import evaluation

LABELS = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 1])
CLUSTERS = torch.tensor([3, 3, 0, 0, 0, 1, 1, 1, 3, 2])


def rows(count: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (count,), generator=generator)
    centers = 3 * torch.eye(3, 4, dtype=torch.double)
    return centers[labels] + torch.randn(count, 4, generator=generator, dtype=torch.double), labels


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_nearest_rows_vote(metric: str) -> None:
    train, test = rows(40, 0), rows(30, 1)
    unit = [part / part.norm(dim=1, keepdim=True) if metric == "cosine" else part for part in (train[0], test[0])]
    votes = train[1][torch.cdist(unit[1], unit[0]).argsort(1)[:, :5]]
    right = (torch.stack([row.bincount(minlength=3) for row in votes]).argmax(1) == test[1]).double().mean()
    assert evaluation.knn_probe(*train, *test, k=5, metric=metric) == pytest.approx(right.item())


def test_a_linear_probe_finds_what_is_linear_whatever_its_scale() -> None:
    train, test = rows(80, 0), rows(60, 1)
    found = evaluation.linear_probe(*train, *test)
    assert found > 0.85
    assert evaluation.linear_probe(1000 * train[0] + 5, train[1], 1000 * test[0] + 5, test[1]) == pytest.approx(found)
    assert evaluation.linear_probe(*train, *test, decay=1e9) < found


def test_clusters_are_matched_in_the_best_of_all_ways() -> None:
    best = max(
        sum(names[cluster] == label for label, cluster in zip(LABELS.tolist(), CLUSTERS.tolist(), strict=True))
        for names in permutations([0, 1, 2, None])
    )
    assert evaluation.clustering_accuracy(LABELS, CLUSTERS) == best / 10
    assert evaluation.clustering_accuracy(LABELS, LABELS.neg()) == 1


def test_information_and_pairs() -> None:
    joint = torch.zeros(3, 4, dtype=torch.double).index_put((LABELS, CLUSTERS), torch.tensor(0.1).double(), True)
    entropy = [torch.special.entr(part).sum() for part in (joint.sum(0), joint.sum(1), joint)]
    expected = 2 * (entropy[0] + entropy[1] - entropy[2]) / (entropy[0] + entropy[1])
    assert evaluation.normalized_mutual_information(LABELS, CLUSTERS) == pytest.approx(expected.item())
    pairs = torch.combinations(torch.arange(10)).T
    same = [(names[pairs[0]] == names[pairs[1]]).double() for names in (LABELS, CLUSTERS)]
    chance = same[0].mean() * same[1].mean()
    index = (same[0] * same[1]).mean() - chance
    expected = index / ((same[0].mean() + same[1].mean()) / 2 - chance)
    assert evaluation.adjusted_rand_index(LABELS, CLUSTERS) == pytest.approx(expected.item())


def test_links_by_pairs_and_by_thresholds() -> None:
    positives, negatives = torch.tensor([3.0, 1, 2, 2]), torch.tensor([2.0, 0, 1])
    above = (positives[:, None] > negatives).double() + 0.5 * (positives[:, None] == negatives).double()
    assert evaluation.link_auc(positives, negatives) == pytest.approx(above.mean().item())
    precision = [((positives >= t).sum() / ((positives >= t).sum() + (negatives >= t).sum())) for t in (3, 2, 1)]
    gained = (1 / 4, 2 / 4, 1 / 4)
    expected = sum(float(p) * share for p, share in zip(precision, gained, strict=True))
    assert evaluation.link_average_precision(positives, negatives) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: evaluation.knn_probe(x, y, x, y, k=0), r"^k=0 must be an integer of at least 1"),
        (lambda x, y: evaluation.knn_probe(x, y, x, y, k=41), r"^k=41 must be at most 40, the number of training rows"),
        (lambda x, y: evaluation.knn_probe(x, y, x, y, metric="dot"), r"^metric='dot' is not one of cosine, euclidean"),
        (lambda x, y: evaluation.linear_probe(x, y, x[:, :2], y), r"^test_features of shape \(40, 2\) .* 4 features"),
        (
            lambda x, y: evaluation.linear_probe(x, y, x, y[:3]),
            r"^test_labels of shape \(3,\) .* be \(40,\) int64",
        ),
        (lambda x, y: evaluation.linear_probe(x / 0, y, x, y), r"^features must be finite, and row 0 is not"),
        (lambda x, y: evaluation.linear_probe(x, y * 0, x, y), r"^labels must have at least two classes"),
        (lambda x, y: evaluation.linear_probe(x, y, x, y, decay=0), r"^decay=0 must be a positive number"),
        (lambda x, y: evaluation.clustering_accuracy(y, y[:5]), r"^clusters of shape \(5,\) must be \(40,\)"),
        (lambda x, y: evaluation.adjusted_rand_index(y.double(), y), r"^labels of shape .* must be \(N,\) int64"),
        (lambda x, y: evaluation.link_auc(x[:0, 0], x[:, 0]), r"^positives of shape \(0,\) .* P >= 1"),
        (lambda x, y: evaluation.link_average_precision(x[:, 0], x[:, 1].log()), r"^negatives must be finite"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(*rows(40, 0))


def test_scores_are_those_of_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    labels, clusters = (torch.randint(high, (40,), generator=generator) for high in (5, 7))
    pairs = [(i, j) for i in range(40) for j in range(i)]
    joined = [(i, j) for i, j in pairs if clusters[i] == clusters[j]]
    alike = [(i, j) for i, j in pairs if labels[i] == labels[j]]
    both = len(set(joined) & set(alike))
    p, r = both / len(joined), both / len(alike)
    assert evaluation.pairwise_scores(labels, clusters) == pytest.approx((p, r, 2 * p * r / (p + r)))
    p = sum((labels[clusters == clusters[i]] == labels[i]).double().mean().item() for i in range(40)) / 40
    r = sum((clusters[labels == labels[i]] == clusters[i]).double().mean().item() for i in range(40)) / 40
    assert evaluation.b_cubed_scores(labels, clusters) == pytest.approx((p, r, 2 * p * r / (p + r)))
    alone = torch.arange(3)
    assert evaluation.pairwise_scores(alone, alone) == (1, 1, 1)
    assert evaluation.pairwise_scores(alone, torch.zeros(3, dtype=torch.long)) == (0, 1, 0)
