"""Judge kernels: whether they compute what a definition says, forward and backward, and how fast.

Each candidate runs in a process of its own, with limits of time and memory. That is no sandbox: run no file whose
author you do not trust, as it has your files and network.
"""

import argparse
import json
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from convnn import __version__
from convnn.bench.files import Candidate
from convnn.bench.folder import RESULTS, Folder, kept_facts, without_nan
from convnn.bench.page import results_page
from convnn.bench.process import Limits
from convnn.bench.run import DEVICES, ROUNDS, Result, flags_of, new_seed
from convnn.bench.run import run as judge
from convnn.bench.table import markdown, result_columns, summaries, summary_columns, verdict_of
from convnn.bench.task import Task
from convnn.bench.tasks import TASKS, find_task
from convnn.cli import _traces
from convnn.cli._flags import add_out_flags, flag_names
from convnn.cli._parser import Parser, PathAction, add_json_flag
from convnn.errors import InputError, check_at_least
from convnn.files import write_atomically
from convnn.ops import BACKEND_CHOICES, backend_report
from convnn.screen import print_json, print_line, show_activity
from convnn.viz._sorted import Column
from convnn.words import counted

PAGE, TABLE, JSON = "bench.html", "bench.md", "bench.json"
ON_SCREEN = ("task", "candidate", "verdict", "definition, ms", "candidate, ms", "speed-up")


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    # each adds its parser, whose `run` is called with the arguments
    for add in (_add_run, _add_list, _traces.add_parser):
        add(commands)


def run(args: argparse.Namespace, console: Console) -> int:
    """Run the chosen command."""
    status: int = args.run(args, console)
    return status


def _add_run(commands: Any) -> None:
    parser = commands.add_parser("run", help="judge and time kernels", description=__doc__)
    parser.set_defaults(run=run_candidates)
    parser.add_argument(
        "tasks",
        nargs="*",
        metavar="TASK",
        help="a name from convnn bench list, or a file with a definition; all of this library by default",
    )
    parser.add_argument(
        "--candidate",
        action=PathAction,
        nargs="+",
        default=[],
        metavar="FILE",
        help="files of kernels: a function kernel, or ModelNew where the task is a Model",
    )
    parser.add_argument(
        "--backend",
        nargs="+",
        choices=BACKEND_CHOICES[1:],
        metavar="{" + ",".join(BACKEND_CHOICES[1:]) + "}",
        help="backends of this library (default: those that run here, if no file is given); triton is interpreted"
        " without a GPU",
    )
    add_out_flags(parser, f"folder for {PAGE}, {TABLE}, {JSON} and what is kept to resume", default="bench")
    parser.add_argument("--resume", action="store_true", help="go on where the run was killed, if it was")
    parser.add_argument("--seed", type=int, default=None, help="seed of all inputs; a new one by default")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="how often each is timed; 0 judges only")
    parser.add_argument("--seconds", type=float, default=120.0, help="time after which a candidate is killed")
    parser.add_argument("--megabytes", type=int, default=4096, help="memory that a candidate may ask for")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch")
    parser.add_argument(
        "--device", choices=DEVICES, default="cpu", metavar="{" + ",".join(DEVICES) + "}", help="where they run"
    )
    add_json_flag(parser)


def _add_list(commands: Any) -> None:
    parser = commands.add_parser("list", help="list the tasks of this library")
    parser.set_defaults(run=list_tasks)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="names or files; all of this library by default")
    parser.add_argument("--filters", action="store_true", help="compute which filters would throw each out")
    add_json_flag(parser)


def list_tasks(args: argparse.Namespace, console: Console) -> int:
    """Print each task: its settings, types and values, and with `--filters` which filters throw it out."""
    rows = [_describe(find_task(name), args.filters) for name in args.tasks or TASKS]
    if args.json:
        print_json(console, rows)
        return 0
    for row in rows:
        gradients = "with gradients" if row["gradients"] else "without gradients"
        parts = [
            counted(len(row["settings"]), "setting"),
            ", ".join(row["dtypes"]),
            ", ".join(row["values"]),
            gradients,
        ]
        parts += [f"thrown out by {', '.join(row['filters']) or 'no filter'}"] if args.filters else []
        print_line(console, f"{row['name']}: {'; '.join(parts)}")
    return 0


