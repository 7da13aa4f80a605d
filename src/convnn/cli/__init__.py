"""The command line: one file a command."""

import errno
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Sequence

from rich.console import Console

from convnn import __version__
from convnn.cli import compare, evaluate, export, info, layers, models, neighbors, predict, statistics, sweep, train
from convnn.cli._flags import Parser
from convnn.errors import ConvnnError, is_out_of_memory
from convnn.train import Interrupted, Interruption

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
    """Run a command; 0 when it worked, 2 with one line on stderr when the user can mend it, 130 or 143 after a signal.

    Args:
        argv: the arguments, those of the process when None.
    """
    argv = sys.argv[1:] if argv is None else argv
    parser = Parser(prog="convnn", description="Layers in which every position chooses its neighbours.")
    parser.add_argument("--version", action="version", version=f"convnn {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, (command, text) in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=text, description=command.__doc__)
        command.add_flags(subparser)
        subparser.set_defaults(run=command.run, parser=subparser)
    return _run(parser, argv)


def main_train(argv: Sequence[str] | None = None) -> int:
    """`convnn train` under the published name, `python main.py`."""
    argv = sys.argv[1:] if argv is None else argv
    parser = Parser(prog="main.py", description=train.__doc__)
    train.add_flags(parser)
    parser.set_defaults(run=train.run)
    return _run(parser, argv)


def _run(parser: Parser, argv: Sequence[str]) -> int:
    interruption = Interruption()
    try:
        with interruption:
            args = parser.parse_strictly(argv)
            args.interruption = interruption
            args.run(args, Console())
        return 0
    except (Exception, Interrupted) as error:
        _end_children()
        if (said := _sentence(error)) is None:
            raise  # ours to mend
        print(f"{parser.prog}: {said}", file=sys.stderr)
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


def _end_children() -> None:
    """Workers answer to no signal but this one, and must not keep the process from ending."""
    has_children = hasattr(signal, "SIGCHLD")
    listener = signal.signal(signal.SIGCHLD, signal.SIG_DFL) if has_children else None  # torch's, which would complain
    for child in multiprocessing.active_children():
        child.kill()
        child.join(timeout=5)  # one that waits for a disk cannot end
    if has_children:
        signal.signal(signal.SIGCHLD, listener or signal.SIG_DFL)
