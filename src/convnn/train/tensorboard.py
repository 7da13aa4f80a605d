"""Scalars for TensorBoard, an extra."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from convnn.errors import InputError
from convnn.runs.files import TENSORBOARD
from convnn.train.callbacks import Callback
from convnn.train.metrics import EpochResult

EVENTS = "events.out.tfevents.*"
"""The files of a log."""


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
        self.folder = folder / TENSORBOARD
        self.make_writer = partial(SummaryWriter, str(self.folder))

    def on_start(self, results: Sequence[EpochResult]) -> None:
        """Open the log: what was written beyond the checkpoint is taken back, a new log gets what was reached."""
        is_new = not any(self.folder.glob(EVENTS))
        self.writer = self.make_writer(purge_step=len(results) + 1 if results and not is_new else None)
        for result in results if is_new else ():
            self.on_epoch_end(result)

    def on_epoch_end(self, result: EpochResult) -> None:
        """Write its scalars."""
        scalars = {"lr": result.lr, "images_per_second": result.images_per_second}
        for part, scores in (("train", result.train), ("test", result.test)):
            scalars |= {f"{name}/{part}": value for name, value in scores._asdict().items()}
        self.write(scalars, result.epoch)

    def write(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Write more about an epoch, by tag."""
        for tag, value in scalars.items():
            self.writer.add_scalar(tag, value, epoch)
        self.writer.flush()

    def on_end(self) -> None:
        """Close the log."""
        self.writer.close()
