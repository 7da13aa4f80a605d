"""Means of the runs of a study that differ only in their seed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from convnn.errors import InputError
from convnn.runs.files import METRICS
from convnn.runs.read import Run, read_run

IRRELEVANT_FLAGS = (
    "output_dir",
    "resume",
    "overwrite",
    "checkpoint",
    "test_only",
    "seed",
    "device",
    "threads",
    "num_workers",
)
"""Flags in which repetitions may differ."""


def is_study(folder: Path | str) -> bool:
    """Return whether a folder contains runs and is not a run itself."""
    folder = Path(folder)
    return folder.is_dir() and not (folder / METRICS).exists() and any(folder.glob(f"*/{METRICS}"))


def read_study_runs(folder: Path | str) -> list[Run]:
    """Read the runs of a study, and average those that differ only in their seed.

    Args:
        folder: folder of the study, with a subfolder for each run.

    Returns:
        A run for each combination of settings, best first, named after the settings in which it differs.

    Raises:
        InputError: all runs have the same settings, or a run has a missing or unreadable file.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Run]] = {}
    for metrics in sorted(Path(folder).glob(f"*/{METRICS}")):
        run = read_run(metrics.parent)
        flags = {name: value for name, value in run.flags.items() if name not in IRRELEVANT_FLAGS}
        groups.setdefault(tuple(flags.items()), []).append(run)
    if len(groups) < 2:
        raise InputError(f"all runs of study '{folder}' have the same settings; give two runs or more to compare")
    means = [_mean(dict(flags), runs) for flags, runs in groups.items()]
    differing = [name for name in means[0].flags if len({run.flags.get(name) for run in means}) > 1]
    means = [replace(run, name=_name(run, differing)) for run in means]
    return sorted(means, key=lambda run: -run.merits[run.best] if run.best is not None else 0)


def _mean(flags: dict[str, str], runs: Sequence[Run]) -> Run:
    """Return the mean of runs, over the epochs that all of them have."""
    epochs = min(len(run.curves["epoch"]) for run in runs)
    columns = [name for name in runs[0].curves if all(name in run.curves for run in runs)]
    curves = {
        name: [fmean(values) for values in zip(*(run.curves[name][:epochs] for run in runs), strict=True)]
        for name in columns
    }
    seconds = fmean(run.seconds for run in runs)
    return replace(runs[0], flags=flags, curves=curves, seconds=seconds, repeats=tuple(runs))


def _name(run: Run, flags: Sequence[str]) -> str:
    """Return the values of some flags as text: words stand alone, numbers follow their name."""
    values = {name: run.flags[name] for name in flags if run.flags.get(name) not in (None, "None")}
    return ", ".join(value if _is_word(value) else f"{name}={value}" for name, value in values.items())


def _is_word(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text not in ("True", "False")
    return False
