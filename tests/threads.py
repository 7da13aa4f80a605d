"""Runs on one thread and on several, whose bits must be the same."""

from collections.abc import Iterator

import torch


def thread_counts(*counts: int) -> Iterator[int]:
    """Set each number of threads in turn, and the one before at the end."""
    before = torch.get_num_threads()
    try:
        for count in counts or (1, 2):
            torch.set_num_threads(count)
            yield count
    finally:
        torch.set_num_threads(before)
