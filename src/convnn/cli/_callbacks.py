"""What looks on at training and needs pictures or measures to do so."""

import csv
from collections.abc import Callable, Sequence
from math import isnan
from pathlib import Path

from convnn.cli._images import open_images
from convnn.data import ImageData
from convnn.errors import InputError
from convnn.files import write_atomically
from convnn.models import Network
from convnn.packages import reason
from convnn.runs.files import CURVES, NEIGHBORS
from convnn.tables import csv_text
from convnn.train import Callback, EpochResult, ResumePoint, RunFolder, TensorBoardLog, TrainConfig
from convnn.viz import LayerStatistics, draw_curves, neighbor_statistics
from convnn.viz.statistics.measure import MEASURES
from convnn.viz.statistics.table import COLUMNS, csv_rows

NUM_IMAGES = 256
"""Images that are looked at after every epoch, and training images from which the classes of positions come."""


class Curves(Callback):
    """Redraws curves.png from metrics.csv after every epoch; a picture that fails is said once and ends no run.

    Args:
        folder: of the run.
        warn: is told why there is no picture.
    """

    def __init__(self, folder: RunFolder, warn: Callable[[str], None]) -> None:
        self.folder = folder
        self.warn = warn
        self.has_warned = False

    def on_epoch_end(self, result: EpochResult) -> None:
        """Draw."""
        path = self.folder.path / CURVES
        try:
            draw_curves(self.folder.metrics, path)
        except Exception as error:  # of fonts, of a disk, of whatever a drawing needs
            if not self.has_warned:
                self.warn(f"'{path}' is not drawn: {reason(error)}; the run goes on")
            self.has_warned = True


class NeighborLog(Callback):
    """Keeps neighbors.csv: after every epoch what the neighbours of each layer are like, on the same few images of val,
    or of test where there is no val.

    The images are read anew, without augmentation, so that the loaders that train are not touched.

    Args:
        config: the flags of the run.
        folder: where neighbors.csv goes.
        network: what learns; some of its layers choose neighbours.
        point: where the run goes on, if it does; rows that were written there are taken over.
        scalars: is given the measures too, under neighbors/<layer>/<measure>.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        network: Network,
        point: ResumePoint | None = None,
        scalars: TensorBoardLog | None = None,
    ) -> None:
        self.path = folder / NEIGHBORS
        self.network = network
        self.point = point
        self.scalars = scalars
        self.data = _few_images(config, network)
        self.rows: list[list[str]] = []

    def on_start(self, results: Sequence[EpochResult]) -> None:
        """Take over the rows of epochs that are done; a run that was killed ahead of its last row gets it now."""
        run = None if self.point is None else self.point.checkpoint.run
        if self.point is None or run is None or not results:
            return
        last = len(results)
        self.rows = _read_rows(self.point.path.with_name(NEIGHBORS), last)
        if run.is_epoch_end and not any(int(row[0]) == last for row in self.rows):
            self._log(last)
        elif self.rows:
            self._write()

    def on_epoch_end(self, result: EpochResult) -> None:
        """Measure."""
        self._log(result.epoch)

    def _log(self, epoch: int) -> None:
        self.data.train.set_epoch(0)  # the same order and noise every time
        layers = neighbor_statistics(self.network, self.data.validation, labelled_batches=self.data.train)
        self.rows += [[str(epoch), *row] for row in csv_rows(layers)]
        self._write()
        if self.scalars is not None:
            self.scalars.write(_tagged(layers), epoch)

    def _write(self) -> None:
        write_atomically(self.path, csv_text(("epoch", *COLUMNS), self.rows))


def _few_images(config: TrainConfig, network: Network) -> ImageData:
    train, test = (NUM_IMAGES if n is None else min(n, NUM_IMAGES) for n in (config.limit_train, config.limit_test))
    device = next(network.parameters()).device
    return open_images(config, augment=False, download=False, device=device, limit_train=train, limit_test=test)


def _read_rows(path: Path, last_epoch: int) -> list[list[str]]:
    """The whole rows up to an epoch; what a later epoch wrote, or somebody else, is left out."""
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}") from None
    rows = [row for row in csv.reader(text.splitlines()) if len(row) == 1 + len(COLUMNS)]
    return [row for row in rows if row[0].isdecimal() and 1 <= int(row[0]) <= last_epoch]


def _tagged(layers: Sequence[LayerStatistics]) -> dict[str, float]:
    measures = {f"neighbors/{one.name}/{name}": getattr(one, name) for one in layers for name in MEASURES}
    return {tag: value for tag, value in measures.items() if not isnan(value)}
