"""The folder of a run, whose files are complete after every checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from torch import Tensor

from convnn.data import LabelledData
from convnn.errors import InputError, OutputError
from convnn.figures import figure_of
from convnn.files import UNFINISHED, make_folder, write_atomically
from convnn.models import Network
from convnn.runs.files import (
    ARGUMENTS,
    BEST,
    BROKEN_IMAGES,
    CURVES,
    FOUND_OUT,
    KERNELS,
    LAST,
    MASKS,
    METRICS,
    NEIGHBORS,
    NETWORK,
    PREVIOUS,
    RESULTS,
    SCORES,
    TENSORBOARD,
    TERM,
    TIMES,
    TIMES_COLUMNS,
    arguments_text,
)
from convnn.tables import csv_text
from convnn.train.callbacks import Callback
from convnn.train.checkpoint import Checkpoint, RunState, save_checkpoint
from convnn.train.config import TrainConfig
from convnn.train.metrics import EpochResult, Scores
from convnn.train.recipe import Recipe
from convnn.train.resume import ResumePoint
from convnn.train.stopping import stop_reason
from convnn.train.summary import NetworkSummary, parameter_table
from convnn.train.tensorboard import EVENTS

RUN_RESULTS = (METRICS, LAST, PREVIOUS, BEST)
"""Files that show that a folder holds a run, whose results must not be lost."""

OTHER_RESULTS = (RESULTS, TIMES, BROKEN_IMAGES, CURVES, MASKS, NEIGHBORS, KERNELS)


class RunFolder(Callback):
    """Writes args.txt, model.txt, train_eval_results.txt, times.csv, metrics.csv and three checkpoints.

    last.safetensors is the newest checkpoint, previous.safetensors the one before it, and best.safetensors holds the
    weights of the best epoch.

    Nothing is written before training starts. For a finished run only the tables are rewritten, unless it is resumed in
    another folder, which is then made complete.

    Args:
        config: flags of the run.
        network: the network.
        data: the training data.
        summary: size and cost of the network.
        point: point from which the run resumes, if it does; its checkpoints are copied to another folder.
        warn: called with a message if a checkpoint to copy is missing.

    Raises:
        InputError: the folder holds the results of an earlier run, which `--resume` does not continue, and
            `--overwrite` is not given.
    """

    def __init__(
        self,
        config: TrainConfig,
        network: Network,
        data: LabelledData,
        summary: NetworkSummary,
        point: ResumePoint | None = None,
        warn: Callable[[str], None] = print,
    ) -> None:
        self.path = Path(config.output_dir)
        self.recipe = make_recipe(config, data)
        self.summary = summary
        self.results: list[EpochResult] = []
        self.num_saved = 0
        self.moved_from = point if point is not None and point.is_moved else None
        self.warn = warn
        self.config = config
        self.texts = {
            ARGUMENTS: args_text(config, data, summary),
            NETWORK: f"{network}\n\n{parameter_table(network)}\n",
        }
        if not (self._is_resumed_here or config.overwrite) and any((self.path / name).exists() for name in RUN_RESULTS):
            resume = "only --resume" if config.resume else "--resume"
            raise InputError(
                f"--output_dir={self.path} holds the results of an earlier run; choose another, or pass {resume} to"
                " continue it, or --overwrite"
            )

    @property
    def _is_resumed_here(self) -> bool:
        """Whether the files in the folder belong to this run."""
        return self.config.resume is not None and self.moved_from is None

    @property
    def metrics(self) -> Path:
        """Path of the table of all epochs."""
        return self.path / METRICS

    def on_start(self, results: Sequence[EpochResult]) -> None:
        """Create the folder and take over the results of a resumed run.

        Raises:
            OutputError: the folder cannot be written.
        """
        self.results = list(results)
        if self.moved_from is not None or not self._is_over():
            self._prepare()
        if self.moved_from is not None:
            self._copy_checkpoints(self.moved_from)
        self.num_saved = len(self.results)
        if self.results:
            self._write_tables()

    def on_epoch_end(self, result: EpochResult) -> None:
        """Rewrite the tables, if the checkpoint has this epoch."""
        self.results.append(result)
        if self.num_saved == len(self.results):
            self._write_tables()

    def on_checkpoint(self, weights: dict[str, Tensor], run: RunState) -> None:
        """Save the checkpoints, the best first, because the last one implies that it exists."""
        result, recipe = run.last_result, self.recipe
        if result is not None:
            recipe = replace(recipe, epoch=result["epoch"], test_top1=None)
            if result["test"] is not None:
                recipe = replace(recipe, test_top1=Scores(*result["test"]).top1)
        if run.is_best:
            save_checkpoint(self.path / BEST, Checkpoint(weights, recipe))
        save_checkpoint(self.path / LAST, Checkpoint(weights, recipe, run), old_to=self.path / PREVIOUS)
        self.last_good = self.path / LAST
        if self.results and self.num_saved < len(self.results):  # of earlier epochs, which had no checkpoint
            self._write_tables()
        self.num_saved = len(run.document["results"])

    def on_broken_images(self, messages: Sequence[str]) -> None:
        """List the skipped images in a file."""
        write_atomically(self.path / BROKEN_IMAGES, "".join(f"{message}\n" for message in messages))

    def _copy_checkpoints(self, point: ResumePoint) -> None:
        """Copy the checkpoints of a run from its old folder; a best epoch that is past would otherwise be lost."""
        best = point.best(self.results) if self.results else None
        if best is not None:
            save_checkpoint(self.path / BEST, best)
        elif self.results:
            self.warn(f"{point.path.with_name(BEST)} does not hold the best epoch so far, so {self.path} has none")
        save_checkpoint(self.path / LAST, point.checkpoint)

    def _write_tables(self) -> None:
        is_over = self._is_over()
        write_atomically(self.path / RESULTS, results_text(self.results, self.summary, is_over=is_over))
        write_atomically(self.path / TIMES, times_text(self.results))
        write_atomically(self.metrics, metrics_text(self.results, is_over=is_over))

    def _is_over(self) -> bool:
        return stop_reason([result.validation.merit for result in self.results], self.config) is not None

    def _prepare(self) -> None:
        """Create the folder and, unless the run is resumed in it, remove the files of an earlier run."""
        make_folder(self.path, "--output_dir")
        old = [] if self._is_resumed_here else [*OTHER_RESULTS, *RUN_RESULTS]
        events = [] if self._is_resumed_here else (self.path / TENSORBOARD).glob(EVENTS)
        try:
            for path in [*(self.path / name for name in old), *events, *self.path.glob(f".*{UNFINISHED}")]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"--output_dir={self.path} cannot be cleared: {error.strerror or error}") from None
        for name, text in self.texts.items():
            write_atomically(self.path / name, text)


def make_recipe(config: TrainConfig, data: LabelledData) -> Recipe:
    """Return the recipe that the checkpoints of a run record."""
    return Recipe(
        config.model,
        config.layer,
        config.width,
        config.settings,
        config.dataset,
        data.input_shape,
        data.mean,
        data.std,
        data.classes,
        config.fit,
        imports=config.imports or "",
        data_path=str(Path(config.data_path).absolute()),
        data_settings=config.data_settings,
        names=data.names,
        kind=data.kind,
    )


def args_text(config: TrainConfig, data: LabelledData, summary: NetworkSummary) -> str:
    """Return args.txt: every flag, then the properties of images and network."""
    lines = {f.name: getattr(config, f.name) for f in fields(config)}
    found_out = (data.num_classes, data.input_shape, summary.parameters, summary.trainable, summary.gflops)
    lines |= dict(zip(FOUND_OUT, found_out, strict=True))
    return arguments_text(lines)


def results_text(results: list[EpochResult], summary: NetworkSummary, *, is_over: bool) -> str:
    """Return train_eval_results.txt in the published format; with a val part, test scores are added when `is_over`."""
    complexity = f"GFLOPs: {summary.gflops:.8f}, Trainable Parameters: {summary.trainable / 1e6:.8f} M"
    lines = [f"Model Complexity (Profiler): {complexity}"]
    lines += [
        f"[Epoch {result.epoch:03d}] Time: {result.seconds:.4f}s"
        f" | [Train] {_format_scores(result.train)}"
        f" | [{result.validation_part.title()}] {_format_scores(result.validation)}"
        for result in results
    ]
    best = max(results, key=lambda result: result.validation.merit)
    average = sum(result.seconds for result in results) / len(results)
    metric, value = best.validation.metric, best.validation.value
    figure, name = figure_of(metric), "Accuracy" if metric == "top-1" else metric
    kind = f"{'Max' if figure.more_is_better else 'Min'} {'' if best.val is None else 'Val '}{name}"
    decided = _format_value(metric, value)
    lines += ["", f"Average Epoch Time: {average:.4f}s"]
    lines += [f"{kind}: {decided} at Epoch {best.epoch}"]
    if is_over and best.val is not None and best.test is not None:
        lines += [f"[Test] of Epoch {best.epoch}: {_format_scores(best.test)}"]
    return "\n".join(lines) + "\n"


def metrics_text(results: list[EpochResult], *, is_over: bool) -> str:
    """Return metrics.csv: a row per epoch, accuracies from 0 to 1, no top-5 below five classes.

    Without labels there are no columns of accuracies.
    With a val part, test scores are given for the best epoch only, when `is_over`. Then come the terms of the loss,
    and last the measures of a ranking.
    """
    has_val = results[0].val is not None
    names_of_parts = ("val", "test") if has_val else ("test",)
    best = max(results, key=lambda result: result.validation.merit) if has_val and is_over else None
    names, width = tuple(results[0].validation.measures), 1 if results[0].train.top1 is None else 3
    rows = []
    for r in results:
        parts = [r.validation, r.test if r is best else None][: 1 + has_val]
        scores = [None if part is None else part[i] for part in (r.train, *parts) for i in range(width)]
        measures = [None if part is None else part.measures[name] for part in parts for name in names]
        rows.append([r.epoch, *scores, r.lr, *r.terms.values(), *measures])
    of_scores = [f"{part}_{name}" for part in ("train", *names_of_parts) for name in SCORES[:width]]
    terms = [TERM + name for name in results[0].terms]
    of_parts = [f"{part}_{name}" for part in names_of_parts for name in names]
    return csv_text(("epoch", *of_scores, "lr", *terms, *of_parts), rows)


def times_text(results: list[EpochResult]) -> str:
    """Return times.csv: the training pass of each epoch, a row per epoch."""
    return csv_text(TIMES_COLUMNS, [[r.epoch, r.seconds, r.images_per_second] for r in results])


def _format_scores(scores: Scores) -> str:
    top5 = "" if scores.top5 is None else f", Top5: {scores.top5:.4%}"
    accuracy = "" if scores.top1 is None else f" Accuracy: Top1: {scores.top1:.4%}{top5}"
    measures = "".join(f", {name}: {_format_value(name, value)}" for name, value in scores.measures.items())
    return f"Loss: {scores.loss:.8f}{accuracy}{measures}"


def _format_value(name: str, value: float) -> str:
    return f"{value:.4%}" if figure_of(name).is_share else f"{value:.8f}"
