"""What a run leaves in its folder, complete after every epoch."""

from collections.abc import Sequence
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
    VAL_COLUMNS,
    arguments_text,
)
from convnn.tables import csv_text
from convnn.train.callbacks import Callback
from convnn.train.checkpoint import Checkpoint, Recipe, RunState, save_checkpoint
from convnn.train.config import TrainConfig
from convnn.train.metrics import EpochResult, Scores
from convnn.train.summary import NetworkSummary, parameter_table


class RunFolder(Callback):
    """Keeps args.txt, model.txt, train_eval_results.txt, metrics.csv and three checkpoints.

    last.safetensors is the newest checkpoint, previous.safetensors the one before it, best.safetensors the weights of
    the best epoch.

    Args:
        config: the flags of the run.
        network: what learns.
        data: what it learns.
        summary: its size and cost.

    Raises:
        InputError: the folder holds the results of an earlier run, and neither `--overwrite` nor `--resume` is given.
        OutputError: the folder cannot be written.
    """

    def __init__(self, config: TrainConfig, network: Network, data: ImageData, summary: NetworkSummary) -> None:
        self.path = Path(config.output_dir)
        self.recipe = make_recipe(config, data)
        self.summary = summary
        self.num_epochs = config.num_epochs
        self.results: list[EpochResult] = []
        self._prepare(config)
        write_atomically(self.path / ARGUMENTS, args_text(config, data, summary))
        write_atomically(self.path / NETWORK, f"{network}\n\n{parameter_table(network)}\n")

    @property
    def metrics(self) -> Path:
        """The table of all epochs."""
        return self.path / METRICS

    def on_start(self, results: Sequence[EpochResult]) -> None:
        """Take over what a resumed run has reached."""
        self.results = list(results)
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

    def _write_tables(self) -> None:
        is_over = len(self.results) >= self.num_epochs
        write_atomically(self.path / RESULTS, results_text(self.results, self.summary, is_over=is_over))
        write_atomically(self.metrics, metrics_text(self.results, is_over=is_over))

    def _prepare(self, config: TrainConfig) -> None:
        """Make the folder, without what an earlier run left, unless this goes on with it."""
        if config.resume is None and not config.overwrite and (self.metrics.exists() or (self.path / LAST).exists()):
            raise InputError(
                f"--output_dir={self.path} holds the results of an earlier run; choose another, or pass --resume to go"
                " on with it, or --overwrite"
            )
        make_folder(self.path, "--output_dir")
        old = [] if config.resume else [METRICS, RESULTS, LAST, PREVIOUS, BEST, BROKEN_IMAGES, CURVES, NEIGHBORS]
        try:
            for path in [*(self.path / name for name in old), *self.path.glob(f".*{UNFINISHED}")]:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"--output_dir={self.path} cannot be cleared: {error.strerror or error}") from None


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
    )


def args_text(config: TrainConfig, data: ImageData, summary: NetworkSummary) -> str:
    """args.txt: every flag, then what was found out about images and network."""
    lines = {f.name: getattr(config, f.name) for f in fields(config)}
    found_out = (data.num_classes, data.image_shape, summary.parameters, summary.trainable)
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
    """metrics.csv: a row an epoch, accuracies from 0 to 1; beside val, test of the best epoch alone when `is_over`."""
    if results[0].val is None:
        return csv_text(COLUMNS, [[r.epoch, *r.train, *r.validation, r.lr] for r in results])
    best = max(results, key=lambda result: result.validation.top1) if is_over else None
    unknown = (None,) * len(VAL_COLUMNS)
    rows = [
        [r.epoch, *r.train, *r.validation, *(r.test if r is best and r.test is not None else unknown), r.lr]
        for r in results
    ]
    return csv_text((*COLUMNS[:4], *VAL_COLUMNS, *COLUMNS[4:]), rows)


def _in_words(scores: Scores) -> str:
    return f"Loss: {scores.loss:.8f} Accuracy: Top1: {scores.top1:.4%}, Top5: {scores.top5:.4%}"
