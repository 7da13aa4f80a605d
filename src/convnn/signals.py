"""Handling of signals at start-up, before there is anything to save; this module imports nothing slow."""

import os
import signal
from types import FrameType


def answer_signals() -> None:
    """Make SIGINT and SIGTERM exit immediately, with status 130 and 143, because there is nothing to save yet."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _exit)


def _exit(number: int, _: FrameType | None) -> None:
    os._exit(128 + number)
