"""The compiled core for the best instruction set of this processor, or None if it is not compiled."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch  # loads its OpenMP first, so that the core shares its threads
from torch import Tensor

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


def run(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function of the core; it reads capsules of DLPack faster than tensors, whose method is Python."""
    to_capsule = torch.to_dlpack  # type: ignore[attr-defined]  # documented, but not marked as exported
    capsules = [to_capsule(argument) if isinstance(argument, Tensor) else argument for argument in arguments]
    function(*capsules, torch.get_num_threads())


def dense(*tensors: Tensor | None) -> list[Any]:
    """Return the tensors, and None where there is none, detached, contiguous and in one type that the core supports."""
    dtypes = {tensor.dtype for tensor in tensors if tensor is not None}
    dtype = torch.float64 if torch.float64 in dtypes else torch.float32
    return [None if tensor is None else tensor.detach().to(dtype).contiguous() for tensor in tensors]
