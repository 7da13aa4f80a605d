"""Measurement of time, as medians of interleaved runs, and memory, as the peak of a fresh process above its inputs."""

import ctypes
import math
import multiprocessing
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter  # bound now: a candidate that replaces time.perf_counter changes nothing here
from typing import Any

from convnn.errors import InputError

Action = Callable[[], object]


@dataclass(frozen=True)
class Times:
    """Statistics of n times, in milliseconds.

    Attributes:
        mean, std: their mean and population standard deviation.
        min, max: the least and the largest.
        median, iqr: their median, and the distance of the quartiles, interpolated linearly.
        n: how many they are.
    """

    mean: float
    std: float
    min: float
    max: float
    median: float
    iqr: float
    n: int

    @classmethod
    def of(cls, times: Sequence[float]) -> "Times":
        """Return the statistics of some times.

        Raises:
            InputError: there is none.
        """
        if not times:
            raise InputError("times=[] must have at least one")
        ordered = sorted(times)
        return cls(
            statistics.fmean(times),
            statistics.pstdev(times),
            ordered[0],
            ordered[-1],
            statistics.median(times),
            _percentile(ordered, 0.75) - _percentile(ordered, 0.25),
            len(times),
        )

    def rounded(self, digits: int = 3) -> "Times":
        """Return them with so many significant digits, as KernelBench keeps them."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "n"}
        return Times(n=self.n, **{name: float(f"{value:.{digits}g}") for name, value in values.items()})


def milliseconds(contestants: dict[str, Action], repeats: int) -> dict[str, list[float]]:
    """Return the times of each contestant, interleaved so that a busy machine affects all of them equally."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, action in contestants.items():
            elapsed = timed(action)[1]
            if turn:  # the first one warms up
                times[name].append(elapsed)
    return times


def timed(action: Callable[..., Any], *arguments: object) -> tuple[Any, float]:
    """Return the result of an action, and the milliseconds that it took."""
    start = perf_counter()
    result = action(*arguments)
    return result, 1000 * (perf_counter() - start)


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
    process = context.Process(target=_send_peak, args=(sender, make, arguments))
    process.start()
    sender.close()
    try:
        return float(receiver.recv())
    except EOFError:
        return math.inf  # the system killed it for its memory
    finally:
        process.join()


def _send_peak(sender: Connection, make: Callable[..., tuple[Action, Action]], arguments: tuple[object, ...]) -> None:
    warm_up, action = make(*arguments)
    warm_up()
    sender.send(peak_of(action))


def peak_of(action: Action) -> float:
    """Return the megabytes of 2^20 bytes that an action adds to this process at its peak; Linux only."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak (proc(5))
    before = _status("VmRSS")
    action()
    return (_status("VmHWM") - before) / 2**20


def _status(field: str) -> int:
    """Return a field of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def _percentile(ordered: Sequence[float], share: float) -> float:
    place = share * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))
