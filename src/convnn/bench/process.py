"""A function in a process of its own, with limits of time and memory.

The limits protect the harness from kernels that are wrong, not from ones that are malicious: a candidate has the user's
files and network.
"""

import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from convnn.errors import InputError, check_at_least, check_positive
from convnn.signals import begin_process

try:
    import resource
except ImportError:  # Windows: no limit of memory
    resource = None  # type: ignore[assignment]

INTERPRETS = "TRITON_INTERPRET"
_PRELOADED = ("convnn.bench.run",)
_ENVIRONMENT = {"TORCHINDUCTOR_COMPILE_THREADS": "1"}  # torch.compile would leave processes running


@dataclass(frozen=True)
class Limits:
    """Limits of a process.

    Attributes:
        seconds: time after which it is killed.
        megabytes: memory that it may ask for beyond what it has at its start; not on Windows.
        threads: threads of PyTorch.

    Raises:
        InputError: a number is out of range.
    """

    seconds: float = 120.0
    megabytes: int = 4096
    threads: int = 1

    def __post_init__(self) -> None:
        check_positive("seconds", self.seconds)
        check_at_least("megabytes", self.megabytes, 1)
        check_at_least("threads", self.threads, 1)


class EndedError(Exception):
    """A process ended without a result."""


def call(
    function: Callable[..., Any], *arguments: Any, limits: Limits, environment: Mapping[str, str] | None = None
) -> Any:
    """Return the result of a module-level function, called in a process of its own.

    On Linux it is forked from one that has imported PyTorch and computed nothing; with variables that count when a
    package is imported, and on other systems, it begins anew.

    Raises:
        EndedError: it crashed, was killed, or took too long; the message says which, with its last words.
        InputError: the function raised it.
    """
    given = dict(environment or {})
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.txt"
        log.touch()
        receiver, sender = multiprocessing.Pipe(duplex=False)
        with _environment(given):
            process = _context(bool(given)).Process(
                target=_serve, args=(sender, str(log), limits, given, function, arguments)
            )
            process.start()
        sender.close()
        try:
            if not receiver.poll(limits.seconds):
                raise EndedError(f"it took longer than {limits.seconds:g} s")
            is_result, answer = receiver.recv()
        except EOFError:
            process.join()
            raise EndedError(_last_words(process.exitcode or 0, log)) from None
        finally:
            _kill(process.pid)
            process.join()
            receiver.close()
    if not is_result:
        raise answer
    return answer


def _context(is_new: bool) -> Any:
    if sys.platform != "linux" or is_new:
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return context


def _serve(
    sender: Connection,
    log: str,
    limits: Limits,
    environment: Mapping[str, str],
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    begin_process(log)
    os.environ |= {**_ENVIRONMENT, **environment}
    importlib.import_module("torch").set_num_threads(limits.threads)
    _limit_memory(limits.megabytes)
    try:
        answer = (True, function(*arguments))
    except InputError as error:
        answer = (False, error)
    sender.send(answer)
    sender.close()
    sys.stdout.flush()
    os._exit(0)  # without waiting for what the candidate left


def _limit_memory(megabytes: int) -> None:
    if resource is None or not Path("/proc/self/statm").exists():
        return
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    with suppress(ValueError, OSError):  # a stricter limit is there already
        resource.setrlimit(resource.RLIMIT_AS, (now + megabytes * 2**20, resource.getrlimit(resource.RLIMIT_AS)[1]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _kill(pid: int | None) -> None:
    if pid is None:
        return
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg"):
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, signal.SIGTERM)


def _last_words(status: int, log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    how = f"it was killed by {signal.Signals(-status).name}" if status < 0 else f"it ended with status {status}"
    return how + (f": {lines[-1][:200]}" if lines else "")


@contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    """Set variables while a process starts, which inherits them."""
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
