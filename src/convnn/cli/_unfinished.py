"""Computations that can be killed: kept in a file now and then, and continued to the same bits."""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from convnn import __version__
from convnn.cli._parser import Parser
from convnn.errors import InputError
from convnn.interruption import Interrupted
from convnn.train.sealed import read_sealed, write_sealed
from convnn.train.timer import parse_interval

SUFFIX = ".unfinished"
_LEAST_WORK = 20  # times as long as the last writing: more is written seldom


class Run(Protocol):
    """A computation that goes on step by step from a state."""

    @property
    def is_over(self) -> bool:
        """Whether nothing is left."""

    def advance(self) -> None:
        """Take a step."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return tensors and JSON values from which `restore` goes on."""

    def restore(self, tensors: dict[str, Tensor], places: dict[str, Any], /) -> None:
        """Go on from a state."""


class Unfinished:
    """The file of a run that has not ended, beside its result.

    Args:
        out: the result.
        args: parsed flags, with those of `add_flags`, and `interruption`.

    Raises:
        InputError: a flag is wrong, the folder of the result is missing, or there is such a file without `--resume` or
            `--overwrite`.
    """

    def __init__(self, out: Path, args: argparse.Namespace) -> None:
        path = out.resolve()
        self.path = path.with_name(path.name + SUFFIX)
        self.args = args
        steps, seconds = parse_interval(args.checkpoint_every)
        if seconds is None:
            raise InputError(f"--checkpoint_every={steps} must be a time such as 90s, 15m or 2h")
        self.seconds = float(seconds)
        if not path.parent.is_dir():
            raise InputError(f"--out={out} is in no folder: make '{path.parent}' first")
        if self.path.exists() and not (args.resume or args.overwrite):
            raise InputError(
                f"'{self.path}' is a run that has not ended; pass --resume to go on, or --overwrite to begin anew"
            )

    def finish(self, run: Run, facts: dict[str, Any], told: Callable[[], None]) -> None:
        """Advance a run to its end from where it was killed, if it was.

        Args:
            run: the run, at its beginning.
            facts: JSON values of all that decides the result.
            told: called after each step.

        Raises:
            InputError: what is kept cannot be read, or began with other facts.
            OutputError: the file cannot be written.
        """
        facts = {"convnn": __version__} | facts
        if self.args.resume and self.path.exists():
            self._restore(run, facts)
        written, took = time.monotonic(), 0.0
        try:
            while not run.is_over:
                with self.args.interruption.held():
                    run.advance()
                told()
                now = time.monotonic()
                if not run.is_over and now - written > max(self.seconds, _LEAST_WORK * took):
                    self._write(run, facts)
                    written = time.monotonic()
                    took = written - now
        except Interrupted:
            self._write(run, facts)
            print(f"to resume from '{self.path}', add --resume to the same command", flush=True)
            raise

    def remove(self) -> None:
        """Remove the file, once the result is written."""
        self.path.unlink(missing_ok=True)

    def _write(self, run: Run, facts: dict[str, Any]) -> None:
        tensors, places = run.state()
        write_sealed(self.path, tensors, {"facts": facts, "places": places})

    def _restore(self, run: Run, facts: dict[str, Any]) -> None:
        tensors, document = read_sealed(self.path)
        before = document.get("facts", {})
        for name, value in facts.items():
            if before.get(name) != value:
                raise InputError(
                    f"'{self.path}' began with another {name}, {before.get(name)}, not {value}; resume with the same,"
                    " or pass --overwrite to begin anew"
                )
        run.restore(tensors, document["places"])


def add_flags(parser: Parser) -> None:
    """Add the flags of a command that can be resumed."""
    parser.add_argument("--resume", action="store_true", help="go on where the run was killed, if it was")
    parser.add_argument(
        "--checkpoint_every", default="1m", metavar="TIME", help="keep what is done each 90s, 15m, 2h (default: 1m)"
    )
