"""SIGTERM and SIGINT: what is begun is finished and saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """A signal asked the process to end; like KeyboardInterrupt no error, so that nothing catches it by chance.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.number = number

    @property
    def exit_status(self) -> int:
        """What the process should end with, by the convention of the shell: 143 for SIGTERM, 130 for SIGINT."""
        return 128 + self.number


class Interruption:
    """Answers SIGTERM and SIGINT by raising `Interrupted`, at once or at the end of what must not be torn apart.

    As a context manager it listens; outside the main thread, where Python hears no signals, it does nothing.

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
        """A block that a signal waits for the end of."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        self.check()

    def check(self) -> None:
        """Raise if a signal came and nothing holds it.

        Raises:
            Interrupted: so it is.
        """
        if self.number is not None and not self._holds:
            raise Interrupted(self.number)

    def _answer(self, number: int, _: FrameType | None) -> None:
        self.number = number
        self.check()
