"""Finding the checkpoint that a run goes on from, and the flags that it goes on with."""

import reprlib
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import Field, dataclass, fields, replace
from pathlib import Path
from typing import Any

from convnn.errors import InputError, OutputError
from convnn.files import expand_home, is_same_folder
from convnn.runs.files import BEST, LAST, PREVIOUS
from convnn.train.checkpoint import LARGEST_NUMBER, Checkpoint, Recipe, check_recipe, read_checkpoint
from convnn.train.config import TrainConfig
from convnn.train.machine import check_machine
from convnn.train.metrics import EpochResult, best_of

AUTO = "auto"
DAMAGED = ".damaged"
"""Ends the names of checkpoints that were found damaged."""

MOST_NAMED = 4
"""Flags in one sentence."""

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
"""Flags that may differ when a run goes on; all others say what it computes."""


def may_change(name: str, config: TrainConfig) -> bool:
    """Whether a flag may differ when a run of such flags goes on: the cosine falls by the number of epochs."""
    return name in CHANGEABLE and not (name == "num_epochs" and config.scheduler == "cosine")


@dataclass(frozen=True)
class ResumePoint:
    """Where a run goes on.

    Attributes:
        path: the checkpoint.
        checkpoint: what it holds.
        config: the flags to go on with.
        damaged: newer checkpoints that cannot be read.
    """

    path: Path
    checkpoint: Checkpoint
    config: TrainConfig
    damaged: tuple[Path, ...] = ()

    @property
    def is_moved(self) -> bool:
        """Whether the run goes on in another folder than the one where the checkpoint is."""
        return not is_same_folder(self.path.parent, Path(self.config.output_dir))

    def best(self, results: Sequence[EpochResult]) -> Checkpoint | None:
        """The weights of the best epoch, from the checkpoint or from best.safetensors beside it; None: from neither.

        Args:
            results: of the epochs that are done, one at least.
        """
        run = self.checkpoint.run
        if run is not None and run.is_best:
            return Checkpoint(self.checkpoint.weights, self.checkpoint.recipe)
        try:
            best = read_checkpoint(self.path.with_name(BEST))
        except InputError:
            return None
        result = best_of(results)
        accuracy = None if result is None or result.test is None else result.test.top1
        is_right = result is not None and (best.recipe.epoch, best.recipe.test_top1) == (result.epoch, accuracy)
        return best if is_right else None

    @property
    def machine(self) -> dict[str, Any]:
        """Where it was computed, as `convnn.train.machine.this_machine` says it."""
        run = self.checkpoint.run
        return {} if run is None else dict(run.document["machine"])

    def set_damaged_aside(self) -> None:
        """Rename the damaged checkpoints of the run's own folder, so that they do not replace good ones.

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
    """The checkpoint that `--resume` means; None where "auto" finds no run to go on with.

    Args:
        given: the flags that were given, resume among them.
        warn: is told what was found broken and left aside.

    Raises:
        InputError: there is no checkpoint, none that can be read, or a flag differs from those of the run.
    """
    resume = expand_home(given["resume"], "--resume")
    target = Path(TrainConfig(**given).output_dir if resume == AUTO else resume)
    paths = _candidates(target)
    if not any(path.exists() for path in paths):
        if resume == AUTO:
            return None
        raise InputError(f"--resume={resume} has no {LAST}; give a checkpoint, the folder of a run, or auto")
    path, checkpoint, damaged = _first_readable(paths, warn)
    return ResumePoint(path, checkpoint, _continued(given, checkpoint, path), damaged)


def _candidates(target: Path) -> list[Path]:
    """Checkpoints, newest first."""
    if target.is_dir() or not target.suffix:
        return [target / LAST, target / PREVIOUS]
    return [target, target.with_name(PREVIOUS)] if target.name == LAST else [target]


def _first_readable(paths: Iterable[Path], warn: Callable[[str], None]) -> tuple[Path, Checkpoint, tuple[Path, ...]]:
    """The first checkpoint that can be read, and the damaged ones before it."""
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
            warn(f"{refusal}; going on from {path.name}")
        return path, checkpoint, tuple(refusals)
    raise InputError("; ".join(refusals.values()))


def _continued(given: dict[str, Any], checkpoint: Checkpoint, path: Path) -> TrainConfig:
    """The flags of the run, and those that were given now where they may differ."""
    if checkpoint.run is None:
        raise InputError(f"--resume={path} has weights only; a run goes on from {LAST}")
    check_recipe(checkpoint, path)  # what the flags build takes no more memory than the weights of the file
    before = _saved_flags(checkpoint, path)
    for name, value in given.items():
        if name not in CHANGEABLE and value != getattr(before, name):
            raise InputError(
                f"--{name}={value} differs from {getattr(before, name)}, the value of the run of {path}; leave it"
                " out, or start a new run"
            )
    if not may_change("num_epochs", before) and given.get("num_epochs", before.num_epochs) != before.num_epochs:
        raise InputError(
            f"--num_epochs={given['num_epochs']} differs from {before.num_epochs}, by which the cosine schedule of the"
            f" run of {path} falls; leave it out, or start a new run"
        )
    here = {"output_dir": str(path.parent), "overwrite": False, "test_only": False}
    config = TrainConfig(**(vars(before) | here | given))
    threads = checkpoint.run.document["machine"]["threads"] if given.get("threads") is None else config.threads
    return replace(config, threads=threads)


def _saved_flags(checkpoint: Checkpoint, path: Path) -> TrainConfig:
    """The flags of the run, which a file may say anything of."""
    document = {} if checkpoint.run is None else checkpoint.run.document
    saved: Any = document.get("config")
    try:
        if not isinstance(saved, dict):
            raise InputError(f"config={reprlib.repr(saved)}")
        flags = {f.name: f for f in fields(TrainConfig)}
        if unknown := [f"{name:.40}={reprlib.repr(value)}" for name, value in saved.items() if name not in flags]:
            raise InputError(f"{_listed(unknown)} is no flag of this version")
        for name, value in saved.items():
            _check_flag(flags[name], value)
        config = TrainConfig(**saved)  # a flag that there was not yet was as its default is
        check_machine(document.get("machine"))
    except InputError as error:
        raise InputError(f"--resume={path} is of a run whose flags are not understood: {error}") from None
    recipe = checkpoint.recipe
    if differences := _differences(config, recipe):
        raise InputError(f"--resume={path} is of a run whose flags and weights differ: {_listed(differences)}")
    if config.resize not in (None, *recipe.image_shape[1:]):
        raise InputError(f"--resume={path} is of a run with --resize={config.resize} on images {recipe.image_shape}")
    return config


def _differences(config: TrainConfig, recipe: Recipe) -> list[str]:
    """In what the flags of a run and the network of its weights are not the same, each as half a sentence."""
    of_recipe = {name: getattr(recipe, name) for name in ("model", "layer", "width", "dataset", "fit")}
    if (config.model, config.layer) == (recipe.model, recipe.layer):
        of_recipe |= TrainConfig(model=config.model, layer=config.layer).settings | recipe.settings
    return [
        f"--{name} is {reprlib.repr(ours)} by the flags and {reprlib.repr(theirs)} by the weights"
        for name, theirs in of_recipe.items()
        if (ours := getattr(config, name, None)) != theirs
    ]


def _listed(parts: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = [f"and {len(parts) - MOST_NAMED} more"] if len(parts) > MOST_NAMED else []
    return ", ".join([*parts[:MOST_NAMED], *more])


def _check_flag(f: "Field[Any]", value: Any) -> None:
    """Refuse a value that no command line would have given."""
    is_right = isinstance(value, (int, float) if f.type is float else typing.cast("type", f.type))
    is_right = is_right and isinstance(value, bool) == (f.type is bool)
    if not is_right or (isinstance(value, int) and abs(value) >= LARGEST_NUMBER):
        raise InputError(f"--{f.name}={reprlib.repr(value)}")
