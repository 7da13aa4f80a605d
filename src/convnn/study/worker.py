"""The process of one run of a study, which ends with the sweep that started it."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from convnn.errors import OutputError
from convnn.files import make_folder
from convnn.study.definition import PlannedRun
from convnn.study.device import Device
from convnn.train import TrainConfig
from convnn.train.config import option_of

LOG = "log.txt"
"""The file in a run's folder with its output."""


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
        make_folder(run.folder, "folder of the run")
        try:
            with (run.folder / LOG).open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "convnn.cli._leash", *arguments(run.config), "--device", device.kind],
                    stdin=subprocess.PIPE,  # closed when this process ends, for any reason
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=os.environ | device.environment,
                    start_new_session=True,  # Ctrl-C goes to the sweep, which passes it on
                )
        except OSError as error:
            raise OutputError(f"'{run.folder / LOG}' cannot be written: {error.strerror or error}") from None

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status; None while it is running."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask the run to save and end."""
        if self._process.poll() is None:
            self._process.terminate()

    def wait(self) -> None:
        """Wait until the run has ended."""
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def reason(self) -> str:
        """Return in one line why the run ended early."""
        status = self._process.returncode
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
