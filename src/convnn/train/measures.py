"""Measures by which rankings of classes are judged, beside accuracies: a number from 0 to 1 for each sample."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from convnn.objectives.ranking import ndcgs, recalls
from convnn.ops import select

Measure = Callable[[Tensor, Tensor], Tensor]
"""Function of logits (B, classes) and labels that returns a number (B,) for each sample."""

CUTOFF = 20
"""How many of the highest classes recall and NDCG look at: the items that a user is shown."""


def recall(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the share of the items of each user, bool (B, items), that are among its highest `CUTOFF`."""
    return recalls(_highest(logits), labels)


def ndcg(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the normalised discounted cumulative gain of the highest `CUTOFF`; see `objectives.ranking.ndcg`."""
    return ndcgs(_highest(logits), labels)


def reciprocal_rank(logits: Tensor, labels: Tensor) -> Tensor:
    """Return 1 / rank of the label (B,): one more than there are classes with strictly higher logits, or with NaN."""
    return 1 / _ranks(logits, labels)


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Return whether the label (B,) is among the first ten, as 0 or 1."""
    return (_ranks(logits, labels) <= 10).double()


MEASURES: Mapping[str, Mapping[str, Measure]] = {
    "classification": {},
    "regression": {},
    "ranking": {f"recall@{CUTOFF}": recall, f"ndcg@{CUTOFF}": ndcg},
    "completion": {"mrr": reciprocal_rank, "hits@10": hits},
    "modelling": {},
}
"""Measures of each task of `convnn.data.LabelledData`; the first decides which epoch is best.

Those of modelling are the figures of the network.
"""


def _highest(logits: Tensor) -> Tensor:
    return select.highest(logits, min(CUTOFF, logits.shape[1]))


def _ranks(logits: Tensor, labels: Tensor) -> Tensor:
    own = labels[:, None]
    higher = ~(logits <= logits.gather(1, own))  # also NaN, or a network that has diverged would be the best of all
    return 1 + higher.scatter(1, own, False).sum(1, dtype=torch.double)
