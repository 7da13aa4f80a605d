"""Exact loss and accuracies of an epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, isnan
from typing import NamedTuple

import torch
from torch import Tensor

from convnn.errors import TrainingError
from convnn.figures import figure_of
from convnn.train.measures import Measure

FEWEST_CLASSES = 5
"""The number of classes from which top-5 accuracy is reported."""

TOLERANCE = 0.04
"""In a regression, an output within this distance of the number counts as right (Hochreiter and Schmidhuber, 1997)."""


class Scores(NamedTuple):
    """Mean loss and accuracies (0 to 1) over samples, not over batches; top-5 is None below five classes.

    In a regression, top-1 is the share of the outputs within `TOLERANCE` of their numbers. Where a sample has several
    labels, as a user has several items, top-1 is the share of the samples whose first class is one of theirs, and top-5
    of those with one of theirs among the first five. A ranking has `measures` of its own, by name. Without labels there
    is no top-1, and the measures are the figures of the network.
    """

    loss: float
    top1: float | None
    top5: float | None
    measures: Mapping[str, float] = {}

    @property
    def metric(self) -> str:
        """What decides which epoch is best: the first of the measures, or else top-1, or else the loss."""
        return next(iter(self.measures), "loss" if self.top1 is None else "top-1")

    @property
    def value(self) -> float:
        """The value of that metric."""
        return self.named.get(self.metric, self.loss)

    @property
    def merit(self) -> float:
        """A number that is the larger, the better the value is; that of NaN is the smallest."""
        merit = figure_of(self.metric).merit(self.value)
        return -inf if isnan(merit) else merit

    @property
    def named(self) -> dict[str, float]:
        """Top-1 if there are labels, top-5 if there are five classes, and the measures, as people write their names."""
        accuracies = {"top-1": self.top1, "top-5": self.top5}
        return {name: share for name, share in accuracies.items() if share is not None} | {**self.measures}

    @property
    def texts(self) -> dict[str, str]:
        """The same as people write them."""
        return {name: figure_of(name).text(value) for name, value in self.named.items()}

    @classmethod
    def from_sums(cls, sums: Tensor, num_classes: int, measures: Sequence[str] = ()) -> "Scores":
        """Compute scores from the sums of a `Meter`, added over all processes.

        Args:
            sums: as in `Meter`; those of terms are not read.
            num_classes: number of classes of the network; 0 without labels.
            measures: names of the measures whose sums come last.

        Raises:
            TrainingError: no sample was counted.
        """
        loss, top1, top5, samples = sums[:NUM_SUMS].tolist()
        if not samples:
            raise TrainingError("no image could be read; see the messages of --on_bad_image skip")
        means = (sums[len(sums) - len(measures) :] / samples).tolist()
        of_five = None if num_classes < FEWEST_CLASSES else top5 / samples
        of_one = top1 / samples if num_classes else None
        return cls(loss / samples, of_one, of_five, dict(zip(measures, means, strict=True)))


NUM_SUMS = 4
"""Sums of a meter before those of the terms of the loss: loss, top-1 hits, top-5 hits and samples."""


class Meter:
    """Counts samples on the device, without synchronisation until its sums are read.

    Args:
        device: device of the sums.
        terms: names of the terms of the loss that are added up too.
        measures: functions of logits and labels that are added up too, by name: those of `MEASURES`.
        figures: names of the numbers that are added up too where there are no labels.

    Attributes:
        sums: (4 + terms + measures + figures,) loss, top-1 hits, top-5 hits, samples, each term, measure and figure;
            exact up to 2**53 samples.
        num_classes: number of logits; 0 before any batch was counted.
    """

    def __init__(
        self,
        device: torch.device,
        terms: Sequence[str] = (),
        measures: Mapping[str, Measure] | None = None,
        figures: Sequence[str] = (),
    ) -> None:
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.terms, self.measures, self.figures = tuple(terms), measures or {}, tuple(figures)
        size = NUM_SUMS + len(self.terms) + len(self.measures) + len(self.figures)
        self.sums = torch.zeros(size, device=device, dtype=dtype)
        self.num_classes = 0

    def terms_of(self, sums: Tensor) -> dict[str, float]:
        """Return the mean over the samples of each term, from sums that were added over all processes."""
        means = (sums[NUM_SUMS : NUM_SUMS + len(self.terms)] / sums[NUM_SUMS - 1]).tolist()
        return dict(zip(self.terms, means, strict=True))

    def update(
        self,
        loss: Tensor,
        logits: Tensor | None,
        labels: Tensor,
        terms: Mapping[str, Tensor] | None = None,
        figures: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Count a batch, which may be empty: summed loss (), logits (B, classes), labels (B,), and summed terms ().

        In a regression, logits are outputs (B, 1) and labels floating-point. Samples with several labels have them as
        bool (B, classes). Without labels there are no logits, and figures (B,) in place of measures.
        """
        loss, count = loss.detach(), len(labels)
        parts = [*_hits(logits, labels), torch.full_like(loss, count)]
        parts += [(terms or {})[name] for name in self.terms]
        if logits is not None:
            self.num_classes = logits.shape[1]
            none = loss.new_zeros(())  # of an empty batch, which no measure is asked about
            of_all = self.measures.values()
            parts += [measure(logits.detach(), labels).sum() if count else none for measure in of_all]
        parts += [(figures or {})[name].sum() for name in self.figures]
        self.sums += torch.stack([n.detach().to(self.sums) for n in (loss, *parts)])


def _hits(logits: Tensor | None, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the numbers () of samples whose label is the first class, and one of the first five."""
    if logits is None:
        return labels.new_zeros(()), labels.new_zeros(())
    logits = logits.detach()
    first, five = logits.argmax(dim=1, keepdim=True), logits.topk(min(5, logits.shape[1])).indices
    is_number = labels.is_floating_point()
    top1 = (logits[:, 0] - labels).abs() <= TOLERANCE if is_number else _are_right(first, labels)
    return top1.sum(), _are_right(five, labels).any(dim=1).sum()


def _are_right(classes: Tensor, labels: Tensor) -> Tensor:
    """Return (B, k) whether each of the classes (B, k) is the label (B,) of its sample, or one of them (B, classes)."""
    return labels.gather(1, classes) if labels.dtype == torch.bool else classes == labels[:, None]


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
        is_best: whether every earlier epoch had less merit on the validation part.
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
    """Return the first result with the most merit on the validation part, or None if there are no results."""
    return max(results, key=lambda result: result.validation.merit, default=None)
