"""What a run leaves in its folder, complete after every epoch."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from torch import Tensor

from convnn.data import ImageData
from convnn.errors import InputError, OutputError
from convnn.files import UNFINISHED, make_folder, write_atomically
from convnn.models import Network
from convnn.runs.files import (
    ARGUMENTS,
    BEST,
    BROKEN_IMAGES,
    COLUMNS,
    CURVES,
    FOUND_OUT,
    LAST,
    METRICS,
    NEIGHBORS,
    NETWORK,
    PREVIOUS,
    RESULTS,
    TENSORBOARD,
    TIMES,
    TIMES_COLUMNS,
    VAL_COLUMNS,
    arguments_text,
)
from convnn.tables import csv_text
from convnn.train.callbacks import Callback
from convnn.train.checkpoint import Checkpoint, Recipe, RunState, save_checkpoint
from convnn.train.config import TrainConfig
from convnn.train.metrics import EpochResult, Scores
from convnn.train.resume import ResumePoint
from convnn.train.stopping import why_over
from convnn.train.summary import NetworkSummary, parameter_table
from convnn.train.tensorboard import EVENTS

RESULTS_OF_A_RUN = (METRICS, LAST, PREVIOUS, BEST)
"""Any of them shows that there was one, whose work must not be lost."""


class RunFolder(Callback):
    """Keeps args.txt, model.txt, train_eval_results.txt, times.csv, metrics.csv and three checkpoints.

    last.safetensors is the newest checkpoint, previous.safetensors the one before it, best.safetensors the weights of
    the best epoch.

    Args:
        config: the flags of the run.
        network: what learns.
        data: what it learns.
        summary: its size and cost.
        point: where the run goes on, if it does; into another folder come its checkpoints too.
        warn: is told what is missing there.

    Nothing is written before training begins, and of a run that is over nothing but its tables; another folder becomes
    whole all the same.

    Raises:
        InputError: the folder holds the results of an earlier run, which `--resume` does not go on with, and
            `--overwrite` is not given.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: Network,
        data: ImageData,
        summary: NetworkSummary,
        point: ResumePoint | None = None,
        warn: Callable[[str], None] = print,
    ) -> None:
        self.path = Path(config.output_dir)
        self.recipe = make_recipe(config, data)
        self.summary = summary
        self.results: list[EpochResult] = []
        self.moved_from = point if point is not None and point.is_moved else None
        self.warn = warn
        self.config = config
        self.texts = {
            ARGUMENTS: args_text(config, data, summary),
            NETWORK: f"{network}\n\n{parameter_table(network)}\n",
        }
        if not (self._goes_on or config.overwrite) and any((self.path / name).exists() for name in RESULTS_OF_A_RUN):
            goes_on_with = "--resume alone" if config.resume else "--resume"
            raise InputError(
                f"--output_dir={self.path} holds the results of an earlier run; choose another, or pass {goes_on_with}"
                " to go on with it, or --overwrite"
            )

    @property
    def _goes_on(self) -> bool:
        """Whether what is in the folder is of this run."""
        return self.config.resume is not None and self.moved_from is None

    @property
    def metrics(self) -> Path:
        """The table of all epochs."""
        return self.path / METRICS

    def on_start(self, results: Sequence[EpochResult]) -> None:
        """Make the folder, and take over what a resumed run has reached.

        Raises:
            OutputError: the folder cannot be written.
        """
        self.results = list(results)
        if self.moved_from is not None or not self._is_over():
            self._prepare()
        if self.moved_from is not None:
            self._take_over(self.moved_from)
        if self.results:
            self._write_tables()

    def on_epoch_end(self, result: EpochResult) -> None:
        """Rewrite the tables."""
        self.results.append(result)
        self._write_tables()

    def on_checkpoint(self, weights: dict[str, Tensor], run: RunState) -> None:
        """Save; the best first, because the last says that it is there."""
        result, recipe = run.last_result, self.recipe
        if result is not None:
            recipe = replace(recipe, epoch=result["epoch"], test_top1=None)
            if result["test"] is not None:
                recipe = replace(recipe, test_top1=Scores(*result["test"]).top1)
        if run.is_best:
            save_checkpoint(self.path / BEST, Checkpoint(weights, recipe))
        save_checkpoint(self.path / LAST, Checkpoint(weights, recipe, run), old_to=self.path / PREVIOUS)
        self.last_good = self.path / LAST

    def on_broken_images(self, messages: Sequence[str]) -> None:
        """List them."""
        write_atomically(self.path / BROKEN_IMAGES, "".join(f"{message}\n" for message in messages))

    def _take_over(self, point: ResumePoint) -> None:
        """Save what a run has reached elsewhere: the best epoch may be over, and the last be wanted again."""
        best = point.best(self.results) if self.results else None
        if best is not None:
            save_checkpoint(self.path / BEST, best)
        elif self.results:
            self.warn(f"{point.path.with_name(BEST)} does not hold the best epoch so far: {self.path} is without it")
        save_checkpoint(self.path / LAST, point.checkpoint)

    def _write_tables(self) -> None:
        is_over = self._is_over()
        write_atomically(self.path / RESULTS, results_text(self.results, self.summary, is_over=is_over))
        write_atomically(self.path / TIMES, times_text(self.results))
        write_atomically(self.metrics, metrics_text(self.results, is_over=is_over))

    def _is_over(self) -> bool:
        return why_over([result.validation.top1 for result in self.results], self.config) is not None

    def _prepare(self) -> None:
        """Make the folder, without what an earlier run left, unless this goes on with it."""
        make_folder(self.path, "--output_dir")
        old = [] if self._goes_on else [RESULTS, TIMES, BROKEN_IMAGES, CURVES, NEIGHBORS, *RESULTS_OF_A_RUN]
        events = [] if self._goes_on else (self.path / TENSORBOARD).glob(EVENTS)
        try:
            for path in [*(self.path / name for name in old), *events, *self.path.glob(f".*{UNFINISHED}")]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"--output_dir={self.path} cannot be cleared: {error.strerror or error}") from None
        for name, text in self.texts.items():
            write_atomically(self.path / name, text)


