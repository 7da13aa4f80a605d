"""Scalars for TensorBoard, an optional dependency."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from convnn.errors import InputError
from convnn.packages import need
from convnn.runs.files import TENSORBOARD
from convnn.train.callbacks import Callback
from convnn.train.metrics import EpochResult, Scores

EVENTS = "events.out.tfevents.*"
"""Pattern of the files of a log."""


class TensorBoardLog(Callback):
    """Writes the scores of every epoch to `folder`/tensorboard.

    Raises:
        InputError: TensorBoard is not installed, cannot be imported, or cannot write to a folder of that name.
    """

    def __init__(self, folder: Path) -> None:
        need("tensorboard", "--tensorboard", extra="tensorboard")
        writer = need("torch.utils.tensorboard", "--tensorboard", extra="tensorboard").SummaryWriter
        try:
            str(folder).encode()
        except UnicodeEncodeError:
            raise InputError(
                f"--tensorboard cannot write to a folder whose name is not valid text, --output_dir={folder}; rename"
                " it, or leave out --tensorboard"
            ) from None
        self.folder = folder / TENSORBOARD
        self.make_writer = partial(writer, str(self.folder))

    def on_start(self, results: Sequence[EpochResult]) -> None:
        """Open the log: remove what was written after the checkpoint, and fill a new log with the results so far."""
        is_new = not any(self.folder.glob(EVENTS))
        self.writer = self.make_writer(purge_step=len(results) + 1 if results and not is_new else None)
        for result in results if is_new else ():
            self.on_epoch_end(result)

    def on_epoch_end(self, result: EpochResult) -> None:
        """Write the scalars of the epoch."""
        scalars = {"lr": result.lr, "images_per_second": result.images_per_second}
        for part, scores in (("train", result.train), (result.validation_part, result.validation)):
            scalars |= scalars_by_tag(scores, part)
        scalars |= {f"terms/{name}": value for name, value in result.terms.items()}
        self.write(scalars, result.epoch)

    def on_test(self, best: EpochResult) -> None:
        """Write the test scores at the best epoch."""
        if best.test is not None:
            self.write(scalars_by_tag(best.test, "test"), best.epoch)

    def write(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Write scalars of an epoch, by tag."""
        for tag, value in scalars.items():
            self.writer.add_scalar(tag, value, epoch)
        self.writer.flush()

    def on_end(self) -> None:
        """Close the log."""
        self.writer.close()


def scalars_by_tag(scores: Scores, part: str) -> dict[str, float]:
    """Return the scores of a part of the images by tag, without top-5 below five classes."""
    named = {"loss": scores.loss, "top1": scores.top1, "top5": scores.top5, **scores.measures}
    return {f"{name}/{part}": value for name, value in named.items() if value is not None}
