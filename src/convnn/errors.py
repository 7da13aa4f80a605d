"""Errors that the user can fix: one sentence that names the argument, its value, and what would be right."""

import difflib
from collections.abc import Iterable, Sequence
from itertools import takewhile
from numbers import Integral
from pathlib import Path


class ConvnnError(Exception):
    """Base of all errors of this package; the command line prints one as a single line and exits with status 2."""


class InputError(ConvnnError, ValueError):
    """An argument, a flag or a file is wrong."""


class UnsupportedError(ConvnnError, NotImplementedError):
    """The input is valid, but nothing here can compute the result."""


class TrainingError(ConvnnError, RuntimeError):
    """A run cannot continue: the loss is not finite, or no image can be read."""


class OutputError(ConvnnError, RuntimeError):
    """A file or folder cannot be written."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, which may be a page or empty, or else its type."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the nearest of the `known` names as part of a sentence, or an empty string if none is near.

    Example:
        >>> did_you_mean("vgg1", ["vgg11", "resnet18"])
        "; did you mean 'vgg11'?"
    """
    name, by_lower_case = name.lower(), {candidate.lower(): candidate for candidate in known}
    layer = name[:-2] if name[-2:] in ("1d", "2d", "3d") else name.removesuffix("conv")  # what classes say besides
    if name not in by_lower_case and layer in by_lower_case:
        return f"; did you mean {by_lower_case[layer]!r}?"
    nearest = [candidate for candidate in by_lower_case if _is_one_letter_apart(name, candidate)]
    best = difflib.get_close_matches(name, nearest or by_lower_case, n=1, cutoff=0 if nearest else 0.6)
    return f"; did you mean {by_lower_case[best[0]]!r}?" if best else ""


def _is_one_letter_apart(a: str, b: str) -> bool:
    """Return whether the names differ by one added, missing or changed letter, or by two adjacent letters swapped."""
    start = _common_start(a, b)
    a, b = a[start:][::-1], b[start:][::-1]
    end = _common_start(a, b)
    a, b = a[end:], b[end:]
    return max(len(a), len(b)) <= 1 or (len(a) == 2 and a == b[::-1])


def _common_start(a: str, b: str) -> int:
    """Return the length of the common start of two names."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def check_choice(argument: str, value: object, choices: Iterable[str]) -> None:
    """Check that the `value` of `argument` is one of the `choices`.

    Raises:
        InputError: it is not; the message names the argument, the value, the choices and the nearest of them.
    """
    choices = list(choices)
    if value not in choices:
        listed = ", ".join(choices)
        raise InputError(f"{argument}={value!r} is not one of {listed}{did_you_mean(str(value), choices)}")


def check_suffix(argument: str, path: Path, suffixes: Sequence[str]) -> None:
    """Check that a file to write, which `argument` names, ends in one of the `suffixes`, in any case.

    Raises:
        InputError: it does not; the message names the argument, the file and the suffixes.
    """
    if path.suffix.lower() not in suffixes:
        raise InputError(f"{argument}={path} must end in {listed_as_choice(suffixes)}")


def listed_as_choice(words: Sequence[str]) -> str:
    """Return words as a choice, such as ".png, .pdf or .svg"."""
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def check_at_least(argument: str, value: int, least: int) -> None:
    """Check that the `value` of `argument` is an integer of at least `least`.

    Raises:
        InputError: it is not; the message names the argument and its value.
    """
    given: object = value  # NumPy's integers are Integral, and no int
    if isinstance(given, bool) or not isinstance(given, Integral) or value < least:
        raise InputError(f"{argument}={value!r} must be an integer of at least {least}")


def _is_number(value: object) -> bool:
    """Return whether a value can be compared with numbers, which text, None and lists cannot."""
    return hasattr(value, "__float__")


def check_positive(argument: str, value: float) -> None:
    """Check that the `value` of `argument` is a positive number.

    Raises:
        InputError: it is not; the message names the argument and its value.
    """
    if not (_is_number(value) and 0 < value < float("inf")):
        raise InputError(f"{argument}={value!r} must be a positive number")


def check_not_negative(argument: str, value: float) -> None:
    """Check that the `value` of `argument` is a number of at least 0.

    Raises:
        InputError: it is not; the message names the argument and its value.
    """
    if not (_is_number(value) and 0 <= value < float("inf")):
        raise InputError(f"{argument}={value!r} must be at least 0")


def check_rate(argument: str, value: float) -> None:
    """Check that the `value` of `argument` is a share of things to drop that leaves some, in [0, 1).

    Raises:
        InputError: it is not; the message names the argument and its value.
    """
    if not (_is_number(value) and 0 <= value < 1):
        raise InputError(f"{argument}={value!r} must be at least 0 and less than 1")


def check_at_most(argument: str, value: float, most: float) -> None:
    """Check that the `value` of `argument` is at most `most`, and not NaN.

    Raises:
        InputError: it is not; the message names the argument and its value.
    """
    if not value <= most:
        raise InputError(f"{argument}={value!r} must be at most {most}")


def check_odd(argument: str, value: int) -> None:
    """Check that the side of a window is odd, so that it has a centre.

    Raises:
        InputError: it is not; the message names the argument and its value.
    """
    check_at_least(argument, value, 1)
    if value % 2 == 0:
        raise InputError(f"{argument}={value} must be odd, so that the window has a middle")


def check_fraction(argument: str, value: float) -> None:
    """Check that the `value` of `argument` lies in [0, 1].

    Raises:
        InputError: it does not; the message names the argument and its value.
    """
    if not (_is_number(value) and 0 <= value <= 1):
        raise InputError(f"{argument}={value!r} must lie between 0 and 1")


NO_MEMORY = ("out of memory", "allocate memory", "not enough memory", "bad_alloc", "size calculation overflowed")
"""Phrases in the messages of the allocators of torch, C++ and the system."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory is short, whatever was being read or computed.

    Example:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"))
        True
    """
    has_phrase = isinstance(error, RuntimeError | OSError) and any(phrase in str(error) for phrase in NO_MEMORY)
    return isinstance(error, MemoryError) or has_phrase
