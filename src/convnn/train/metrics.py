"""Exact loss and accuracies of an epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import TrainingError

FEWEST_CLASSES = 5
"""Of which the five best say something."""


class Scores(NamedTuple):
    """Mean loss and accuracies (0 to 1) over samples, not over batches; no top-5 of fewer than five classes."""

    loss: float
    top1: float
    top5: float | None

    @classmethod
    def of(cls, sums: Tensor, num_classes: int) -> "Scores":
        """From the sums of a `Meter`, those of all processes together.

        Args:
            sums: (4,).
            num_classes: among which the network chose.

        Raises:
            TrainingError: nothing was counted.
        """
        loss, top1, top5, samples = sums.tolist()
        if not samples:
            raise TrainingError("not one image could be read; look at the messages of --on_bad_image skip")
        return cls(loss / samples, top1 / samples, None if num_classes < FEWEST_CLASSES else top5 / samples)


class Meter:
    """Counts samples on the device; nothing waits for it until its sums are read.

    Attributes:
        sums: (4,) losses, hits, hits among the best five, samples; exact up to 2**53 of them.
        num_classes: of the logits, 0 before any were counted.
    """

    def __init__(self, device: torch.device) -> None:
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.zeros(4, device=device, dtype=dtype)
        self.num_classes = 0

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch, which may be empty: summed loss (), logits (B, classes), labels (B,)."""
        logits, loss = logits.detach(), loss.detach()
        self.num_classes = logits.shape[1]
        top1 = logits.argmax(dim=1) == labels
        top5 = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
        samples = torch.full_like(loss, len(labels))
        self.sums += torch.stack([loss.to(self.sums), *(n.to(self.sums) for n in (top1.sum(), top5.sum(), samples))])


@dataclass(frozen=True)
class EpochResult:
    """What an epoch gave.

    Attributes:
        epoch: counted from 1.
        seconds: of the training pass, evaluation excluded.
        images_per_second: trained.
        lr: learning rate used.
        train: scores.
        test: scores; where there is a val part, of the best epoch so far only, to be told at the end.
        is_best: no earlier epoch had a higher accuracy on the validation part.
        val: scores, where there is a val part.
    """

    epoch: int
    seconds: float
    images_per_second: float
    lr: float
    train: Scores
    test: Scores | None
    is_best: bool
    val: Scores | None = None

    @property
    def validation_part(self) -> str:
        """By which the best epoch is chosen: "val", or "test" where there are two parts only."""
        return "test" if self.val is None else "val"

    @property
    def validation(self) -> Scores:
        """The scores by which the best epoch is chosen."""
        scores = self.test if self.val is None else self.val
        if scores is None:
            raise ValueError(f"epoch {self.epoch} has neither val nor test scores")
        return scores


def best_of(results: Sequence[EpochResult]) -> EpochResult | None:
    """The epoch with the highest validation accuracy, the first of several; None of none."""
    return max(results, key=lambda result: result.validation.top1, default=None)
