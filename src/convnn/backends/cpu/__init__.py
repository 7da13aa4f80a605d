"""Not built yet."""

from convnn.backends.request import Request


def unavailable_reasons() -> list[str]:
    """Why this backend cannot run here."""
    return ["it is not built yet"]


def unsupported_reasons(request: Request) -> list[str]:
    """Why this backend cannot compute the request."""
    return unavailable_reasons()
