"""Choice of the backend that computes a call."""

from types import ModuleType

from convnn.backends import cpu, reference, triton
from convnn.backends.request import Request
from convnn.errors import UnsupportedError, check_choice

BACKENDS: dict[str, ModuleType] = {"cpu": cpu, "triton": triton, "reference": reference}  # fastest first
BACKEND_CHOICES = ("auto", *BACKENDS)


def check_backend(backend: str) -> None:
    """Check that the name is "auto" or that of a backend.

    Raises:
        InputError: it is neither; the message lists the choices.
    """
    check_choice("backend", backend, BACKEND_CHOICES)


def find_kernels(backend: str, request: Request) -> ModuleType:
    """Return the backend that computes the request: the fastest one that can for "auto", otherwise the named one.

    Raises:
        UnsupportedError: the named backend cannot compute the request; the message gives every reason.
    """
    if backend == "auto":
        return next(module for module in BACKENDS.values() if not module.unsupported_reasons(request))
    reasons = BACKENDS[backend].unsupported_reasons(request)
    if reasons:
        raise UnsupportedError(f"backend={backend!r} cannot compute {request}: {'; '.join(reasons)}")
    return BACKENDS[backend]


def backend_report() -> dict[str, list[str]]:
    """Return, for every backend, the reasons why it cannot run here; an empty list means that it can."""
    return {name: module.unavailable_reasons() for name, module in BACKENDS.items()}
