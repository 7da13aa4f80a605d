"""The time at which a checkpoint is due within an epoch."""

import re
import time

from convnn.errors import InputError

PATTERN = re.compile(r"(\d+)(s|m|h|)")
SECONDS = {"s": 1, "m": 60, "h": 3600}


class SaveTimer:
    """Counts the steps or the time since the last checkpoint.

    Args:
        every: a number of steps such as "500", a time such as "90s", "15m" or "2h", or None for never.

    Raises:
        InputError: `every` is neither.
    """

    def __init__(self, every: str | None) -> None:
        self.steps, self.seconds = parse_interval(every)
        self.restart()

    def restart(self) -> None:
        """Start again after a checkpoint was written."""
        self._steps_done = 0
        self._start = time.monotonic()

    @property
    def seconds_since(self) -> float:
        """Seconds since the last checkpoint."""
        return time.monotonic() - self._start

    def is_due(self) -> bool:
        """Return whether to save after the coming step; call it once per step."""
        self._steps_done += 1
        by_steps = self.steps is not None and self._steps_done >= self.steps
        return by_steps or (self.seconds is not None and self.seconds_since >= self.seconds)


def parse_interval(every: str | None) -> tuple[int | None, int | None]:
    """Parse `--checkpoint_every` into steps or seconds.

    Raises:
        InputError: it is not an interval.

    Example:
        >>> parse_interval("500"), parse_interval("15m"), parse_interval(None)
        ((500, None), (None, 900), (None, None))
    """
    if every is None:
        return None, None
    match = PATTERN.fullmatch(every)
    if match is None or int(match[1]) < 1:
        raise InputError(f"--checkpoint_every={every!r} must be a number of steps such as 500, or a time such as 15m")
    number, unit = int(match[1]), match[2]
    return (None, number * SECONDS[unit]) if unit else (number, None)
