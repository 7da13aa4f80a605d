"""The compiled core for the best instruction set of this processor, or None if it is not compiled."""

from importlib import import_module
from typing import Any

import torch  # noqa: F401  # loads its OpenMP first, so that the core shares its threads

NOT_COMPILED = "the core is not compiled; install again where a C++ compiler is found"


def _load() -> tuple[Any, str, str | None]:
    """Return the module, its instruction set and, if there is no module, the reason."""
    try:
        portable = import_module("convnn.backends.cpu._core_portable")
        best = portable.instruction_sets()[0]
        return import_module(f"convnn.backends.cpu._core_{best}"), best, None
    except ModuleNotFoundError:
        return None, "none", NOT_COMPILED
    except ImportError as error:  # compiled but broken: for another Python, or a library it needs is missing
        return None, "none", f"the compiled core does not load ({error}); install again"


core, INSTRUCTION_SET, FAULT = _load()
