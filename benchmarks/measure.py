"""Measurement of time, as medians of interleaved runs, and memory, as the peak of a fresh process above its inputs."""

import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

Action = Callable[[], object]


def milliseconds(contestants: dict[str, Action], repeats: int) -> dict[str, list[float]]:
    """Return the times of each contestant, interleaved so that a busy machine affects all of them equally."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, action in contestants.items():
            start = time.perf_counter()
            action()
            if turn:  # the first one warms up
                times[name].append(1000 * (time.perf_counter() - start))
    return times


def ratio(times: dict[str, list[float]], name: str, base: str) -> float:
    """Return the median over the turns of a contestant's time relative to that of `base` in the same turn."""
    return statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))


def peak_megabytes(make: Callable[..., tuple[Action, Action]], *arguments: object) -> float:
    """Measure the memory that an action adds to a new process.

    Args:
        make: module-level function, called with the arguments in the new process; it returns a small action that warms
            the libraries up, and the action to measure. Its own allocations, the inputs, do not count.
        arguments: arguments of `make`.

    Returns:
        Resident memory in megabytes of 2^20 bytes.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_peak, args=(sender, make, arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv() / 2**20
    except EOFError:
        return float("inf")  # the system killed it for its memory
    finally:
        process.join()


def _measure_peak(sender: Connection, make: Callable[..., tuple], arguments: tuple) -> None:
    warm_up, action = make(*arguments)
    warm_up()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak (proc(5))
    before = _status("VmRSS")
    action()
    sender.send(_status("VmHWM") - before)


def _status(field: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))
