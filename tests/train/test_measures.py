"""Measures of rankings against loops, and their way from a batch into the table of a run."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from convnn.runs.curves import metric_of, read_curves
from convnn.train.folder import metrics_text
from convnn.train.measures import CUTOFF, MEASURES
from convnn.train.metrics import EpochResult, Meter, Scores, best_result

USERS, ITEMS = 7, 30


def order(scores: list[float]) -> list[int]:
    """Return the items by falling score, equal ones by their number."""
    return sorted(range(len(scores)), key=lambda item: (-scores[item], item))


def recall(scores: list[float], has: list[bool]) -> float:
    return sum(has[item] for item in order(scores)[:CUTOFF]) / sum(has)


def ndcg(scores: list[float], has: list[bool]) -> float:
    gain = sum(has[item] / math.log2(place + 2) for place, item in enumerate(order(scores)[:CUTOFF]))
    return gain / sum(1 / math.log2(place + 2) for place in range(min(CUTOFF, sum(has))))


@pytest.fixture
def logits() -> Tensor:
    return torch.randint(0, 9, (USERS, ITEMS)).float()  # many are equal


@pytest.fixture
def items() -> Tensor:
    found = torch.rand(USERS, ITEMS) < torch.linspace(0.05, 0.9, USERS)[:, None]
    found[:, 3] = True
    return found


@pytest.mark.parametrize(("name", "definition"), [("recall@20", recall), ("ndcg@20", ndcg)])
def test_a_ranking_is_measured_by_loops(name: str, definition, logits: Tensor, items: Tensor) -> None:
    expected = [definition(*row) for row in zip(logits.tolist(), items.tolist(), strict=True)]
    torch.testing.assert_close(MEASURES["ranking"][name](logits, items), torch.tensor(expected, dtype=torch.double))


def test_a_completion_is_measured_by_the_place_of_its_label(logits: Tensor) -> None:
    labels = torch.arange(USERS)
    rows = zip(logits.tolist(), labels.tolist(), strict=True)
    ranks = [1 + sum(score > row[label] for score in row) for row, label in rows]
    assert MEASURES["completion"]["mrr"](logits, labels).tolist() == [1 / rank for rank in ranks]
    assert MEASURES["completion"]["hits@10"](logits, labels).tolist() == [float(rank <= 10) for rank in ranks]
    assert min(ranks) <= 10 < max(ranks)


def test_what_has_diverged_is_last(logits: Tensor) -> None:
    logits[0], logits[1, 5] = math.nan, math.nan
    ranks = 1 / MEASURES["completion"]["mrr"](logits, torch.arange(USERS))
    assert ranks[0] == ITEMS
    assert ranks[1] == 2 + (logits[1] > logits[1, 1]).sum()


def test_of_several_labels_one_is_enough_for_an_accuracy(items: Tensor) -> None:
    logits = torch.rand(USERS, ITEMS)
    meter = Meter(torch.device("cpu"), measures=MEASURES["ranking"])
    for part in (slice(0, 3), slice(3, 3), slice(3, None)):
        meter.update(torch.tensor(2.0), logits[part], items[part])
    scores = Scores.from_sums(meter.sums, ITEMS, tuple(MEASURES["ranking"]))
    ranked = [(order(row), has) for row, has in zip(logits.tolist(), items.tolist(), strict=True)]
    assert scores.top1 == sum(has[best[0]] for best, has in ranked) / USERS
    assert scores.top5 == sum(any(has[item] for item in best[:5]) for best, has in ranked) / USERS
    assert scores.loss == 6 / USERS
    assert scores.measures["recall@20"] == pytest.approx(
        sum(recall(row, has) for row, has in zip(logits.tolist(), items.tolist(), strict=True)) / USERS
    )
    assert scores.merit == scores.measures["recall@20"]


def result(epoch: int, found: float, *, has_val: bool) -> EpochResult:
    scores = Scores(1.0, 1 - found, 1.0, {"mrr": found, "hits@10": 0.9})
    val = scores if has_val else None
    return EpochResult(epoch, 1.0, 1.0, 0.1, Scores(1.0, 0.5, 0.5), scores, is_best=True, val=val)


@pytest.mark.parametrize("has_val", [False, True])
def test_the_first_measure_decides_which_epoch_is_best_in_the_table_too(tmp_path: Path, has_val: bool) -> None:
    results = [result(number, found, has_val=has_val) for number, found in enumerate([0.2, 0.6, 0.4], 1)]
    assert best_result(results) is results[1]
    (tmp_path / "metrics.csv").write_text(metrics_text(results, is_over=True))
    curves = read_curves(tmp_path / "metrics.csv")
    assert metric_of(curves) == "mrr"
    part = "val" if has_val else "test"
    assert curves[f"{part}_mrr"] == [0.2, 0.6, 0.4]
    assert curves[f"{part}_hits@10"] == [0.9] * 3
    if has_val:
        assert [value for value in curves["test_mrr"] if not math.isnan(value)] == [0.6]
    assert curves[f"{part}_top1"] == [0.8, 0.4, 0.6]
