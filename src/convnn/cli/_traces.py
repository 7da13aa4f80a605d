"""Curate reasoning traces: keep those that end in a kernel that is right and fast, the shortest of each task."""

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from convnn.cli._flags import add_out_flags, flag_names
from convnn.cli._parser import PathAction, add_json_flag
from convnn.errors import InputError, first_line
from convnn.files import check_new, make_folder, write_atomically
from convnn.screen import print_json, print_line
from convnn.tables import csv_text
from convnn.words import counted

FILES = ("traces.jsonl", "traces.csv")
NUMBERS = ("length", "reference_time", "kernel_time")
NAMES = ("task", "type")
BINS = 5
HEAD = ("measure", "value")


def add_parser(subparsers: Any) -> None:
    """Add `traces` to the commands of a parser."""
    parser = subparsers.add_parser("traces", help="keep the reasoning traces that are right, fast and concise")
    parser.add_argument("folder", action=PathAction, help="folder of .jsonl files, a trace a line")
    parser.add_argument("--min_speedup", type=float, default=1.0, help="speed-up that a kernel must exceed")
    parser.add_argument("--max_length", type=int, help="longest reasoning, in tokens; any by default")
    parser.add_argument("--per_task", type=int, default=1, help="most traces of a task, shortest first")
    parser.add_argument("--per_type", type=int, help="most traces of a type of tasks, fastest first; all by default")
    parser.add_argument(
        "--bins", type=int, help=f"bins of lengths in the table; {BINS}, or fewer if a task has fewer traces"
    )
    add_out_flags(parser, f"folder for {' and '.join(FILES)}", default="curated")
    add_json_flag(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, console: Console) -> int:
    """Read, curate and write; return 1 if a line could not be read, else 0."""
    from convnn.bench.traces import curate, selection_statistics, trace_statistics

    folder, out = Path(args.folder), Path(args.out)
    check_new(out, FILES, overwrite=args.overwrite)
    lines, traces, problems = _read_folder(folder)
    for problem in problems:
        print(f"convnn: {problem}", file=sys.stderr)
    if not traces:
        raise InputError(f"{folder} has no trace that can be read; it must hold .jsonl files, a trace a line")
    _check_tokenizers(traces)
    table = _columns(traces)
    bins = min(BINS, *Counter(table["task"]).values()) if args.bins is None else args.bins
    with flag_names({name: name for name in ("min_speedup", "max_length", "per_task", "per_type", "bins")}):
        chosen = curate(
            table,
            min_speedup=args.min_speedup,
            max_length=args.max_length,
            per_task=args.per_task,
            per_type=args.per_type,
        )
        facts = trace_statistics(table, bins=bins) | selection_statistics(table, chosen)
    rows = _rows(facts, len(traces), len(chosen), len(problems), sorted({str(one["type"]) for one in traces}))
    make_folder(out, "--out")
    write_atomically(out / FILES[0], *(lines[index] + "\n" for index in chosen))
    write_atomically(out / FILES[1], csv_text(HEAD, rows))
    if args.json:
        print_json(console, dict(rows))
    else:
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            print_line(console, f"{name:<{width}}  {value:.4g}")
        print_line(console, f"kept {len(chosen)} of {counted(len(traces), 'trace')}, in {out / FILES[0]}")
    return int(bool(problems))


def _read_folder(folder: Path) -> tuple[list[str], list[dict[str, Any]], list[str]]:
    """Return the lines that hold traces, the traces, and a sentence for each line that holds none.

    Raises:
        InputError: the folder or a file cannot be read.
    """
    if not folder.is_dir():
        raise InputError(f"folder={folder} is not a folder; name one that holds .jsonl files")
    lines, traces, problems = [], [], []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in _numbered_lines(path):
            try:
                trace = _trace_of(line)
            except ValueError as error:
                problems.append(f"{path}:{number}: {first_line(error)}; the line is left out")
                continue
            lines.append(line.decode())
            traces.append(trace)
    return lines, traces, problems


def _numbered_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def _trace_of(line: bytes) -> dict[str, Any]:
    """Return the trace of a line.

    Raises:
        ValueError: it is no trace; the message says why.
    """
    try:
        trace = json.loads(line.decode())
    except UnicodeDecodeError:
        raise InputError("the line is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"the line is not JSON: {first_line(error)}") from None
    if not isinstance(trace, dict):
        raise InputError(f"the line is {json.dumps(trace)[:40]}, not an object with {', '.join(NAMES + NUMBERS)}")
    for name in (*NAMES, *NUMBERS, "correct"):
        if name not in trace:
            raise InputError(f"there is no {name!r}")
    for name in NAMES:
        if isinstance(trace[name], bool) or not isinstance(trace[name], str | int):
            raise InputError(f"{name}={trace[name]!r} must be a name or a whole number")
    for name in NUMBERS:
        if isinstance(trace[name], bool) or not isinstance(trace[name], int | float) or not math.isfinite(trace[name]):
            raise InputError(f"{name}={trace[name]!r} must be a finite number")
    if trace["correct"] not in (0, 1):
        raise InputError(f"correct={trace['correct']!r} must be true or false, or 1 or 0")
    if trace["length"] < 0:
        raise InputError(f"length={trace['length']} must be at least 0")
    if trace["reference_time"] <= 0:
        raise InputError(f"reference_time={trace['reference_time']} must be above 0")
    return trace


def _check_tokenizers(traces: list[dict[str, Any]]) -> None:
    """Check that all lengths count the same tokens.

    Raises:
        InputError: traces name different tokenizers.
    """
    names = sorted({str(trace["tokenizer"]) for trace in traces if "tokenizer" in trace})
    if len(names) > 1:
        raise InputError(f"lengths are tokens of {' and '.join(names[:2])}, which do not compare; count all with one")


def _columns(traces: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Return the traces as columns; tasks and types by name, so that 1 and "1" are one task."""
    table: dict[str, list[Any]] = {name: [str(trace[name]) for trace in traces] for name in NAMES}
    table |= {name: [trace[name] for trace in traces] for name in NUMBERS}
    return table | {"correct": [int(trace["correct"]) for trace in traces]}


def _rows(facts: dict[str, Any], traces: int, kept: int, bad: int, types: list[str]) -> list[list[Any]]:
    """Return the table: numbers of traces, what all of them show, and what is kept."""
    by_length = [
        [f"{name}, lengths {i + 1}/{len(facts[key])}", float(value)]
        for name, key in (("right", "accuracy_by_length"), ("faster", "fast_1_by_length"))
        for i, value in enumerate(facts[key])
    ]
    return [
        ["traces", traces],
        ["lines left out", bad],
        ["tasks", len(facts["task_ids"])],
        ["mean length, over tasks", float(facts["mean_length"].mean())],
        *by_length,
        ["tasks whose right traces are shorter", facts["shorter_fraction"]],
        ["rank correlation of length and accuracy over tasks", facts["difficulty_spearman"]],
        ["kept", kept],
        ["mean length of the kept", facts["selected_mean_length"]],
        ["geometric mean speed-up of the kept", facts["selected_geomean_speedup"]],
        *([f"kept of type {name}", int(count)] for name, count in zip(types, facts["type_counts"], strict=True)),
    ]
