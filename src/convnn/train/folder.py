"""What a run leaves in its folder, complete after every epoch."""

import csv
import io
from dataclasses import fields, replace
from pathlib import Path

from convnn.data import ImageData
from convnn.errors import InputError, TrainingError
from convnn.models import Network
from convnn.train.callbacks import Callback
from convnn.train.checkpoint import Recipe, save_checkpoint
from convnn.train.config import TrainConfig
from convnn.train.files import write_atomically
from convnn.train.metrics import EpochResult
from convnn.train.summary import NetworkSummary, parameter_table

COLUMNS = (
    "epoch",
    "time",
    "train_loss",
    "train_top1",
    "train_top5",
    "test_loss",
    "test_top1",
    "test_top5",
    "lr",
    "images_per_second",
)


class RunFolder(Callback):
    """Writes args.txt, model.txt, train_eval_results.txt, metrics.csv, last.safetensors and best.safetensors.

    Args:
        config: the flags of the run.
        network: whose weights are saved.
        data: what it learns.
        summary: its size and cost.

    Raises:
        InputError: the folder holds the results of an earlier run and `--overwrite` is not given.
        TrainingError: the folder cannot be written.
    """

    def __init__(self, config: TrainConfig, network: Network, data: ImageData, summary: NetworkSummary) -> None:
        self.path = Path(config.output_dir)
        self.network = network
        self.recipe = make_recipe(config, data)
        self.summary = summary
        self.results: list[EpochResult] = []
        self._make(overwrite=config.overwrite)
        write_atomically(self.path / "args.txt", args_text(config, data, summary))
        write_atomically(self.path / "model.txt", f"{network}\n\n{parameter_table(network)}\n")

    @property
    def metrics(self) -> Path:
        """The table of all epochs."""
        return self.path / "metrics.csv"

    def on_epoch_end(self, result: EpochResult) -> None:
        """Rewrite the tables, save the weights."""
        self.results.append(result)
        write_atomically(self.path / "train_eval_results.txt", results_text(self.results, self.summary))
        write_atomically(self.metrics, metrics_text(self.results))
        recipe = replace(self.recipe, epoch=result.epoch, test_top1=result.test.top1)
        save_checkpoint(self.path / "last.safetensors", self.network, recipe)
        if result.is_best:
            save_checkpoint(self.path / "best.safetensors", self.network, recipe)

    def _make(self, *, overwrite: bool) -> None:
        if (self.path / "metrics.csv").exists() and not overwrite:
            raise InputError(
                f"--output_dir={self.path} holds the results of an earlier run; choose another or pass --overwrite"
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for old in ("metrics.csv", "train_eval_results.txt", "last.safetensors", "best.safetensors", "curves.png"):
                (self.path / old).unlink(missing_ok=True)
        except OSError as error:
            raise TrainingError(f"--output_dir={self.path} cannot be made: {error.strerror or error}") from None


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
    )


def args_text(config: TrainConfig, data: ImageData, summary: NetworkSummary) -> str:
    """`key: value` lines: every flag, then what was found out about images and network."""
    lines = {f.name: getattr(config, f.name) for f in fields(config)}
    lines |= {"num_classes": data.num_classes, "img_size": data.image_shape}
    lines |= {"total_params": summary.parameters, "trainable_params": summary.trainable}
    return "".join(f"{name}: {value}\n" for name, value in lines.items())


def results_text(results: list[EpochResult], summary: NetworkSummary) -> str:
    """train_eval_results.txt in the published format."""
    complexity = f"GFLOPs: {summary.gflops:.8f}, Trainable Parameters: {summary.trainable / 1e6:.8f} M"
    lines = [f"Model Complexity (Profiler): {complexity}"]
    for result in results:
        train, test = result.train, result.test
        lines.append(
            f"[Epoch {result.epoch:03d}] Time: {result.seconds:.4f}s"
            f" | [Train] Loss: {train.loss:.8f} Accuracy: Top1: {train.top1:.4%}, Top5: {train.top5:.4%}"
            f" | [Test] Loss: {test.loss:.8f} Accuracy: Top1: {test.top1:.4%}, Top5: {test.top5:.4%}"
        )
    best = max(results, key=lambda result: result.test.top1)
    average = sum(result.seconds for result in results) / len(results)
    lines += ["", f"Average Epoch Time: {average:.4f}s"]
    lines += [f"Max Accuracy: {best.test.top1:.4%} at Epoch {best.epoch}"]
    return "\n".join(lines) + "\n"


def metrics_text(results: list[EpochResult]) -> str:
    """metrics.csv: one row an epoch, accuracies from 0 to 1."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(COLUMNS)
    for r in results:
        table.writerow([r.epoch, f"{r.seconds:.4f}", *r.train, *r.test, r.lr, f"{r.images_per_second:.1f}"])
    return file.getvalue()
