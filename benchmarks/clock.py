"""Time and memory of a device, and how much of the time for all measurements is left."""

import statistics
import time
from collections.abc import Callable

import torch

Action = Callable[[], object]


class Clock:
    """Measures on a device until its time is over.

    Attributes:
        device: "cuda", or "cpu" for kernels that are interpreted.
        repeats: how often each contestant is measured.
        left_out: what there was no time for.
    """

    def __init__(self, device: str, repeats: int, minutes: float) -> None:
        self.device = device
        self.repeats = repeats
        self.left_out: list[str] = []
        self._end = time.monotonic() + 60 * minutes

    def has_time_for(self, name: str) -> bool:
        """Return whether there is time left, and note the name if not."""
        if time.monotonic() < self._end:
            return True
        self.left_out.append(name)
        return False

    def medians(self, contestants: dict[str, Action]) -> dict[str, float]:
        """Return the median milliseconds of each contestant, interleaved so that clock changes affect all of them."""
        for contestant in contestants.values():
            for _ in range(3 if self.device == "cuda" else 1):
                contestant()
        times: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(self.repeats):
            for name, contestant in contestants.items():
                times[name].append(self._milliseconds(contestant))
        return {name: statistics.median(measured) for name, measured in times.items()}

    def gigabytes(self, contestant: Action) -> float:
        """Return the most memory that a call takes on a GPU; NaN elsewhere."""
        if self.device != "cuda":
            return float("nan")
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        contestant()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() / 2**30

    def _milliseconds(self, contestant: Action) -> float:
        if self.device != "cuda":
            start = time.perf_counter()
            contestant()
            return 1000 * (time.perf_counter() - start)
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        contestant()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end)
