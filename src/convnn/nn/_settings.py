"""Settings as they are written in a call."""

from collections.abc import Collection
from typing import Any


def written(**settings: Any) -> str:
    """Such as "K=9, stride=2"."""
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def unless_usual(**settings: tuple[Any, Any]) -> str:
    """Those whose value, which stands first, is not the usual one."""
    return written(**{name: value for name, (value, usual) in settings.items() if value != usual})


def changed(settings: object, usual: object, *, always: Collection[str] = ()) -> str:
    """What in an object of settings differs from another of its kind, and what is always told."""
    told = {name: value for name, value in vars(settings).items() if name in always or value != getattr(usual, name)}
    return written(**told)
