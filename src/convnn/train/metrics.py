"""Exact loss and accuracies of an epoch."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy


class Scores(NamedTuple):
    """Mean loss and accuracies (0 to 1) over samples, not over batches."""

    loss: float
    top1: float
    top5: float


class Meter:
    """Counts on the device; nothing waits for it until `compute`."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.loss = MeanMetric().to(device)
        top5 = min(5, num_classes)
        self.top1 = MulticlassAccuracy(num_classes, average="micro", validate_args=False).to(device)
        self.top5 = MulticlassAccuracy(num_classes, top_k=top5, average="micro", validate_args=False).to(device)

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: mean loss (), logits (B, classes), labels (B,)."""
        logits = logits.detach().float()
        self.loss.update(loss.detach().float(), weight=len(labels))
        self.top1.update(logits, labels)
        self.top5.update(logits, labels)

    def compute(self) -> Scores:
        """Scores of everything counted so far."""
        return Scores(self.loss.compute().item(), self.top1.compute().item(), self.top5.compute().item())


@dataclass(frozen=True)
class EpochResult:
    """What an epoch gave.

    Attributes:
        epoch: counted from 1.
        seconds: of the training pass, evaluation excluded.
        images_per_second: trained.
        lr: learning rate used.
        train, test: scores.
        is_best: no earlier epoch had a higher test accuracy.
    """

    epoch: int
    seconds: float
    images_per_second: float
    lr: float
    train: Scores
    test: Scores
    is_best: bool
