"""Signals and output of a process at its start, before there is anything to save; this module imports nothing slow."""

import os
import signal
import sys
import threading
from types import FrameType


def answer_signals() -> None:
    """Make SIGINT and SIGTERM exit immediately, with status 130 and 143, because there is nothing to save yet."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit)


def begin_process(log: str) -> None:
    """Begin a process that another one watches: in a session of its own, it ends with its parent, and writes to a file.

    Args:
        log: the file, which exists.
    """
    answer_signals()
    if hasattr(os, "setsid"):
        os.setsid()  # Ctrl-C goes to the parent, which decides
    threading.Thread(target=_end_with_parent, name="ends with the parent", daemon=True).start()
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1, closefd=False) for stream in (1, 2))


def _end_with_parent() -> None:
    """Wait for the parent to end, then end this process with SIGTERM."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _exit(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)
