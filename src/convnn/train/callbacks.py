"""The interface of callbacks that observe training: the screen, the run folder, pictures."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from convnn.train.checkpoint import RunState
from convnn.train.metrics import EpochResult


class Callback:
    """Base of the callbacks, which `Trainer.fit` calls in the main process; every method is optional.

    Attributes:
        last_good: the newest checkpoint that the callback wrote, if it writes any.
    """

    last_good: Path | None = None

    def on_start(self, results: Sequence[EpochResult]) -> None:
        """Called when training starts, or resumes after epochs with these results."""

    def on_epoch_start(self, epoch: int, steps: int) -> None:
        """Called before epoch `epoch`, counted from 1, with `steps` steps still to come."""

    def on_step(self, step: int) -> None:
        """Called after step `step` of the epoch, counted from 1."""

    def on_epoch_end(self, result: EpochResult) -> None:
        """Called when an epoch is trained and evaluated."""

    def on_checkpoint(self, weights: dict[str, Tensor], run: RunState) -> None:
        """Called when there is something to save: after an epoch, when a checkpoint is due, and after a signal."""

    def on_broken_images(self, messages: Sequence[str]) -> None:
        """Called after an epoch with a message for each image skipped so far, if there are any."""

    def on_test(self, best: EpochResult) -> None:
        """Called after the last epoch with the result of the best one, chosen by a val part, and its test scores."""

    def on_end(self) -> None:
        """Called after the last epoch."""
