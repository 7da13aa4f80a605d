"""The checkpoint that a run resumes from, and the flags it resumes with."""

import reprlib
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any

from convnn.errors import InputError, OutputError
from convnn.files import expand_home, is_same_folder
from convnn.runs.files import BEST, LAST, PREVIOUS
from convnn.train.checkpoint import Checkpoint, check_recipe, read_checkpoint
from convnn.train.config import TrainConfig
from convnn.train.flags import value_type
from convnn.train.machine import check_machine
from convnn.train.metrics import EpochResult, best_result
from convnn.train.recipe import LARGEST_NUMBER, Recipe

AUTO = "auto"
DAMAGED = ".damaged"
"""Suffix of the names of damaged checkpoints."""

MOST_NAMED = 4
"""The largest number of flags that one message lists."""

CHANGEABLE = {
    "num_epochs",
    "imports",
    "patience",
    "threads",
    "data_path",
    "download",
    "num_workers",
    "keep_images",
    "on_bad_image",
    "use_compiled",
    "compile_mode",
    "detect_anomaly",
    "deterministic",
    "fsdp",
    "device",
    "backend",
    "output_dir",
    "resume",
    "checkpoint_every",
    "overwrite",
    "tensorboard",
    "log_neighbors",
    "test_only",
    "checkpoint",
}
"""Flags that may change when a run is resumed; all others decide what it computes."""


def is_changeable(name: str, config: TrainConfig) -> bool:
    """Return whether a flag may change when a run is resumed; some schedules depend on the number of epochs."""
    return name in CHANGEABLE and not (name == "num_epochs" and scheduled_by_length(config) is not None)


def scheduled_by_length(config: TrainConfig) -> str | None:
    """Return what of a run proceeds by its share of all epochs, or None if nothing does."""
    if config.scheduler == "cosine":
        return "the cosine schedule"
    is_fading = config.distill is not None and config.distill_loss == "cskd"
    return "the schedule of --distill_decay" if is_fading else None


@dataclass(frozen=True)
class ResumePoint:
    """The point from which a run resumes.

    Attributes:
        path: file of the checkpoint.
        checkpoint: its contents.
        config: flags to resume with.
        damaged: newer checkpoints that cannot be read.
    """

    path: Path
    checkpoint: Checkpoint
    config: TrainConfig
    damaged: tuple[Path, ...] = ()

    @property
    def is_moved(self) -> bool:
        """Whether the run resumes in a folder other than that of the checkpoint."""
        return not is_same_folder(self.path.parent, Path(self.config.output_dir))

    def best(self, results: Sequence[EpochResult]) -> Checkpoint | None:
        """Return the weights of the best epoch, from the checkpoint or best.safetensors beside it, or None.

        Args:
            results: results of the finished epochs, at least one.
        """
        run = self.checkpoint.run
        if run is not None and run.is_best:
            return Checkpoint(self.checkpoint.weights, self.checkpoint.recipe)
        try:
            best = read_checkpoint(self.path.with_name(BEST))
        except InputError:
            return None
        result = best_result(results)
        accuracy = None if result is None or result.test is None else result.test.top1
        is_best = result is not None and (best.recipe.epoch, best.recipe.test_top1) == (result.epoch, accuracy)
        return best if is_best else None

    @property
    def machine(self) -> dict[str, Any]:
        """The machine of the checkpoint, as `convnn.train.machine.describe_machine` returns it."""
        run = self.checkpoint.run
        return {} if run is None else dict(run.document["machine"])

    def rename_damaged(self) -> None:
        """Rename the damaged checkpoints in the run's own folder, so that they do not replace good ones.

        Raises:
            OutputError: the folder cannot be written.
        """
        for path in self.damaged:
            if not self.is_moved:
                try:
                    path.replace(path.with_name(path.name + DAMAGED))
                except OSError as error:
                    raise OutputError(f"cannot rename '{path}': {error.strerror or error}") from None


def find_resume_point(given: dict[str, Any], warn: Callable[[str], None]) -> ResumePoint | None:
    """Find the checkpoint that `--resume` names, or None where "auto" finds no run to resume.

    Args:
        given: the flags that were given, including `resume`.
        warn: called with a message for each broken checkpoint that is skipped.

    Raises:
        InputError: there is no checkpoint, none can be read, or a flag differs from those of the run.
    """
    resume = expand_home(given["resume"], "--resume")
    target = Path(TrainConfig(**given).output_dir if resume == AUTO else resume)
    paths = _candidates(target)
    if not any(path.exists() for path in paths):
        if resume == AUTO:
            return None
        raise InputError(f"--resume={resume} has no {LAST}; give a checkpoint, the folder of a run, or auto")
    path, checkpoint, damaged = _first_readable(paths, warn)
    return ResumePoint(path, checkpoint, _resumed_config(given, checkpoint, path), damaged)


