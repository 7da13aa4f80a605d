"""Training callbacks that draw pictures, or measure neighbours and kernels."""

import csv
import time
from collections.abc import Callable, Iterable, Sequence
from math import isnan
from pathlib import Path
from typing import cast

import torch

from convnn.cli._images import open_data
from convnn.data import LabelledData, denormalise
from convnn.errors import InputError
from convnn.files import write_atomically
from convnn.models import Network
from convnn.models.segmentation import BirdsEyeNetwork
from convnn.nn._modes import evaluating
from convnn.packages import reason
from convnn.runs.files import CURVES, KERNELS, MASKS, NEIGHBORS
from convnn.tables import csv_text
from convnn.train import Callback, EpochResult, ResumePoint, RunFolder, TensorBoardLog, TrainConfig
from convnn.viz import LayerStatistics, draw_curves, neighbor_statistics
from convnn.viz.figure import save_figure
from convnn.viz.kernels import SIZE_COLUMNS, learned_sizes
from convnn.viz.statistics.measure import MEASURES
from convnn.viz.statistics.table import COLUMNS, csv_rows

NUM_IMAGES = 256
"""Number of images measured after every epoch, and of training images that determine the classes of positions."""


NUM_MASKS = 6
"""Number of images whose masks are drawn at the end."""

REST = 9
"""How many times as long as it took to draw the curves they are left as they are."""


class Curves(Callback):
    """Redraws curves.png from metrics.csv after an epoch, unless drawing would take more than a tenth of the time, and
    at the end of the run; a failure is reported once and does not stop the run.

    Args:
        folder: folder of the run.
        warn: function that reports why the picture is missing.
    """

    def __init__(self, folder: RunFolder, warn: Callable[[str], None]) -> None:
        self.folder = folder
        self.warn = warn
        self.has_warned = False
        self.is_drawn = True
        self.due = 0.0

    def on_epoch_end(self, result: EpochResult) -> None:
        """Draw the curves, if it is time."""
        self.is_drawn = False
        start = time.perf_counter()
        if start >= self.due:
            self._draw()
            end = time.perf_counter()
            self.due = end + REST * (end - start)

    def on_end(self) -> None:
        """Draw the curves with the last epoch."""
        if not self.is_drawn:
            self._draw()

    def _draw(self) -> None:
        self.is_drawn = True
        path = self.folder.path / CURVES
        try:
            draw_curves(self.folder.metrics, path)
        except Exception as error:  # fonts, disks or anything else a picture needs must not stop the run
            if not self.has_warned:
                self.warn(f"'{path}' cannot be drawn: {reason(error)}; training continues")
            self.has_warned = True


