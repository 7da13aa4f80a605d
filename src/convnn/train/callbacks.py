"""What looks on while a network trains: the screen, the run folder, pictures."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from convnn.train.checkpoint import RunState
from convnn.train.metrics import EpochResult


class Callback:
    """Called by `Trainer.fit` in the main process; every method may be left out.

    Attributes:
        last_good: the newest checkpoint that it wrote, if it writes any.
    """

    last_good: Path | None = None

    def on_start(self, results: Sequence[EpochResult]) -> None:
        """Training begins, or goes on after epochs that have these results."""

    def on_epoch_start(self, epoch: int, steps: int) -> None:
        """Epoch `epoch`, counted from 1, is about to make `steps` steps."""

    def on_step(self, step: int) -> None:
        """Step `step` of the epoch, counted from 1, is done."""

    def on_epoch_end(self, result: EpochResult) -> None:
        """The epoch is trained and tested."""

    def on_checkpoint(self, weights: dict[str, Tensor], run: RunState) -> None:
        """Something worth keeping was done: after every epoch, when a checkpoint is due, when a signal came."""

    def on_broken_images(self, messages: Sequence[str]) -> None:
        """So far these images were left out, each message naming one; said after an epoch that found any."""

    def on_test(self, best: EpochResult) -> None:
        """All epochs are done, and the best of them, chosen by a val part, has these test scores."""

    def on_end(self) -> None:
        """All epochs are done."""
