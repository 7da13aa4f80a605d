"""The output of a run: a table, a progress bar on a terminal, and one plain line per epoch."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from convnn.data import ON_GRAPHS, LabelledData
from convnn.figures import figure_of
from convnn.screen import print_line
from convnn.train.callbacks import Callback
from convnn.train.config import TrainConfig
from convnn.train.metrics import EpochResult, Scores, best_result
from convnn.train.summary import NetworkSummary
from convnn.words import counted

if TYPE_CHECKING:
    from accelerate import Accelerator


def print_summary(
    console: Console, config: TrainConfig, data: LabelledData, summary: NetworkSummary, accelerator: "Accelerator"
) -> None:
    """Print what is about to run."""
    processes = f", {accelerator.num_processes} processes" if accelerator.num_processes > 1 else ""
    epochs = counted(config.num_epochs, "epoch")
    sides = "x".join(map(str, data.input_shape)) + (" features" if data.kind in ON_GRAPHS else "")
    if data.kind == "triple":
        sides = counted(data.input_shape[0], "relation")
    if data.task == "ranking":
        sides = "{} users, {} items".format(*data.input_shape)
    batch = "the whole graph" if data.kind == "node" else f"batch {config.batch_size}"
    parts = ", ".join(f"{loader.num_samples:,} {part}" for part, loader in data.parts.items())
    rows = {
        "network": f"{config.model} of {config.layer}" + (f", width {config.width}" if config.width != 1 else ""),
        "parameters": f"{summary.parameters:,}",
        "GFLOPs": f"{summary.gflops:.3f} {'an' if data.kind in ('image', 'interaction') else 'a'} {data.kind}",
        f"{data.kind}s": f"{data.name}: {parts}, {sides}",
        "device": f"{accelerator.device.type}{processes}" + (", mixed precision" if config.use_amp else ""),
        "training": f"{epochs}, {batch}, {config.optimizer} at {config.lr:g}",
        "results": config.output_dir,
    }
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    for name, value in rows.items():
        table.add_row(name, Text(value, overflow="fold"))
    console.print(table)
    if data.left_out:
        first, *others = data.left_out
        more = f" and {len(others):,} more" if others else ""
        print_line(console, f"skipped files that are not pictures by their names: {first}{more}")


class ConsoleReport(Callback):
    """Shows a progress bar during an epoch, if the console is a terminal, and a line after it."""

    def __init__(self, console: Console, num_epochs: int, samples: str = "images") -> None:
        self.console = console
        self.samples = samples
        self.num_epochs = num_epochs
        self.start = time.perf_counter()
        self.best: EpochResult | None = None
        self.num_broken = 0
        self.epochs_before = 0
        self.bar: Progress | None = None
        self.task = TaskID(0)

    def on_start(self, results: Sequence[EpochResult]) -> None:
        """Take over the results of a resumed run."""
        self.epochs_before = len(results)
        self.best = best_result(results)

    def on_epoch_start(self, epoch: int, steps: int) -> None:
        """Show an empty bar."""
        if self.console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task(f"epoch {epoch}/{self.num_epochs}", total=steps)
            self.bar.start()

    def on_step(self, step: int) -> None:
        """Advance the bar."""
        if self.bar is not None:
            self.bar.update(self.task, completed=step)

    def on_epoch_end(self, result: EpochResult) -> None:
        """Replace the bar by a line of results."""
        self.stop()
        self.best = result if result.is_best else self.best
        elapsed = time.perf_counter() - self.start
        left = (self.num_epochs - result.epoch) * elapsed / (result.epoch - self.epochs_before)
        train, validation = result.train, result.validation
        print_line(
            self.console,
            f"epoch {result.epoch:>{len(str(self.num_epochs))}}/{self.num_epochs}"
            f"  train {train.loss:.4f}"
            + ("" if train.top1 is None else f" top-1 {train.top1:.2%}")
            + f"  {result.validation_part} {validation.loss:.4f}{_measures(validation)}"
            f"  {result.images_per_second:,.0f} {self.samples}/s  {_duration(left)} left"
            + ("  best" if result.is_best else ""),
        )

    def on_broken_images(self, messages: Sequence[str]) -> None:
        """Print their number if it has grown."""
        if len(messages) > self.num_broken:
            self.num_broken = len(messages)
            print_line(self.console, f"skipped {counted(self.num_broken, 'image')} so far: {messages[-1]}")

    def on_test(self, best: EpochResult) -> None:
        """Print the test scores of the best epoch."""
        if best.test is not None:
            print_line(
                self.console,
                f"test {best.test.loss:.4f}{_measures(best.test)} of epoch {best.epoch}, the best on val",
            )

    def on_end(self) -> None:
        """Print the best epoch and the time of the run."""
        if self.best is not None:
            took = _duration(time.perf_counter() - self.start)
            metric, value = self.best.validation.metric, self.best.validation.value
            print_line(
                self.console,
                f"best {self.best.validation_part} {metric} {figure_of(metric).text(value)} in epoch"
                f" {self.best.epoch},"
                f" after {took}",
            )

    def stop(self) -> None:
        """Remove the bar from the screen."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def _measures(scores: Scores) -> str:
    return "".join(f" {name} {text}" for name, text in scores.texts.items())


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
