"""The command line, with one module for each command."""

import argparse
import errno
import importlib
import io
import multiprocessing
import os
import re
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from convnn import __version__
from convnn.cli._broken import report_broken_package
from convnn.cli._parser import Parser
from convnn.errors import ConvnnError, InputError, did_you_mean, is_out_of_memory
from convnn.interruption import Interrupted, Interruption

COMMANDS = {
    "train": "train a network",
    "evaluate": "measure the accuracy of a checkpoint",
    "predict": "classify pictures, nodes or graphs",
    "neighbors": "draw the neighbours that each layer chooses, or those of a node",
    "kernels": "draw the kernels of each layer, and their spectra",
    "statistics": "measure the neighbours that each layer chooses, or how far it looks",
    "tangent": "compare tangent kernels, at the start and after training",
    "sweep": "run a study, which is a set of runs",
    "compare": "compare several runs",
    "segment": "train on masks, measure them, or draw them over pictures",
    "recommend": "train a recommender, measure it, or suggest items",
    "graph": "embed the nodes of a graph, or make it smaller",
    "knowledge": "complete a knowledge graph",
    "match": "train a network on pairs of images or graphs, measure it, or draw the motion that it finds",
    "generate": "train a network of data without labels, measure it, or draw samples",
    "surface": "train what finds surfaces, measure it, or reconstruct surfaces",
    "code": "train a video codec, measure it, or write and read streams",
    "bench": "judge and time kernels",
    "export": "export a network to other runtimes or the Hugging Face hub",
    "models": "list the networks",
    "layers": "list the layers",
    "info": "show versions, devices and backends",
}
"""What each command does. The module of the same name is imported only when it runs: torch alone takes seconds."""

SPELLINGS = {"neighbours": "neighbors"}
"""Other accepted spellings of commands."""

LOST_WORKER = "DataLoader worker (pid"
"""Start of torch's message that a data loader process has died."""

TOO_MANY_FILES = os.strerror(errno.EMFILE)

LOST_WORKER_ADVICE = "if memory is short, lower --num_workers; checkpoints are intact, and --resume continues from them"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: the arguments; None takes those of the process.

    Returns:
        The exit status: 0 on success, 1 if some input was skipped, 2 for an error that the user can fix, with one line
        on stderr, and 130 or 143 after a signal.
    """
    return _run("convnn", None, sys.argv[1:] if argv is None else argv)


def main_train(argv: Sequence[str] | None = None) -> int:
    """Run `convnn train` under its published name, `python main.py`."""
    return _run("main.py", "train", sys.argv[1:] if argv is None else argv)


def command_parser(name: str, **settings: Any) -> Parser:
    """Return the parser of a command.

    Args:
        name: name of the command.
        settings: keyword arguments of the parser, such as `prog`.
    """
    command = _module(name)
    parser = Parser(description=command.__doc__, **settings)
    command.add_flags(parser)
    return parser


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"convnn.cli.{name}")


def _run(prog: str, command: str | None, argv: Sequence[str]) -> int:
    """Run a command; None is the one that `argv` names."""
    _escape_unprintable()
    interruption = Interruption()
    name = command
    try:
        if name is None:
            name, argv = _split_command(argv)
        run = _module(name).run  # a signal during this import ends the process at once
        from convnn.screen import make_console

        with interruption, plain_warnings(prog):
            _import_layers_of(argv)  # before the flags are parsed: these layers are among their values
            args = command_parser(name, prog=prog if command else f"{prog} {name}").parse_strictly(argv)
            args.interruption = interruption
            status: int | None = run(args, make_console())
        return status or 0
    except (Exception, Interrupted) as error:
        _end_children()
        if (message := _sentence(error)) is not None:
            print(f"{prog}: {message}", file=sys.stderr)
            return error.exit_status if isinstance(error, Interrupted) else 2
        if isinstance(error, Interrupted) or (answer := report_broken_package(error, name or "")) is None:
            raise  # a bug of this library
        return answer


@contextmanager
def plain_warnings(prog: str) -> Iterator[None]:
    """Show the warnings of this package as one line, without the place in its code that no user knows."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def show_plainly(message: Warning | str, category: type[Warning], *place: Any, **how: Any) -> None:
            if category.__module__.startswith("convnn."):
                print(f"{prog}: {message}", file=sys.stderr)
            else:
                show(message, category, *place, **how)

        warnings.showwarning = show_plainly
        yield


def _split_command(argv: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the name of the command and its arguments; without a command, list all commands and exit.

    Raises:
        InputError: the command is unknown; the message names the nearest.
    """
    parser = Parser(
        prog="convnn",
        description="Layers in which every position chooses its neighbours.",
    )
    parser.add_argument("--version", action="version", version=f"convnn {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text)
    parser.epilog = "convnn COMMAND --help lists the flags of a command."
    index = next((index for index, word in enumerate(argv) if not word.startswith("-")), len(argv))
    parser.parse_strictly(argv[:index] if argv else ["--help"])
    word = argv[index] if index < len(argv) else ""
    name = SPELLINGS.get(word, word)
    if name not in COMMANDS:
        advice = did_you_mean(name, [*COMMANDS, *SPELLINGS]) or "; convnn --help lists all commands"
        raise InputError(f"unknown command {word!r}{advice}")
    return name, argv[index + 1 :]


def _sentence(error: BaseException) -> str | None:
    """Return the message for an error that the user can fix; None for a bug of this library."""
    if isinstance(error, (ConvnnError, Interrupted)):
        return str(error)
    if is_out_of_memory(error):
        request = re.search(r"tried to allocate ([\d.]+ ?\w+)", str(error), re.IGNORECASE)
        size = f": an allocation of {request[1]} failed" if request else ""
        return f"out of memory{size}; use smaller batches, images or networks, or fewer neighbours"
    if isinstance(error, RuntimeError) and LOST_WORKER in str(error):
        return f"{str(error).splitlines()[0].strip().rstrip('.')}; {LOST_WORKER_ADVICE}"
    if isinstance(error, OSError) and TOO_MANY_FILES in str(error):
        return f"{TOO_MANY_FILES}; raise the limit of this shell (ulimit -n), or lower --num_workers"
    return None


def _escape_unprintable() -> None:
    r"""Print characters that a stream cannot encode as `\xe9`; file names may hold any bytes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _import_layers_of(argv: Sequence[str]) -> None:
    """Import the modules given by all `--import` flags."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--import", dest="imports", action="append", nargs="?", default=[])
    if names := [name for name in parser.parse_known_args(argv)[0].imports if name]:
        from convnn.nn import import_layers

        import_layers(names)


def _end_children() -> None:
    """Kill the worker processes: they ignore other signals, and would keep this process from ending."""
    has_children = hasattr(signal, "SIGCHLD")
    listener = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if has_children else None  # torch's complains
    for child in multiprocessing.active_children():
        child.kill()
        child.join(timeout=5)  # a process waiting for a disk cannot end
    if has_children:
        signal.signal(signal.SIGCHLD, listener or signal.SIG_DFL)
