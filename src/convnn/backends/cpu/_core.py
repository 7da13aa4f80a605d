"""The compiled core for the best instruction set of this processor, or None where nothing is compiled."""

from importlib import import_module
from typing import Any

import torch  # noqa: F401  # loads its OpenMP first: the core then shares its threads

NOT_COMPILED = "the core is not compiled; install again where a C++ compiler is found"


def _load() -> tuple[Any, str, str | None]:
    """The module, its instruction set, and why there is none."""
    try:
        portable = import_module("convnn.backends.cpu._core_portable")
        best = portable.instruction_sets()[0]
        return import_module(f"convnn.backends.cpu._core_{best}"), best, None
    except ModuleNotFoundError:
        return None, "none", NOT_COMPILED
    except ImportError as error:  # compiled, and broken: of another Python, or without a library that it needs
        return None, "none", f"the compiled core does not load ({error}); install again"


core, INSTRUCTION_SET, FAULT = _load()