def make_recipe(config: TrainConfig, data: ImageData) -> Recipe:
    """What a checkpoint must say about a run."""
    return Recipe(
        config.model,
        config.layer,
        config.width,
        config.settings,
        config.dataset,
        data.image_shape,
        data.mean,
        data.std,
        data.classes,
        config.fit,
        imports=config.imports or "",
        data_path=str(Path(config.data_path).absolute()),
    )


def args_text(config: TrainConfig, data: ImageData, summary: NetworkSummary) -> str:
    """args.txt: every flag, then what was found out about images and network."""
    lines = {f.name: getattr(config, f.name) for f in fields(config)}
    found_out = (data.num_classes, data.image_shape, summary.parameters, summary.trainable, summary.gflops)
    lines |= dict(zip(FOUND_OUT, found_out, strict=True))
    return arguments_text(lines)


def results_text(results: list[EpochResult], summary: NetworkSummary, *, is_over: bool) -> str:
    """train_eval_results.txt in the published format; where val chose the best epoch, with its test when `is_over`."""
    complexity = f"GFLOPs: {summary.gflops:.8f}, Trainable Parameters: {summary.trainable / 1e6:.8f} M"
    lines = [f"Model Complexity (Profiler): {complexity}"]
    lines += [
        f"[Epoch {result.epoch:03d}] Time: {result.seconds:.4f}s"
        f" | [Train] {_in_words(result.train)}"
        f" | [{result.validation_part.title()}] {_in_words(result.validation)}"
        for result in results
    ]
    best = max(results, key=lambda result: result.validation.top1)
    average = sum(result.seconds for result in results) / len(results)
    kind = "Max Accuracy" if best.val is None else "Max Val Accuracy"
    lines += ["", f"Average Epoch Time: {average:.4f}s"]
    lines += [f"{kind}: {best.validation.top1:.4%} at Epoch {best.epoch}"]
    if is_over and best.val is not None and best.test is not None:
        lines += [f"[Test] of Epoch {best.epoch}: {_in_words(best.test)}"]
    return "\n".join(lines) + "\n"


def metrics_text(results: list[EpochResult], *, is_over: bool) -> str:
    """metrics.csv: a row an epoch, accuracies from 0 to 1; no top-5 of fewer than five classes.

    Beside val stands test of the best epoch alone, when `is_over`.
    """
    if results[0].val is None:
        return csv_text(COLUMNS, [[r.epoch, *r.train, *r.validation, r.lr] for r in results])
    best = max(results, key=lambda result: result.validation.top1) if is_over else None
    unknown = (None,) * len(VAL_COLUMNS)
    rows = [
        [r.epoch, *r.train, *r.validation, *(r.test if r is best and r.test is not None else unknown), r.lr]
        for r in results
    ]
    return csv_text((*COLUMNS[:4], *VAL_COLUMNS, *COLUMNS[4:]), rows)


def times_text(results: list[EpochResult]) -> str:
    """times.csv: one row an epoch, of its training pass."""
    return csv_text(TIMES_COLUMNS, [[r.epoch, r.seconds, r.images_per_second] for r in results])


def _in_words(scores: Scores) -> str:
    top5 = "" if scores.top5 is None else f", Top5: {scores.top5:.4%}"
    return f"Loss: {scores.loss:.8f} Accuracy: Top1: {scores.top1:.4%}{top5}"
