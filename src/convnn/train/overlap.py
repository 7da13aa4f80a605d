"""How well maps of classes agree: counts of places that are added up over a whole part, and what follows from them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from convnn.data.masks import IGNORED
from convnn.errors import TrainingError
from convnn.train.measures import MEAN_IOU, MEASURES
from convnn.train.metrics import NUM_SUMS, Meter, Scores


@dataclass(frozen=True)
class Overlap:
    r"""Places of each class that were found, in vain, and missed, over all samples, each (classes,).

    .. math:: \operatorname{IoU}_c = \frac{f_c}{f_c + v_c + m_c}, \qquad
        \operatorname{Dice}_c = \frac{2 f_c}{2 f_c + v_c + m_c}

    A class that neither the labels nor the predictions have is NaN, and left out of the means over the classes. These
    are the Jaccard index and the F1 score of torchmetrics and scikit-learn with `average="macro"`, of all places of a
    part at once; they are not means over images.

    Attributes:
        found: places of the class where it was predicted (true positives).
        in_vain: places of other classes where it was predicted (false positives).
        missed: places of the class where another one was predicted (false negatives).
    """

    found: Tensor
    in_vain: Tensor
    missed: Tensor

    @classmethod
    def of(cls, logits: Tensor, labels: Tensor) -> "Overlap":
        """Count the places of logits (B, classes, *S) and labels (B, *S), but those with the label 255."""
        classes, counted = logits.shape[1], labels != IGNORED
        pairs = (labels * classes + logits.argmax(1))[counted]
        matrix = torch.bincount(pairs, minlength=classes * classes).view(classes, classes)  # labels x predictions
        found = matrix.diagonal()
        return cls(found, matrix.sum(0) - found, matrix.sum(1) - found)

    @property
    def iou(self) -> Tensor:
        """Intersection over union of each class."""
        return self.found / (self.found + self.in_vain + self.missed)

    @property
    def dice(self) -> Tensor:
        """Dice coefficient of each class."""
        return 2 * self.found / (2 * self.found + self.in_vain + self.missed)

    @property
    def accuracy(self) -> float:
        """Share of all counted places whose class was predicted."""
        return (self.found.sum() / (self.found + self.missed).sum()).item()


class OverlapMeter(Meter):
    """Counts samples, and the places of each class, without synchronisation until its sums are read.

    Args:
        device, terms: as in `Meter`.
        num_classes: number of classes.
        measures: whether the scores have the mean IoU, which decides the best epoch.

    Attributes:
        sums: (4 + terms + 3 * classes,) as in `Meter`, then the places found, in vain and missed.
    """

    def __init__(
        self, device: torch.device, terms: Sequence[str] = (), *, num_classes: int, measures: bool = True
    ) -> None:
        super().__init__(device, terms)
        self.num_classes = num_classes
        self.has_measures = measures
        self.sums = torch.cat([self.sums, self.sums.new_zeros(3 * num_classes)])

    def update(
        self,
        loss: Tensor,
        logits: Tensor | None,
        labels: Tensor,
        terms: Mapping[str, Tensor] | None = None,
        figures: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Count a batch, which may be empty.

        Args:
            loss: (), summed over the samples.
            logits: (B, classes, *S).
            labels: (B, *S).
            terms: (), summed over the samples.
            figures: none, as there are labels.
        """
        assert logits is not None  # as there are labels
        counts = Overlap.of(logits.detach(), labels)
        none, samples = loss.new_zeros(()), torch.full_like(loss.detach(), len(labels))
        parts = [loss.detach(), none, none, samples, *((terms or {})[name].detach() for name in self.terms)]
        places = torch.cat([counts.found, counts.in_vain, counts.missed])
        self.sums += torch.cat([torch.stack([part.to(self.sums) for part in parts]), places.to(self.sums)])

    def overlap(self, sums: Tensor) -> Overlap:
        """Return the places of each class, from sums that were added over all processes."""
        return Overlap(*sums[len(sums) - 3 * self.num_classes :].cpu().view(3, -1))

    def scores(self, sums: Tensor, num_classes: int) -> Scores:
        """Return the scores of sums that were added over all processes: top-1 is the accuracy of the places.

        Raises:
            TrainingError: no sample was counted, or no place of any.
        """
        loss, samples = (sums[place].item() for place in (0, NUM_SUMS - 1))
        overlap = self.overlap(sums)
        if not samples or not (overlap.found + overlap.missed).sum():
            raise TrainingError(
                "no pixel could be counted: no image could be read, or their masks have no value but 255"
            )
        measures = {MEAN_IOU: overlap.iou.nanmean().item()} if self.has_measures else {}
        return Scores(loss / samples, overlap.accuracy, None, measures)


def make_meter(
    task: str,
    num_classes: int,
    device: torch.device,
    terms: Sequence[str] = (),
    figures: Sequence[str] = (),
    *,
    measures: bool = True,
) -> Meter:
    """Return the meter of a task of `convnn.data.LabelledData`, with its measures or without, and with figures."""
    if task == "segmentation":
        return OverlapMeter(device, terms, num_classes=num_classes, measures=measures)
    return Meter(device, terms, MEASURES[task] if measures else None, figures)
