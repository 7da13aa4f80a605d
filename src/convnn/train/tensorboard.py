"""Scalars for TensorBoard, an extra."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from convnn.errors import InputError
from convnn.train.callbacks import Callback
from convnn.train.metrics import EpochResult, Scores


class TensorBoardLog(Callback):
    """Writes the scores of every epoch to `folder`/tensorboard.

    Raises:
        InputError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise InputError("--tensorboard needs TensorBoard: pip install 'convnn[tensorboard]'") from None
        self.make_writer = partial(SummaryWriter, str(folder / "tensorboard"))

    def on_start(self, results: Sequence[EpochResult]) -> None:
        """Open the log; what a stopped run wrote beyond its checkpoint is taken back."""
        self.writer = self.make_writer(purge_step=len(results) + 1 if results else None)

    def on_epoch_end(self, result: EpochResult) -> None:
        """Write its scalars."""
        scalars = {"lr": result.lr, "images_per_second": result.images_per_second}
        for part, scores in (("train", result.train), (result.validation_part, result.validation)):
            scalars |= tagged(scores, part)
        self.write(scalars, result.epoch)

    def on_test(self, best: EpochResult) -> None:
        """Write the test scores at the best epoch."""
        if best.test is not None:
            self.write(tagged(best.test, "test"), best.epoch)

    def write(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Write more about an epoch, by tag."""
        for tag, value in scalars.items():
            self.writer.add_scalar(tag, value, epoch)
        self.writer.flush()

    def on_end(self) -> None:
        """Close the log."""
        self.writer.close()


def tagged(scores: Scores, part: str) -> dict[str, float]:
    """Scores of a part of the images, by tag."""
    return {f"{name}/{part}": value for name, value in scores._asdict().items()}
