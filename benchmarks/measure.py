"""Time as medians of interleaved runs, memory as the peak of a fresh process above its inputs."""

import ctypes
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

Action = Callable[[], object]


def milliseconds(contestants: dict[str, Action], repeats: int) -> dict[str, list[float]]:
    """Times of each contestant, taken in turns so that a busy machine meets all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, action in contestants.items():
            start = time.perf_counter()
            action()
            if turn:  # the first one warms up
                times[name].append(1000 * (time.perf_counter() - start))
    return times


def ratio(times: dict[str, list[float]], name: str, base: str) -> float:
    """Median over the turns of the time of one contestant in units of another's in the same turn."""
    return statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))


def peak_megabytes(make: Callable[..., tuple[Action, Action]], *arguments: object) -> float:
    """What an action adds to the memory of a process of its own.

    Args:
        make: a function of a module, called with the arguments in the new process: returns a small action that wakes
            the libraries up, and the one that is measured. What it allocates itself, the inputs, does not count.
        arguments: of `make`.

    Returns:
        Megabytes of 2^20 bytes, resident.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_peak, args=(sender, make, arguments))
    process.start()
    sender.close()
    try:
        return receiver.recv() / 2**20
    except EOFError:
        return float("inf")  # the system ended it for its memory
    finally:
        process.join()


def _measure_peak(sender: Connection, make: Callable[..., tuple], arguments: tuple) -> None:
    warm_up, action = make(*arguments)
    warm_up()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew (proc(5))
    before = _status("VmRSS")
    action()
    sender.send(_status("VmHWM") - before)


def _status(field: str) -> int:
    """Bytes of a field of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))