def run_candidates(args: argparse.Namespace, console: Console) -> int:
    """Judge every candidate at every task, write what was found, and return 1 if one is wrong."""
    tasks = [find_task(name) for name in args.tasks or TASKS]
    pairs = [(task, one) for task in tasks for one in _candidates(args) if one.path or task.ours]
    if not pairs:
        raise InputError("tasks that are files have no backend of ours; give --candidate FILE")
    with flag_names({name: name for name in ("rounds", "seconds", "megabytes", "threads")}):
        check_at_least("rounds", args.rounds, 0)
        limits = Limits(args.seconds, args.megabytes, args.threads)
    out = Path(args.out)
    folder = Folder(out, _facts(args, out), resume=args.resume)
    facts = kept_facts(out)
    results = []
    for task, candidate in pairs:
        digest = _digest(task, candidate)
        result = folder.known(task.name, candidate.name, digest)
        if result is None:
            with show_activity(console, f"{candidate.name} at {task.name}"):
                result = judge(
                    task, candidate, seed=facts["seed"], rounds=args.rounds, limits=limits, device=args.device
                )
            result = Result(**{**vars(result), "digest": digest})
            folder.keep(result)
        results.append(result)
        if not args.json and not console.is_terminal:
            print_line(console, f"{candidate.name} at {task.name}: {verdict_of(result)}")
    _write(out, results, facts)
    if args.json:
        print_json(console, _document(results, facts))
    else:
        console.print(_as_table([one for one in result_columns(results) if one.heading in ON_SCREEN]))
        console.print(_as_table(summary_columns(summaries(results))))
        print_line(console, str(out / PAGE))
    return int(any(result.verdict.reason for result in results))


def _candidates(args: argparse.Namespace) -> list[Candidate]:
    """Return the candidates: files, and backends."""
    usable = [name for name, reasons in backend_report().items() if not reasons]
    names = args.backend if args.backend is not None else [] if args.candidate else usable
    found = [*map(Candidate.of_file, args.candidate), *map(Candidate.of_backend, names)]
    twice = [one.name for one in found if sum(other.name == one.name for other in found) > 1]
    if twice:
        raise InputError(f"--candidate has two of the name {twice[0]!r}; rename a file, as tables show the names")
    return found


def _facts(args: argparse.Namespace, out: Path) -> dict[str, Any]:
    """Return what decides the results; the seed of a run that is resumed is its own."""
    has_results = any((out / RESULTS).glob("*.json")) if out.is_dir() else False
    if has_results and not (args.resume or args.overwrite):
        raise InputError(
            f"--out={out} has results; pass --resume to go on, --overwrite to begin anew, or choose another"
        )
    kept = kept_facts(out) if args.resume else {}
    seed = args.seed if args.seed is not None else kept.get("seed", new_seed())
    return {
        "convnn": __version__,
        "torch": torch.__version__,
        "device": args.device,
        "threads": args.threads,
        "rounds": args.rounds,
        "seed": seed,
        "seconds": args.seconds,
        "megabytes": args.megabytes,
    }


def _digest(task: Task, candidate: Candidate) -> str:
    """Return what tells this task and candidate from others of their names."""
    origin = task.origin or ""
    definition = Path(origin).read_bytes() if origin.endswith(os.extsep + "py") else origin.encode()
    return sha256(definition + b"|" + candidate.digest().encode()).hexdigest()


def _describe(task: Task, with_filters: bool) -> dict[str, Any]:
    row = {
        "name": task.name,
        "settings": [dict(setting) for setting in task.settings],
        "dtypes": [str(dtype).removeprefix("torch.") for dtype in task.dtypes],
        "values": list(task.values),
        "gradients": task.has_gradients,
    }
    if with_filters:
        row["filters"] = [name for name, is_hit in flags_of(task).items() if is_hit]
    return row


def _document(results: Sequence[Result], facts: dict[str, Any]) -> dict[str, Any]:
    found = [result.as_json() for result in results]
    return {"facts": facts, "summary": [one.as_json() for one in summaries(results)], "results": found}


def _write(out: Path, results: Sequence[Result], facts: dict[str, Any]) -> None:
    write_atomically(out / JSON, json.dumps(without_nan(_document(results, facts)), indent=1) + "\n")
    write_atomically(out / TABLE, markdown(results))
    write_atomically(out / PAGE, results_page(results, facts))


def _as_table(columns: Sequence[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column.heading, justify="right" if column.is_number else "left", overflow="fold")
    for number in range(len(columns[0].cells)):
        table.add_row(*(Text(one.cells[number], style="bold" if one.best[number] else "") for one in columns))
    return table
