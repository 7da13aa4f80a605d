"""SIGTERM and SIGINT: the step in progress is finished and saved first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asked the process to end; like KeyboardInterrupt it is not an Exception, which handlers could catch.

    Args:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_status(self) -> int:
        """The exit status of the process by the convention of the shell: 143 for SIGTERM, 130 for SIGINT."""
        return 128 + self.number


class Interruption:
    """Raises `Interrupted` on SIGTERM and SIGINT, at once or at the end of a block that must not be interrupted.

    It listens as a context manager; outside the main thread, where Python receives no signals, it does nothing.

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
        self._holds = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._answer) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold signals back until the end of the block."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        self.check()

    def check(self) -> None:
        """Raise if a signal has arrived and no block holds it back.

        Raises:
            Interrupted: a signal has arrived.
        """
        if self.number is not None and not self._holds:
            raise Interrupted(self.number)

    def _answer(self, number: int, _: FrameType | None) -> None:
        self.number = number
        self.check()