def _candidates(target: Path) -> list[Path]:
    """Return the checkpoints to try, newest first."""
    if target.is_dir() or not target.suffix:
        return [target / LAST, target / PREVIOUS]
    return [target, target.with_name(PREVIOUS)] if target.name == LAST else [target]


def _first_readable(paths: Iterable[Path], warn: Callable[[str], None]) -> tuple[Path, Checkpoint, tuple[Path, ...]]:
    """Return the first checkpoint that can be read, and the damaged ones before it."""
    refusals: dict[Path, str] = {}
    for path in paths:
        if not path.exists():
            continue
        try:
            checkpoint = read_checkpoint(path)
        except InputError as error:
            refusals[path] = str(error)
            continue
        for refusal in refusals.values():
            warn(f"{refusal}; resuming from {path.name}")
        return path, checkpoint, tuple(refusals)
    raise InputError("; ".join(refusals.values()))


def _resumed_config(given: dict[str, Any], checkpoint: Checkpoint, path: Path) -> TrainConfig:
    """Return the flags of the run, updated by the given ones that may change."""
    if checkpoint.run is None:
        raise InputError(f"--resume={path} holds weights only; resume from {LAST}")
    check_recipe(checkpoint, path)  # so that the network takes no more memory than the weights of the file
    before = _saved_flags(checkpoint, path)
    for name, value in given.items():
        if name not in CHANGEABLE and value != getattr(before, name):
            raise InputError(
                f"--{name}={value} differs from {getattr(before, name)}, its value in the run of {path}; leave it"
                " out, or start a new run"
            )
    if not is_changeable("num_epochs", before) and given.get("num_epochs", before.num_epochs) != before.num_epochs:
        raise InputError(
            f"--num_epochs={given['num_epochs']} differs from {before.num_epochs}, the length of"
            f" {scheduled_by_length(before)} of the run of {path}; leave it out, or start a new run"
        )
    defaults = {"output_dir": str(path.parent), "overwrite": False, "test_only": False}
    config = TrainConfig(**(vars(before) | defaults | given))
    threads = checkpoint.run.document["machine"]["threads"] if given.get("threads") is None else config.threads
    return replace(config, threads=threads)


def _saved_flags(checkpoint: Checkpoint, path: Path) -> TrainConfig:
    """Return the flags of the run from an untrusted file."""
    document = {} if checkpoint.run is None else checkpoint.run.document
    saved: Any = document.get("config")
    try:
        if not isinstance(saved, dict):
            raise InputError(f"config={reprlib.repr(saved)}")
        flags = {f.name: f for f in fields(TrainConfig)}
        if unknown := [f"{name:.40}={reprlib.repr(value)}" for name, value in saved.items() if name not in flags]:
            raise InputError(f"this version has no flag for {_join_first(unknown)}")
        for name, value in saved.items():
            _check_flag(flags[name], value)
        config = TrainConfig(**saved)  # a flag that the file lacks is newer than it and has its default
        check_machine(document.get("machine"))
    except InputError as error:
        raise InputError(f"--resume={path} is of a run whose flags cannot be read: {error}") from None
    recipe = checkpoint.recipe
    if differences := _differences(config, recipe):
        raise InputError(f"--resume={path} is of a run whose flags and weights differ: {_join_first(differences)}")
    if recipe.kind != "sequence" and config.resize not in (None, *recipe.input_shape[1:]):
        raise InputError(f"--resume={path} is of a run with --resize={config.resize} on images {recipe.input_shape}")
    return config


def _differences(config: TrainConfig, recipe: Recipe) -> list[str]:
    """Describe the differences between the flags of a run and the recipe of its weights, each as half a sentence."""
    expected = {name: getattr(recipe, name) for name in ("model", "layer", "width", "dataset", "fit")}
    expected |= recipe.data_settings
    if (config.model, config.layer) == (recipe.model, recipe.layer):
        expected |= TrainConfig(model=config.model, layer=config.layer).settings | recipe.settings
    return [
        f"--{name} is {reprlib.repr(flag)} in the flags and {reprlib.repr(value)} in the weights"
        for name, value in expected.items()
        if (flag := getattr(config, name, None)) != value
    ]


def _join_first(parts: Sequence[str]) -> str:
    """List the first parts and the number of the others."""
    more = [f"and {len(parts) - MOST_NAMED} more"] if len(parts) > MOST_NAMED else []
    return ", ".join([*parts[:MOST_NAMED], *more])


def _check_flag(f: "Field[Any]", value: Any) -> None:
    """Refuse a value that a command line could not have set."""
    is_valid = isinstance(value, (int, float) if f.type is float else typing.cast("type", f.type))
    is_valid = is_valid and (value is None or isinstance(value, bool) == (value_type(f.type) is bool))
    if not is_valid or (isinstance(value, int) and abs(value) >= LARGEST_NUMBER):
        raise InputError(f"--{f.name}={reprlib.repr(value)}")
