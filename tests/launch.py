"""Processes for tests, forked within milliseconds from one that has imported everything and computed nothing."""

import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["convnn.cli.train", "convnn.cli._callbacks", "sklearn.datasets", "accelerate"])

UNDRAWN = "CONVNN_TESTS_LEAVE_CURVES_UNDRAWN"
"""The environment variable by which pytest leaves curves undrawn in forked processes too."""

PATIENCE = 600.0
"""Seconds after which a process that should have ended counts as hanging."""


def start(function: Callable[..., Any], *args: Any, log: Path, **environment: str) -> BaseProcess:
    """Call a function in a new process, which writes to `log` and exits with the function's return value."""
    process = CONTEXT.Process(target=_call, args=(function, args, str(log), environment))
    process.start()
    return process


def wait(process: BaseProcess) -> int:
    """Wait for a process and return its exit status, negative if a signal killed it."""
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError("the process hangs")
    return process.exitcode


def wait_for(text: str, log: Path, process: BaseProcess) -> None:
    """Wait until a process has written some text."""
    end = time.monotonic() + PATIENCE
    while not log.exists() or text not in log.read_text():
        if not process.is_alive() or time.monotonic() > end:
            raise TimeoutError(f"the process did not write {text!r}: {log.read_text() if log.exists() else ''}")
        time.sleep(0.002)


def train(argv: Sequence[str]) -> int:
    """Run `python main.py` in this process."""
    from convnn.cli import main_train

    return main_train(argv)


def call_in_folder(folder: str, argv: Sequence[str]) -> int:
    """Run `convnn` in a folder that is not on the module search path."""
    from convnn.cli import main

    os.chdir(folder)
    sys.path[:] = [path for path in sys.path if path not in ("", ".")]
    return main(argv)


def leave_undrawn(metrics: Path, path: Path) -> Path:
    """Write no more than the first bytes of a picture; stands in for `draw_curves`."""
    from convnn.files import write_atomically

    write_atomically(path, b"\x89PNG\r\n\x1a\n")
    return path


def start_several(function: Callable[..., Any], *args: Any, log: Path, count: int = 2) -> list[BaseProcess]:
    """Start connected processes, as torchrun does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1"}
    return [
        start(function, *args, log=log, **shared, MASTER_PORT=str(port), RANK=str(rank), LOCAL_RANK=str(rank))
        for rank in range(count)
    ]


def _call(function: Callable[..., Any], args: Sequence[Any], log: str, environment: dict[str, str]) -> None:
    import torch

    os.environ.update(environment)
    if UNDRAWN in os.environ:
        import_module("convnn.cli._callbacks").draw_curves = leave_undrawn
    multiprocessing.set_start_method("fork", force=True)  # of loader workers, as in a process of its own
    torch.set_num_threads(1)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    sys.exit(function(*args))
