"""Handling of SIGTERM and SIGINT: the step in progress is finished and saved first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """Raised when a signal asks the process to end; not an `Exception`, so that handlers do not catch it.

    Args:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_status(self) -> int:
        """Exit status of the process by the convention of shells: 143 for SIGTERM, 130 for SIGINT."""
        return 128 + self.number


class Interruption:
    """Raises `Interrupted` on SIGTERM and SIGINT, immediately or at the end of a block that must not be interrupted.

    It handles signals while it is entered as a context manager; it does nothing outside the main thread, where Python
    delivers no signals.

    Example:
        >>> interruption = Interruption()
        >>> with interruption, interruption.held():
        ...     signal.raise_signal(signal.SIGTERM)
        ...     print("this is finished first")
        Traceback (most recent call last):
        convnn.interruption.Interrupted: stopped by SIGTERM
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._num_held = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Defer signals to the end of the block."""
        self._num_held += 1
        try:
            yield
        finally:
            self._num_held -= 1
        self.check()

    def check(self) -> None:
        """Raise `Interrupted` if a signal has arrived and no block defers it.

        Raises:
            Interrupted: a signal has arrived.
        """
        if self.number is not None and not self._num_held:
            raise Interrupted(self.number)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.number = number
        self.check()
