"""The command line: one file a command."""

import argparse
import errno
import io
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence

from convnn import __version__
from convnn.cli import compare, evaluate, export, info, layers, models, neighbors, predict, statistics, sweep, train
from convnn.cli._flags import Parser
from convnn.errors import ConvnnError, is_out_of_memory
from convnn.nn import import_layers
from convnn.train import Interrupted, Interruption
from convnn.train.console import make_console

COMMANDS = {
    "train": (train, "train a network"),
    "evaluate": (evaluate, "accuracy of a checkpoint"),
    "predict": (predict, "classes of pictures"),
    "neighbors": (neighbors, "draw whom each layer looks at"),
    "statistics": (statistics, "measure whom each layer looks at"),
    "sweep": (sweep, "a study, which is many runs"),
    "compare": (compare, "several runs side by side"),
    "export": (export, "a network for other runtimes or the Hugging Face hub"),
    "models": (models, "list the networks"),
    "layers": (layers, "list the layers"),
    "info": (info, "what this installation can do"),
}

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
    return _run("convnn", _add_commands, sys.argv[1:] if argv is None else argv)


def main_train(argv: Sequence[str] | None = None) -> int:
    """`convnn train` under the published name, `python main.py`."""
    return _run("main.py", _add_training, sys.argv[1:] if argv is None else argv)


def _add_commands(parser: Parser) -> None:
    parser.description = "Layers in which every position chooses its neighbours."
    parser.add_argument("--version", action="version", version=f"convnn {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (command, text) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=command.__doc__)
        command.add_flags(subparser)
        subparser.set_defaults(run=command.run, parser=subparser)


def _add_training(parser: Parser) -> None:
    parser.description = train.__doc__
    train.add_flags(parser)
    parser.set_defaults(run=train.run)


def _run(prog: str, add_flags: Callable[[Parser], None], argv: Sequence[str]) -> int:
    _print_anything()
    interruption = Interruption()
    try:
        with interruption:
            import_layers(_imports_in(argv))  # ahead of the flags, whose values they are
            parser = Parser(prog=prog)
            add_flags(parser)
            args = parser.parse_strictly(argv)
            args.interruption = interruption
            status: int | None = args.run(args, make_console())
        return status or 0
    except (Exception, Interrupted) as error:
        _end_children()
        if (said := _sentence(error)) is None:
            raise  # ours to mend
        print(f"{prog}: {said}", file=sys.stderr)
        return error.exit_status if isinstance(error, Interrupted) else 2


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


def _imports_in(argv: Sequence[str]) -> list[str]:
    """The values of every --import."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--import", dest="imports", action="append", nargs="?", default=[])
    return [name for name in parser.parse_known_args(argv)[0].imports if name]


def _end_children() -> None:
    """Workers answer to no signal but this one, and must not keep the process from ending."""
    has_children = hasattr(signal, "SIGCHLD")
    listener = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if has_children else None  # torch's, which would complain
    for child in multiprocessing.active_children():
        child.kill()
        child.join(timeout=5)  # one that waits for a disk cannot end
    if has_children:
        signal.signal(signal.SIGCHLD, listener or signal.SIG_DFL)
