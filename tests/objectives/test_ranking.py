"""The loss, samples and figures of rankings against loops, and the metrics of PyTorch Geometric."""

import math
from collections import Counter

import pytest
import torch

from convnn.errors import InputError
from convnn.objectives import ranking
from convnn.ops import select

USERS, ITEMS = 4, 5
PAIRS = torch.tensor([[0, 0, 0, 1, 3, 3], [1, 1, 4, 2, 0, 4]])
"""User 0 chose item 1 twice; user 2 chose nothing."""


def figures_in_loops(ranked: list[list[int]], relevant: list[set[int]]) -> tuple[float, float, float]:
    users = [(row, wanted) for row, wanted in zip(ranked, relevant, strict=True) if wanted]
    recall = precision = ndcg = 0.0
    for row, wanted in users:
        hits = [item in wanted for item in row]
        recall += sum(hits) / len(wanted) / len(users)
        precision += sum(hits) / len(row) / len(users)
        gain = sum(hit / math.log2(rank + 1) for rank, hit in enumerate(hits, start=1))
        ndcg += gain / sum(1 / math.log2(r + 1) for r in range(1, min(len(row), len(wanted)) + 1)) / len(users)
    return recall, precision, ndcg


@pytest.mark.parametrize("k", [1, 3, 9])
def test_figures(k: int) -> None:
    scores, relevant = torch.randn(6, 9, dtype=torch.double), torch.rand(6, 9) < 0.4
    relevant[2] = False  # who wants nothing does not count
    relevant[3] = True
    ranked = select.highest(scores, k)
    wanted = [set(row.nonzero().flatten().tolist()) for row in relevant]
    expected = figures_in_loops(ranked.tolist(), wanted)
    found = [figure(ranked, relevant) for figure in (ranking.recall, ranking.precision, ranking.ndcg)]
    assert found == pytest.approx(expected, abs=1e-14)


def test_figures_are_those_of_torch_geometric() -> None:
    metrics = pytest.importorskip("torch_geometric.metrics")
    relevant = torch.rand(6, 9) < 0.4
    relevant[:, 0] = True
    ranked = select.highest(torch.randn(6, 9), 4)
    for ours, name in ((ranking.recall, "Recall"), (ranking.precision, "Precision"), (ranking.ndcg, "NDCG")):
        theirs = getattr(metrics, f"LinkPred{name}")(k=4)
        theirs.update(ranked, relevant.nonzero().T)
        assert ours(ranked, relevant) == pytest.approx(theirs.compute().item(), abs=1e-6)  # theirs in float32


def test_loss_is_that_of_its_definition() -> None:
    positives, negatives = torch.randn(2, 5, dtype=torch.double)
    rows = torch.randn(2, 5, 3, dtype=torch.double)
    sigmoids = [math.log(1 / (1 + math.exp(n - p))) for p, n in zip(positives, negatives, strict=True)]
    expected = -sum(sigmoids) / 5 + 0.1 / 2 * rows.square().sum().item() / 5
    assert ranking.bpr_loss(positives, negatives, rows.unbind(), decay=0.1).item() == pytest.approx(expected)
    far = torch.tensor([1e4], requires_grad=True)
    loss = ranking.bpr_loss(-far, far)
    assert loss.item() == pytest.approx(2e4)  # the exponential alone overflows
    assert torch.autograd.grad(loss, far)[0].item() == pytest.approx(2.0)


def test_triples_are_drawn_as_often_as_they_should_be() -> None:
    users, chosen, other = ranking.sample_triples(PAIRS, USERS, ITEMS, 30_000)
    owned = {user: set(PAIRS[1, PAIRS[0] == user].tolist()) for user in range(USERS)}
    counts = Counter(zip(users.tolist(), chosen.tolist(), strict=True))
    assert len(users) < 30_000  # without those drawn for the user who chose nothing
    expected = {(0, 1): 2 / 12, (0, 4): 1 / 12, (1, 2): 3 / 12, (3, 0): 1 / 8, (3, 4): 1 / 8}
    assert {pair: count / 30_000 for pair, count in counts.items()} == pytest.approx(expected, abs=0.01)
    others = Counter(zip(users.tolist(), other.tolist(), strict=True))
    assert others.keys() == {(user, item) for user in (0, 1, 3) for item in range(ITEMS) if item not in owned[user]}
    assert others[1, 0] / 30_000 == pytest.approx(1 / 16, abs=0.01)


def test_a_generator_decides_the_triples() -> None:
    draws = [ranking.sample_triples(PAIRS, USERS, ITEMS, 50, torch.Generator().manual_seed(1)) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*draws, strict=True))


def test_mask_of_interactions() -> None:
    mask = ranking.interaction_mask(PAIRS, torch.tensor([3, 2, 0]), USERS, ITEMS)
    assert [row.nonzero().flatten().tolist() for row in mask] == [[0, 4], [], [1, 4]]


def test_highest_scores_break_ties_by_index_and_put_nan_and_the_excluded_last() -> None:
    scores = torch.tensor([[1.0, torch.nan, 3, 3, -torch.inf], [2, 2, 2, 2, 2]])
    excluded = torch.tensor([[False, False, True, False, False], [True, False, False, False, False]])
    assert select.highest(scores, 3).tolist() == [[2, 3, 0], [0, 1, 2]]
    assert select.highest(scores, 2, excluded=excluded).tolist() == [[3, 0], [1, 2]]
    assert select.highest(scores, 5, excluded=excluded)[1].tolist() == [1, 2, 3, 4, 0]


FULL = torch.cartesian_prod(torch.tensor([1]), torch.arange(ITEMS)).T
WRONG = {
    "shapes": (lambda: ranking.bpr_loss(torch.ones(2), torch.ones(3)), r"^positives of shape \(2,\) and negatives of"),
    "decay": (lambda: ranking.bpr_loss(torch.ones(2), torch.ones(2), decay=-1), "^decay=-1 must be at least 0$"),
    "nothing": (
        lambda: ranking.sample_triples(PAIRS[:, :0], USERS, ITEMS, 3),
        r"^interactions of shape \(2, 0\) must have at least one$",
    ),
    "everything": (
        lambda: ranking.sample_triples(FULL, USERS, ITEMS, 3),
        "^interactions give user 1 all 5 items; no other can be drawn$",
    ),
    "user": (lambda: ranking.sample_triples(PAIRS, 3, ITEMS, 3), "^interactions has users from 0 to 3; they must lie"),
    "item": (lambda: ranking.sample_triples(PAIRS, USERS, 4, 3), "^interactions has items from 0 to 4; they must lie"),
    "number": (lambda: ranking.sample_triples(PAIRS, USERS, ITEMS, 0), "^number=0 must be an integer of at least 1$"),
    "ranked": (
        lambda: ranking.recall(torch.ones(2).long(), torch.ones(2, 3) > 0),
        r"^ranked of shape \(2,\) and relev",
    ),
    "nobody": (lambda: ranking.ndcg(torch.zeros(2, 1).long(), torch.ones(2, 3) < 0), "^relevant must have an item for"),
    "K": (lambda: select.highest(torch.ones(2, 3), 4), "^K=4 must lie between 1 and 3, the number of scores$"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
