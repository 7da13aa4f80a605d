"""What looks on while a network trains: the screen, the run folder, pictures."""

from convnn.train.metrics import EpochResult


class Callback:
    """Called by `Trainer.fit`; every method may be left out."""

    def on_epoch_start(self, epoch: int, steps: int) -> None:
        """Epoch `epoch`, counted from 1, is about to make `steps` steps."""

    def on_step(self, step: int) -> None:
        """Step `step` of the epoch, counted from 1, is done."""

    def on_epoch_end(self, result: EpochResult) -> None:
        """The epoch is trained and tested."""

    def on_end(self) -> None:
        """All epochs are done."""
