"""Errors that are the user's to mend: one sentence that names the argument, its value, and what would be right."""

import difflib
from collections.abc import Iterable
from itertools import takewhile


class ConvnnError(Exception):
    """Base of every error raised on purpose; the command line prints it as one line and exits with status 2."""


class InputError(ConvnnError, ValueError):
    """An argument, a flag or a file is wrong."""


class UnsupportedError(ConvnnError, NotImplementedError):
    """The input is valid, but nothing here can compute it."""


class TrainingError(ConvnnError, RuntimeError):
    """A run cannot go on: the loss is not finite, no image can be read."""


class OutputError(ConvnnError, RuntimeError):
    """A file or folder cannot be written."""


def first_line(error: BaseException) -> str:
    """What an error of somebody else's says, which may be a page or nothing, in a line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The nearest of the `known` names as a half sentence, or nothing when none is near.

    Example:
        >>> did_you_mean("vgg1", ["vgg11", "resnet18"])
        "; did you mean 'vgg11'?"
    """
    name, by_lower_case = name.lower(), {one.lower(): one for one in known}
    nearest = [one for one in by_lower_case if _is_one_letter_apart(name, one)]
    best = difflib.get_close_matches(name, nearest or by_lower_case, n=1, cutoff=0 if nearest else 0.6)
    return f"; did you mean {by_lower_case[best[0]]!r}?" if best else ""


def _is_one_letter_apart(one: str, other: str) -> bool:
    """Whether a letter more, less or other, or two neighbours swapped, make one name of the other."""
    start = _common_start(one, other)
    one, other = one[start:][::-1], other[start:][::-1]
    end = _common_start(one, other)
    one, other = one[end:], other[end:]
    return max(len(one), len(other)) <= 1 or (len(one) == 2 and one == other[::-1])


def _common_start(one: str, other: str) -> int:
    """How many letters two names begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def check_choice(argument: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a `value` that is not one of the `choices` of `argument`.

    Raises:
        InputError: naming the argument, the value, the choices and the nearest of them.
    """
    choices = list(choices)
    if value not in choices:
        listed = ", ".join(choices)
        raise InputError(f"{argument}={value!r} is not one of {listed}{did_you_mean(str(value), choices)}")


def check_at_least(argument: str, value: int, least: int) -> None:
    """Refuse an integer `argument` below `least`.

    Raises:
        InputError: naming the argument and its value.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{argument}={value!r} must be an integer of at least {least}")


def check_at_most(argument: str, value: float, most: float) -> None:
    """Refuse a number above `most`, and what is no number.

    Raises:
        InputError: naming the argument and its value.
    """
    if not value <= most:
        raise InputError(f"{argument}={value!r} must be at most {most}")


def check_odd(argument: str, value: int) -> None:
    """Refuse the side of a window that has no middle.

    Raises:
        InputError: naming the argument and its value.
    """
    check_at_least(argument, value, 1)
    if value % 2 == 0:
        raise InputError(f"{argument}={value} must be odd, so that the window has a middle")


def check_fraction(argument: str, value: float) -> None:
    """Refuse a number outside [0, 1].

    Raises:
        InputError: naming the argument and its value.
    """
    if not 0 <= value <= 1:
        raise InputError(f"{argument}={value!r} must lie between 0 and 1")


NO_MEMORY = ("out of memory", "allocate memory", "not enough memory", "bad_alloc", "size calculation overflowed")
"""What the allocators of torch, of C++ and of the system say."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is short, and nothing about what was being read or computed.

    Example:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
        True
    """
    is_said = isinstance(error, RuntimeError | OSError) and any(words in str(error) for words in NO_MEMORY)
    return isinstance(error, MemoryError) or is_said
