"""Settings as they are written in a call."""

from collections.abc import Collection
from typing import Any


def written(**settings: Any) -> str:
    """Write settings as in a call, such as "K=9, stride=2"."""
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def unless_usual(**settings: tuple[Any, Any]) -> str:
    """Write the settings whose value, the first of each pair, differs from the usual one, the second."""
    return written(**{name: value for name, (value, usual) in settings.items() if value != usual})


def changed(settings: object, usual: object, *, always: Collection[str] = ()) -> str:
    """Write the settings of an object that differ from another's, and those that are always written."""
    shown = {name: value for name, value in vars(settings).items() if name in always or value != getattr(usual, name)}
    return written(**shown)