class MaskSheet(Callback):
    """Draws masks.png at the end of a run: a few images of val, or of test, with their masks and those that are found.

    Of volumes the first is drawn: the surface of whatever is not of the first class.

    A failure is reported and does not stop the run.

    Args:
        config: flags of the run.
        folder: folder of masks.png.
        network: network in training.
        warn: function that reports why the picture is missing.
    """

    def __init__(self, config: TrainConfig, folder: Path, network: Network, warn: Callable[[str], None]) -> None:
        self.config = config
        self.path = folder / MASKS
        self.network = network
        self.warn = warn

    def on_end(self) -> None:
        """Draw the masks of the last epoch."""
        try:
            self._draw()
        except Exception as error:  # as of the curves
            self.warn(f"'{self.path}' cannot be drawn: {reason(error)}")

    def _draw(self) -> None:
        from convnn.tasks.segment.picture import draw_masks

        few = {"limit_test": NUM_MASKS, "batch_size": NUM_MASKS, "augment": False, "download": False}
        data = open_data(self.config, device=next(self.network.parameters()).device, **few)
        batch = next(iter(data.validation))
        with torch.no_grad(), evaluating(self.network):
            found = self.network(batch.inputs).argmax(1)
        if data.kind == "volume":
            from convnn.tasks.segment.airways import draw

            picture = draw({"found": found[0].cpu()}, batch.labels[0].cpu(), batch.inputs[0, :1].cpu())
            save_figure(picture, self.path)
            return
        if data.kind == "panorama":
            from convnn.tasks.segment.birds_eye import draw as draw_ground

            cells = batch.labels.shape[1]
            network = cast("BirdsEyeNetwork", self.network)
            save_figure(draw_ground(network, batch.inputs[0], batch.labels[0], (cells // 2, cells // 3)), self.path)
            return
        images = denormalise(batch.inputs, data.mean, data.std).cpu()
        rows = {"masks": batch.labels.cpu(), "found": found.cpu()}
        draw_masks(list(images), {name: list(row) for name, row in rows.items()}, data.classes, self.path)


class EpochTable(Callback):
    """Writes a table with some rows after every epoch, and continues it where a run is resumed.

    Args:
        path: the table, in the folder of the run.
        columns: its columns after that of the epoch.
        point: checkpoint from which the run resumes, if it does; rows written before it are kept.
    """

    def __init__(self, path: Path, columns: Sequence[str], point: ResumePoint | None) -> None:
        self.path = path
        self.columns = columns
        self.point = point
        self.rows: list[list[str]] = []

    def measured(self, epoch: int) -> Iterable[list[str]]:
        """Return the rows of an epoch, without its number."""
        raise NotImplementedError

    def on_start(self, results: Sequence[EpochResult]) -> None:
        """Keep the rows of finished epochs; if the run was killed before it wrote the last row, write it now."""
        run = None if self.point is None else self.point.checkpoint.run
        if self.point is None or run is None or not results:
            return
        last = len(results)
        self.rows = _read_rows(self.point.path.with_name(self.path.name), 1 + len(self.columns), last)
        if run.is_epoch_end and not any(int(row[0]) == last for row in self.rows):
            self._log(last)
        elif self.rows:
            self._write()

    def on_epoch_end(self, result: EpochResult) -> None:
        """Measure and write."""
        self._log(result.epoch)

    def _log(self, epoch: int) -> None:
        self.rows += [[str(epoch), *row] for row in self.measured(epoch)]
        self._write()

    def _write(self) -> None:
        write_atomically(self.path, csv_text(("epoch", *self.columns), self.rows))


class KernelLog(EpochTable):
    """Writes kernels.csv: how many taps each layer has along each axis, where it learns how many.

    Args:
        folder: folder of kernels.csv.
        network: network in training; some of its layers learn the size of their kernels.
        input_shape: shape of an image or a sequence.
        point: checkpoint from which the run resumes, if it does; rows written before it are kept.
    """

    def __init__(
        self, folder: Path, network: Network, input_shape: Sequence[int], point: ResumePoint | None = None
    ) -> None:
        super().__init__(folder / KERNELS, SIZE_COLUMNS, point)
        self.sizes = learned_sizes(network, torch.zeros(1, *input_shape, device=next(network.parameters()).device))

    def measured(self, epoch: int) -> Iterable[list[str]]:
        """Return a row for each layer and axis."""
        for name, (layer, size) in self.sizes.items():
            yield from ([name, str(axis), str(taps)] for axis, taps in enumerate(layer.sides(size)))


class NeighborLog(EpochTable):
    """Writes neighbors.csv: statistics of each layer's neighbours after every epoch, on the same few images of val, or
    of test if there is no val.

    The images come from loaders of their own, without augmentation, so that the training loaders are not affected.

    Args:
        config: flags of the run.
        folder: folder of neighbors.csv.
        network: network in training; some of its layers choose neighbours.
        point: checkpoint from which the run resumes, if it does; rows written before it are kept.
        scalars: TensorBoard log that receives the measures too, as neighbors/<layer>/<measure>.
    """

    def __init__(
        self,
        config: TrainConfig,
        folder: Path,
        network: Network,
        point: ResumePoint | None = None,
        scalars: TensorBoardLog | None = None,
    ) -> None:
        super().__init__(folder / NEIGHBORS, COLUMNS, point)
        self.network = network
        self.scalars = scalars
        self.data = _few_images(config, network)

    def measured(self, epoch: int) -> Iterable[list[str]]:
        """Measure the neighbours."""
        self.data.train.set_epoch(0)  # the same order and noise every time
        layers = neighbor_statistics(self.network, self.data.validation, labelled_batches=self.data.train)
        if self.scalars is not None:
            self.scalars.write(_tagged(layers), epoch)
        return csv_rows(layers)


def _few_images(config: TrainConfig, network: Network) -> LabelledData:
    train, test = (NUM_IMAGES if n is None else min(n, NUM_IMAGES) for n in (config.limit_train, config.limit_test))
    device = next(network.parameters()).device
    return open_data(config, augment=False, download=False, device=device, limit_train=train, limit_test=test)


def _read_rows(path: Path, columns: int, last_epoch: int) -> list[list[str]]:
    """Return the complete rows up to an epoch, without rows of later epochs and other text."""
    if not path.exists():
        return []
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror or error}") from None
    rows = [row for row in csv.reader(text.splitlines()) if len(row) == columns]
    return [row for row in rows if row[0].isdecimal() and 1 <= int(row[0]) <= last_epoch]


def _tagged(layers: Sequence[LayerStatistics]) -> dict[str, float]:
    measures = {f"neighbors/{one.name}/{name}": getattr(one, name) for one in layers for name in MEASURES}
    return {tag: value for tag, value in measures.items() if not isnan(value)}
