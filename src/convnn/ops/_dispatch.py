"""Which backend computes a call."""

from types import ModuleType

from convnn.backends import cpu, reference, triton
from convnn.backends.request import Request
from convnn.errors import UnsupportedError, check_choice

BACKENDS: dict[str, ModuleType] = {"cpu": cpu, "triton": triton, "reference": reference}  # fastest first
BACKEND_CHOICES = ("auto", *BACKENDS)


def check_backend(backend: str) -> None:
    """Refuse a name that is not "auto" or a backend.

    Raises:
        InputError: naming the choices.
    """
    check_choice("backend", backend, BACKEND_CHOICES)


def find_kernels(backend: str, request: Request) -> ModuleType:
    """The functions of a backend: of the fastest that can when "auto", of that one and no other when named.

    Raises:
        UnsupportedError: the named backend cannot, with every reason.
    """
    if backend == "auto":
        return next(module for module in BACKENDS.values() if not module.unsupported_reasons(request))
    reasons = BACKENDS[backend].unsupported_reasons(request)
    if reasons:
        raise UnsupportedError(f"backend={backend!r} cannot compute {request}: {'; '.join(reasons)}")
    return BACKENDS[backend]


def backend_report() -> dict[str, list[str]]:
    """Every backend, with the reasons why it cannot run here; none where it can."""
    return {name: module.unavailable_reasons() for name, module in BACKENDS.items()}
