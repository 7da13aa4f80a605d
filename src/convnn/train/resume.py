"""Finding the checkpoint that a run goes on from, and the flags that it goes on with."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convnn.errors import InputError
from convnn.train.checkpoint import Checkpoint, read_checkpoint
from convnn.train.config import TrainConfig
from convnn.train.folder import LAST, PREVIOUS

AUTO = "auto"

CHANGEABLE = {
    "num_epochs",
    "data_path",
    "download",
    "num_workers",
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
    "test_only",
    "checkpoint",
}
"""Flags that may differ when a run goes on; all others say what it computes."""


@dataclass(frozen=True)
class ResumePoint:
    """Where a run goes on.

    Attributes:
        path: the checkpoint.
        checkpoint: what it holds.
        config: the flags to go on with.
    """

    path: Path
    checkpoint: Checkpoint
    config: TrainConfig


def find_resume_point(given: dict[str, Any], warn: Callable[[str], None]) -> ResumePoint | None:
    """The checkpoint that `--resume` means; None where "auto" finds no run to go on with.

    Args:
        given: the flags that were given, resume among them.
        warn: is told what was found broken and left aside.

    Raises:
        InputError: there is no checkpoint, none that can be read, or a flag differs from those of the run.
    """
    resume = given["resume"]
    target = Path(TrainConfig(**given).output_dir if resume == AUTO else resume)
    paths = _candidates(target)
    if not any(path.exists() for path in paths):
        if resume == AUTO:
            return None
        raise InputError(f"--resume={resume} has no {LAST}; give a checkpoint, the folder of a run, or auto")
    path, checkpoint = _first_readable(paths, warn)
    return ResumePoint(path, checkpoint, _continued(given, checkpoint, path))


def _candidates(target: Path) -> list[Path]:
    """Checkpoints, newest first."""
    if target.is_dir() or not target.suffix:
        return [target / LAST, target / PREVIOUS]
    return [target, target.with_name(PREVIOUS)] if target.name == LAST else [target]


def _first_readable(paths: Iterable[Path], warn: Callable[[str], None]) -> tuple[Path, Checkpoint]:
    refusals = []
    for path in paths:
        if not path.exists():
            continue
        try:
            checkpoint = read_checkpoint(path)
        except InputError as error:
            refusals.append(str(error))
            continue
        for refusal in refusals:
            warn(f"{refusal}; going on from {path.name}")
        return path, checkpoint
    raise InputError("; ".join(refusals))


def _continued(given: dict[str, Any], checkpoint: Checkpoint, path: Path) -> TrainConfig:
    """The flags of the run, and those that were given now where they may differ."""
    if checkpoint.run is None:
        raise InputError(f"--resume={path} has weights only; a run goes on from {LAST}")
    saved: Any = checkpoint.run.document.get("config")
    try:
        before = TrainConfig(**saved)
    except (InputError, TypeError) as error:
        raise InputError(f"--resume={path} is of a run whose flags are not understood: {error}") from None
    for name in given.keys() - CHANGEABLE:
        if given[name] != getattr(before, name):
            raise InputError(
                f"--{name}={given[name]} differs from {getattr(before, name)}, the value of the run of {path}; leave it"
                " out, or start a new run"
            )
    if before.scheduler == "cosine" and given.get("num_epochs", before.num_epochs) != before.num_epochs:
        raise InputError(
            f"--num_epochs={given['num_epochs']} differs from {before.num_epochs}, by which the cosine schedule of the"
            f" run of {path} falls; leave it out, or start a new run"
        )
    here = {"output_dir": str(path.parent), "overwrite": False, "test_only": False}
    return TrainConfig(**(vars(before) | here | given))
