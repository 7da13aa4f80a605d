"""A run of a study, in a process of its own that ends with the sweep that started it.

On Linux these processes are forked from one that has imported everything and computed nothing, so that a sweep imports
only once; on other systems each process imports again.
"""

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import Field, fields
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from convnn.errors import OutputError
from convnn.files import make_folder
from convnn.models import reads_of
from convnn.signals import begin_process
from convnn.study.definition import PlannedRun
from convnn.study.device import Device
from convnn.train import TrainConfig
from convnn.train.flags import option_of

LOG = "log.txt"
"""The file in a run's folder with its output."""

COMMAND_LINE = "convnn.cli"
"""The module whose `main` makes a run."""

PRELOADED = (
    f"{COMMAND_LINE}.train",
    f"{COMMAND_LINE}._callbacks",
    "accelerate",
    "torch.distributed.checkpoint.state_dict",
)
"""Modules that every run imports."""

OF_GRAPHS = ("torch_geometric.nn", "torch_geometric.datasets")
"""Modules that runs on graphs import too."""


class Worker:
    """A run in progress.

    Args:
        run: run to start, or to resume if it was interrupted.
        device: device of the run.

    Raises:
        OutputError: the folder of the run cannot be written.
    """

    def __init__(self, run: PlannedRun, device: Device) -> None:
        self.run = run
        self.device = device
        log = make_folder(run.folder, "folder of the run") / LOG
        try:
            log.open("ab").close()
        except OSError as error:
            raise OutputError(f"'{log}' cannot be written: {error.strerror or error}") from None
        words = ["train", *arguments(run.config), "--device", device.kind]
        modules = PRELOADED + (OF_GRAPHS if reads_of(run.config.model) == "graphs" else ())
        self._process = _process(modules, words, str(log), device.environment)
        self._process.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid or 0

    @property
    def status(self) -> int | None:
        """Exit status; None while it is running."""
        return self._process.exitcode

    def stop(self) -> None:
        """Ask the run to save and end."""
        if self._process.is_alive():
            self._process.terminate()

    def wait(self) -> None:
        """Wait until the run has ended."""
        self._process.join()

    def reason(self) -> str:
        """Return in one line why the run ended early."""
        status = self._process.exitcode or 0
        if status < 0:
            return f"killed by {signal.Signals(-status).name}, see {self.run.folder / LOG}"
        return last_line(self.run.folder).removeprefix("convnn: ") or f"it ended with status {status}"


def arguments(config: TrainConfig) -> list[str]:
    """Return the flags of `convnn train` that differ from the defaults."""
    default = TrainConfig(model=config.model)
    differing = [f for f in fields(config) if getattr(config, f.name) != getattr(default, f.name)]
    return ["--model", config.model, *(word for f in differing for word in _flag(f, getattr(config, f.name)))]


def last_line(folder: Path) -> str:
    """Return the last line of a run's output, or an empty string."""
    try:
        lines = (folder / LOG).read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _flag(f: "Field[Any]", value: Any) -> Sequence[str]:
    if isinstance(value, bool):
        return [f"--{f.name}" if value else f"--no-{f.name}"]
    return [f"{option_of(f)}={value}"]


def _process(modules: Sequence[str], *args: Any) -> BaseProcess:
    """Return a process, not yet started, that calls `_train`; the first one decides which modules all share."""
    forks_safely = sys.platform == "linux"  # on macOS, forking is unsafe once its frameworks are loaded
    if forks_safely:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(modules))
        return context.Process(target=_train, args=args)
    return multiprocessing.get_context("spawn").Process(target=_train, args=args)


def _train(words: Sequence[str], log: str, environment: dict[str, str]) -> None:
    """Run a command with its output in a log file; called in a process of its own."""
    begin_process(log)
    os.environ |= environment
    if "OMP_NUM_THREADS" in environment:  # torch read it on import, before the fork
        importlib.import_module("torch").set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.exit(importlib.import_module(COMMAND_LINE).main(words))
