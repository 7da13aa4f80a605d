"""What a candidate leaves behind in its process: threads, and functions that it replaced."""

import builtins
import multiprocessing
import threading
import time
from typing import Any

import torch

_OWNERS: tuple[Any, ...] = (
    builtins,
    time,
    torch,
    torch.Tensor,
    torch.autograd,
    torch.cuda,
    torch.cuda.Event,
    torch.nn.functional,
)
"""Modules and classes whose functions the harness or the definition calls."""
_REPLACED_BY_TORCH = ("manual_seed",)
"""Functions that PyTorch itself replaces when its compiler is imported."""


class World:
    """The threads and functions of this process before a candidate is loaded."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._functions = [(owner, name, value) for owner in _OWNERS for name, value in _functions(owner)]

    def left(self) -> str:
        """Return what is still running that was not before, or an empty string."""
        threads = [one.name for one in threading.enumerate() if one not in self._threads]
        return ", ".join([*threads, *(child.name for child in multiprocessing.active_children())])

    def replaced(self) -> str:
        """Return the functions that are no longer what they were, or an empty string."""
        missing = object()
        changed = [
            f"{owner.__name__}.{name}"
            for owner, name, was in self._functions
            if vars(owner).get(name, missing) is not was
        ]
        return ", ".join(changed[:5])


def _functions(owner: Any) -> list[tuple[str, Any]]:
    return [
        (name, value)
        for name, value in list(vars(owner).items())
        if callable(value) and not isinstance(value, type) and name not in _REPLACED_BY_TORCH
    ]
