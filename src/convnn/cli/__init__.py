"""The command line: one file a command."""

import argparse
import errno
import importlib
import io
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from convnn import __version__
from convnn.cli._broken import say_what_does_not_load
from convnn.cli._parser import Parser
from convnn.errors import ConvnnError, InputError, did_you_mean, is_out_of_memory
from convnn.interruption import Interrupted, Interruption

COMMANDS = {
    "train": "train a network",
    "evaluate": "accuracy of a checkpoint",
    "predict": "classes of pictures",
    "neighbors": "draw the neighbours that each layer chooses",
    "statistics": "measure the neighbours that each layer chooses",
    "sweep": "a study, which is many runs",
    "compare": "several runs side by side",
    "export": "a network for other runtimes or the Hugging Face hub",
    "models": "list the networks",
    "layers": "list the layers",
    "info": "what this installation can do",
}
"""What each command does. Its module has its name, and is imported when it runs: torch alone takes seconds."""

SPELLINGS = {"neighbours": "neighbors"}
"""Other names of commands."""

LOST_WORKER = "DataLoader worker (pid"
"""With this torch says that a process that reads images is gone."""

TOO_MANY_FILES = os.strerror(errno.EMFILE)

OF_LOST_WORKERS = "if memory is short, lower --num_workers; what was saved is whole, and --resume goes on from it"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    The status is 0 when it worked, 1 when it left something out, 2 with one line on stderr when the user can mend it,
    130 or 143 after a signal.

    Args:
        argv: the arguments, those of the process when None.
    """
    return _run("convnn", None, sys.argv[1:] if argv is None else argv)


def main_train(argv: Sequence[str] | None = None) -> int:
    """`convnn train` under the published name, `python main.py`."""
    return _run("main.py", "train", sys.argv[1:] if argv is None else argv)


def command_parser(name: str, **settings: Any) -> Parser:
    """The parser of a command.

    Args:
        name: of the command.
        settings: of the parser, such as prog.
    """
    command = _module(name)
    parser = Parser(description=command.__doc__, **settings)
    command.add_flags(parser)
    return parser


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"convnn.cli.{name}")


def _run(prog: str, command: str | None, argv: Sequence[str]) -> int:
    """Run a command, or the one that `argv` names."""
    _print_anything()
    interruption = Interruption()
    name = command
    try:
        if name is None:
            name, argv = _named(argv)
        run = _module(name).run  # a signal that comes meanwhile ends the process at once
        from convnn.screen import make_console

        with interruption:
            _import_layers_of(argv)  # ahead of the flags, whose values they are
            args = command_parser(name, prog=prog if command else f"{prog} {name}").parse_strictly(argv)
            args.interruption = interruption
            status: int | None = run(args, make_console())
        return status or 0
    except (Exception, Interrupted) as error:
        _end_children()
        if (said := _sentence(error)) is not None:
            print(f"{prog}: {said}", file=sys.stderr)
            return error.exit_status if isinstance(error, Interrupted) else 2
        if isinstance(error, Interrupted) or (answered := say_what_does_not_load(error, name or "")) is None:
            raise  # ours to mend
        return answered


def _named(argv: Sequence[str]) -> tuple[str, Sequence[str]]:
    """The command that is named, and its arguments; without one all commands are listed, and the process ends.

    Raises:
        InputError: there is no such command, naming the nearest.
    """
    parser = Parser(prog="convnn", description="Layers in which every position chooses its neighbours.")
    parser.add_argument("--version", action="version", version=f"convnn {__version__}")
    listed = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, text in COMMANDS.items():
        listed.add_parser(name, help=text)
    parser.epilog = "convnn COMMAND --help lists the flags of a command."
    place = next((place for place, word in enumerate(argv) if not word.startswith("-")), len(argv))
    parser.parse_strictly(argv[:place] if argv else ["--help"])
    word = argv[place] if place < len(argv) else ""
    name = SPELLINGS.get(word, word)
    if name not in COMMANDS:
        advice = did_you_mean(name, [*COMMANDS, *SPELLINGS]) or "; convnn --help lists all commands"
        raise InputError(f"unknown command {word!r}{advice}")
    return name, argv[place + 1 :]


def _sentence(error: BaseException) -> str | None:
    """What to say of an error that is not ours to mend; None of one that is."""
    if isinstance(error, (ConvnnError, Interrupted)):
        return str(error)
    if is_out_of_memory(error):
        wanted = re.search(r"tried to allocate ([\d.]+ ?\w+)", str(error), re.IGNORECASE)
        at_once = f": {wanted[1]} at once are more than there is" if wanted else ""
        return f"memory is short{at_once}; take smaller batches, images or networks, or fewer neighbours"
    if isinstance(error, RuntimeError) and LOST_WORKER in str(error):
        return f"{str(error).splitlines()[0].strip().rstrip('.')}; {OF_LOST_WORKERS}"
    if isinstance(error, OSError) and TOO_MANY_FILES in str(error):
        return f"{TOO_MANY_FILES}; raise the limit of this shell (ulimit -n), or lower --num_workers"
    return None


def _print_anything() -> None:
    r"""What a terminal or a pipe has no letter for is printed as `\xe9`: names of files may hold any bytes."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _import_layers_of(argv: Sequence[str]) -> None:
    """Import the modules that --import names, each time that it is given."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--import", dest="imports", action="append", nargs="?", default=[])
    if names := [name for name in parser.parse_known_args(argv)[0].imports if name]:
        from convnn.nn import import_layers

        import_layers(names)


def _end_children() -> None:
    """Workers answer to no signal but this one, and must not keep the process from ending."""
    has_children = hasattr(signal, "SIGCHLD")
    listener = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if has_children else None  # torch's, which would complain
    for child in multiprocessing.active_children():
        child.kill()
        child.join(timeout=5)  # one that waits for a disk cannot end
    if has_children:
        signal.signal(signal.SIGCHLD, listener or signal.SIG_DFL)
