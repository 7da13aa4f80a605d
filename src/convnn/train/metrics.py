"""Exact loss and accuracies of an epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import TrainingError

FEWEST_CLASSES = 5
"""The number of classes from which top-5 accuracy is reported."""

TOLERANCE = 0.04
"""In a regression, an output within this distance of the number counts as right (Hochreiter and Schmidhuber, 1997)."""


class Scores(NamedTuple):
    """Mean loss and accuracies (0 to 1) over samples, not over batches; top-5 is None below five classes.

    In a regression, top-1 is the share of the outputs within `TOLERANCE` of their numbers.
    """

    loss: float
    top1: float
    top5: float | None

    @classmethod
    def from_sums(cls, sums: Tensor, num_classes: int) -> "Scores":
        """Compute scores from the sums of a `Meter`, added over all processes.

        Args:
            sums: as in `Meter`; those of terms are not read.
            num_classes: number of classes of the network.

        Raises:
            TrainingError: no sample was counted.
        """
        loss, top1, top5, samples = sums[:NUM_SUMS].tolist()
        if not samples:
            raise TrainingError("no image could be read; see the messages of --on_bad_image skip")
        return cls(loss / samples, top1 / samples, None if num_classes < FEWEST_CLASSES else top5 / samples)


NUM_SUMS = 4
"""Sums of a meter before those of the terms of the loss: loss, top-1 hits, top-5 hits and samples."""


class Meter:
    """Counts samples on the device, without synchronisation until its sums are read.

    Args:
        device: device of the sums.
        terms: names of the terms of the loss that are added up too.

    Attributes:
        sums: (4 + terms,) loss, top-1 hits, top-5 hits, samples, and each term; exact up to 2**53 samples.
        num_classes: number of logits; 0 before any batch was counted.
    """

    def __init__(self, device: torch.device, terms: Sequence[str] = ()) -> None:
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.terms = tuple(terms)
        self.sums = torch.zeros(NUM_SUMS + len(self.terms), device=device, dtype=dtype)
        self.num_classes = 0

    def terms_of(self, sums: Tensor) -> dict[str, float]:
        """Return the mean over the samples of each term, from sums that were added over all processes."""
        means = (sums[NUM_SUMS:] / sums[NUM_SUMS - 1]).tolist()
        return dict(zip(self.terms, means, strict=True))

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor, terms: Mapping[str, Tensor] | None = None) -> None:
        """Count a batch, which may be empty: summed loss (), logits (B, classes), labels (B,), and summed terms ().

        In a regression, logits are outputs (B, 1) and labels floating-point.
        """
        logits, loss = logits.detach(), loss.detach()
        self.num_classes = logits.shape[1]
        is_number = labels.is_floating_point()
        top1 = (logits[:, 0] - labels).abs() <= TOLERANCE if is_number else logits.argmax(dim=1) == labels
        top5 = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        samples = torch.full_like(loss, len(labels))
        parts = [(terms or {})[name].detach() for name in self.terms]
        self.sums += torch.stack([n.to(self.sums) for n in (loss, top1.sum(), top5.sum(), samples, *parts)])


@dataclass(frozen=True)
class EpochResult:
    """The results of an epoch.

    Attributes:
        epoch: number of the epoch, from 1.
        seconds: time of the training pass, without evaluation.
        images_per_second: speed of the training pass.
        lr: learning rate of the epoch.
        train: training scores.
        test: test scores; with a val part, only for epochs that were the best so far, to be reported at the end.
        is_best: whether every earlier epoch had a lower accuracy on the validation part.
        val: validation scores, or None without a val part.
        terms: mean over the training samples of each term of the loss, where the objective names its terms.
    """

    epoch: int
    seconds: float
    images_per_second: float
    lr: float
    train: Scores
    test: Scores | None
    is_best: bool
    val: Scores | None = None
    terms: Mapping[str, float] = field(default_factory=dict)

    @property
    def validation_part(self) -> str:
        """The part that decides which epoch is best: "val", or "test" where there are only two parts."""
        return "test" if self.val is None else "val"

    @property
    def validation(self) -> Scores:
        """The scores that decide which epoch is best."""
        scores = self.test if self.val is None else self.val
        if scores is None:
            raise ValueError(f"epoch {self.epoch} has neither val nor test scores")
        return scores


def best_result(results: Sequence[EpochResult]) -> EpochResult | None:
    """Return the first result with the highest validation accuracy, or None if there are no results."""
    return max(results, key=lambda result: result.validation.top1, default=None)
