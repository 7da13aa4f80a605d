"""Run a study, which is a set of runs."""

import argparse
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from convnn.cli._parser import Parser, PathAction
from convnn.errors import InputError, TrainingError
from convnn.interruption import Interrupted
from convnn.runs import metric_name
from convnn.screen import print_line
from convnn.study import Result, Study, group_results, read_study
from convnn.study.device import find_devices
from convnn.study.results import results_table
from convnn.study.sweep import Sweep, states
from convnn.train.config_file import parse_flags
from convnn.words import counted

STYLES = {"finished": "green", "failed": "red", "waiting": "dim"}
ON_SCREEN = ("runs", "best ", "last ", "s/epoch")
"""Columns of the final table that fit on a terminal, besides the settings."""


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    parser.add_argument(
        "study", action=PathAction, metavar="STUDY.toml", help="study file, such as studies/digits.toml"
    )
    parser.add_argument("--set", nargs="+", default=[], metavar="FLAG=VALUE", help="flags to override in every run")
    parser.add_argument(
        "--out", action=PathAction, default=None, help="folder for runs and results (default: that of the study)"
    )
    parser.add_argument("--devices", nargs="+", default=None, metavar="DEVICE", help="cpu, mps, cuda or cuda:0 ...")
    parser.add_argument("--jobs", type=int, default=1, help="simultaneous runs on each device")
    parser.add_argument("--take_over", action="store_true", help="resume runs that other machines left unfinished")
    parser.add_argument("--list", action="store_true", help="list the runs and their progress, without running any")


def run(args: argparse.Namespace, console: Console) -> None:
    """Make the missing runs, and write tables and pictures.

    Raises:
        InputError: the study, a flag or a device is wrong.
        TrainingError: some runs failed; the others are still made.
    """
    study = read_study(args.study, changes=parse_changes(args.set), folder=args.out)
    devices = find_devices(args.devices, args.jobs)
    sweep = Sweep(study, devices, take_over=args.take_over)
    if study.same:
        print_line(console, describe_duplicates(study.same))
    if args.list:
        console.print(progress(sweep))
        return
    try:
        with ExitStack() as stack:
            sweep.run(stack.enter_context(LiveTable(console)) if console.is_terminal else Lines(console))
    except Interrupted:
        print_line(console, f"to resume: {resume_command(args)}")
        raise
    console.print(summary(study, list(sweep.results.values())))
    print_line(console, str(study.folder / "results.md"))
    for name, host in sweep.elsewhere.items():
        print_line(console, f"{name} is in progress on {host}; if nothing runs there any more, --take_over resumes it")
    if sweep.undrawn:
        print_line(console, f"some pictures could not be drawn: {sweep.undrawn}")
    if sweep.failed:
        name, reason = next(iter(sweep.failed.items()))
        raise TrainingError(f"{len(sweep.failed)} of {counted(len(study.runs), 'run')} failed; {name}: {reason}")


def resume_command(args: argparse.Namespace) -> str:
    """Return the command that resumes a sweep."""
    given = {"--set": args.set, "--out": [args.out], "--devices": args.devices, "--jobs": [str(args.jobs)]}
    defaults = {"--set": [], "--out": [None], "--devices": None, "--jobs": ["1"]}
    flags = [word for flag, words in given.items() if words != defaults[flag] for word in (flag, *words)]
    return shlex.join(["convnn", "sweep", args.study, *flags])


def describe_duplicates(same: Mapping[str, str]) -> str:
    """Return which runs are skipped because they would repeat others."""
    name, original = next(iter(same.items()))
    more = f", and {len(same) - 1:,} more" if len(same) > 1 else ""
    return f"runs that differ only in settings the network does not read are made once: {name} is {original}{more}"


def parse_changes(words: Sequence[str]) -> dict[str, Any]:
    """Parse flags from words such as "num_epochs=2".

    Raises:
        InputError: a word has another form, or its flag is unknown or of another type.
    """
    for word in words:
        if "=" not in word:
            raise InputError(f"--set {word} must be FLAG=VALUE, such as --set num_epochs=2")
    return parse_flags(dict(word.split("=", 1) for word in words), "--set")


class LiveTable:
    """A table of the runs in progress, redrawn in place."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> "LiveTable":
        """Start drawing."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing, and clear the table."""
        self._live.stop()

    def __call__(self, sweep: Sweep) -> None:
        """Redraw the table."""
        self._live.update(progress(sweep, all_runs=False), refresh=True)


class Lines:
    """A log of changes of state, one line each."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._reported: dict[str, str] = {}

    def __call__(self, sweep: Sweep) -> None:
        """Print a line for each run whose state has changed."""
        for name, (state, result) in states(sweep).items():
            if state != self._reported.get(name, "waiting"):
                self._reported[name] = state
                reached = f", {counted(result.epochs, 'epoch')}, best {result.text('best')}" if result else ""
                reason = f": {sweep.failed[name]}" if name in sweep.failed else ""
                print_line(self._console, f"{name} {state}{reached}{reason}")


def progress(sweep: Sweep, *, all_runs: bool = True) -> Table:
    """Return a table of the runs, with the state and progress of each.

    Args:
        sweep: sweep that makes the runs.
        all_runs: include finished and waiting runs, which are only counted otherwise.
    """
    known = states(sweep)
    finished = sum(state == "finished" for state, _ in known.values())
    title = f"{sweep.study.title}: {finished} of {counted(len(known), 'run')} finished"
    table = Table(box=box.SIMPLE_HEAD, title=Text(title))
    metric = metric_name([result.run for _, result in known.values() if result])
    for heading in ("run", "", "epoch", f"best {metric}"):
        table.add_column(heading, justify="right" if heading.startswith(("epoch", "best")) else "left", overflow="fold")
    for name, (state, result) in known.items():
        if all_runs or state not in ("finished", "waiting"):
            of = sweep.planned[name].config.num_epochs
            reached = (f"{result.epochs} of {of}", result.text("best")) if result else ("", "")
            table.add_row(Text(name), Text(state, style=STYLES.get(state, "bold")), *reached)
    return table


def summary(study: Study, results: Sequence[Result]) -> Table:
    """Return a table of means over the repetitions, for the screen."""
    head, rows = results_table(study, group_results(study, results))
    visible = [number for number, name in enumerate(head) if name in study.settings or name.startswith(ON_SCREEN)]
    table = Table(box=box.SIMPLE_HEAD, title=Text(study.title))
    for number in visible:
        table.add_column(head[number], justify="left" if head[number] in study.settings else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[number]) for number in visible))
    return table
