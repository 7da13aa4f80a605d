"""What a flag is: a field of a dataclass with its help, its values and its bounds."""

import math
from collections.abc import Callable
from dataclasses import Field, field
from types import NoneType, UnionType
from typing import Any, Protocol, cast, get_args

from convnn.errors import InputError, check_at_least, check_at_most, check_fraction
from convnn.train.recipe import LARGEST_NUMBER

DEEPEST, WIDEST, MOST_THREADS, LARGEST_FACTOR, LARGEST_FLOAT = 1000, 2**20, 1024, 1000.0, 1e30
"""Bounds of several flags; without its own, an integer is below LARGEST_NUMBER and a float at most LARGEST_FLOAT."""


class Flag(Protocol):
    """A function that defines the fields of one group of flags."""

    def __call__(
        self,
        default: Any,
        text: str,
        choices: tuple[str, ...] | Callable[[], list[str]] | None = None,
        *,
        least: float | None = None,
        most: float | None = None,
        above: float | None = None,
        without_value: str | int | None = None,
        is_path: bool = False,
        option: str | None = None,
    ) -> Any:
        """Define a field that is a command line flag.

        Args:
            default: its default.
            text: its help.
            choices: its values, or a function that lists them.
            least: its smallest number.
            most: its largest number.
            above: a number that it must exceed.
            without_value: its value if it is given without one.
            is_path: whether it names a file or folder.
            option: its name on the command line, where it may be repeated; None is the name of the field.
        """


def flags_of(group: str) -> Flag:
    """Return the function that defines the flags of a group."""

    def flag(
        default: Any,
        text: str,
        choices: tuple[str, ...] | Callable[[], list[str]] | None = None,
        **about: Any,
    ) -> Any:
        others = dict.fromkeys(("least", "most", "above", "without_value", "option")) | {"is_path": False}
        return field(default=default, metadata={"group": group, "help": text, "choices": choices} | others | about)

    return flag


def choices_of(f: "Field[Any]") -> tuple[str, ...]:
    """Return the values of a flag with a fixed set of values, including layers imported so far."""
    choices = f.metadata["choices"]
    return tuple(choices() if callable(choices) else choices or ())


def option_of(f: "Field[Any]") -> str:
    """Return the name of a flag on the command line."""
    return f.metadata["option"] or f"--{f.name}"


def value_type(annotation: Any) -> type:
    """Return the type of a flag's value: `int` for `int` and for `int | None`."""
    if isinstance(annotation, UnionType):
        annotation = next(t for t in get_args(annotation) if t is not NoneType)
    return cast("type", annotation)


def largest(f: "Field[Any]") -> float:
    """Return the largest number of a flag."""
    usual = LARGEST_NUMBER - 1 if int in (f.type, *get_args(f.type)) else LARGEST_FLOAT
    most: float = usual if f.metadata["most"] is None else f.metadata["most"]
    return most


def check_number(f: "Field[Any]", value: Any) -> None:
    """Refuse a number outside the bounds of its flag, and None where the flag needs one.

    Raises:
        InputError: the number is refused; the message names the flag.
    """
    option, least, above = f"--{f.name}", f.metadata["least"], f.metadata["above"]
    if value is None and NoneType in get_args(f.type):
        return
    if isinstance(least, int):
        check_at_least(option, value, least)
    elif (least, f.metadata["most"]) == (0, 1):
        check_fraction(option, value)
    elif least is not None and not value >= least:
        raise InputError(f"{option}={value} must " + (f"be at least {least}" if least else "not be negative"))
    if above is not None and not value > above:
        raise InputError(f"{option}={value} must be " + (f"more than {above}" if above else "positive"))
    if isinstance(value, int | float):
        check_at_most(option, value, largest(f))
        if value == -math.inf:  # of a flag that may be negative
            raise InputError(f"{option}={value} must be a finite number")
