"""The compiled core for the best instruction set of this processor, or None where nothing is compiled."""

from importlib import import_module
from typing import Any

import torch  # noqa: F401  # loads its OpenMP first: the core then shares its threads


def _load() -> tuple[Any, str]:
    try:
        portable = import_module("convnn.backends.cpu._core_portable")
    except ImportError:
        return None, "none"
    best = portable.instruction_sets()[0]
    return import_module(f"convnn.backends.cpu._core_{best}"), best


core, INSTRUCTION_SET = _load()
