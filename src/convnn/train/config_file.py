"""Flags from a file: TOML, or the args.txt of a run."""

import reprlib
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from convnn.errors import InputError, did_you_mean
from convnn.runs.files import FOUND_OUT, parse_arguments
from convnn.train.config import PUBLISHED_NAMES, TrainConfig

Value = typing.TypeVar("Value")

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_config_file(path: str | Path) -> dict[str, Any]:
    """The flags that a file sets, by name.

    Args:
        path: `FILE.toml`, whose keys are the names of the flags, or an args.txt that a run has left.

    Raises:
        InputError: the file cannot be read, has a key that is no flag (naming the nearest), or a value of another type.
    """
    path = Path(path)
    source = f"--config={path}"
    text = read_text(path, source)
    if path.suffix.lower() == ".toml":
        return checked_flags(parse_toml(text, source), source)
    values = parse_arguments(text, source)  # without what the run found out about images and network
    return flags_from_text({name: value for name, value in values.items() if name not in FOUND_OUT}, source)


def checked_flags(given: dict[str, Any], source: str) -> dict[str, Any]:
    """Flags by name, whole numbers turned to floats where the flag is one.

    Args:
        given: what a file says.
        source: the file, as a message names it.

    Raises:
        InputError: a name is no flag (naming the nearest), or a value has another type.
    """
    flags = {f.name: f for f in fields(TrainConfig)}
    given = _by_our_names(given)
    for name in given:
        if name not in flags:
            raise InputError(f"{source} has the unknown key {name!r}{did_you_mean(name, flags)}")
    return {name: _checked(value, flags[name], source) for name, value in given.items()}


def read_text(path: Path, source: str) -> str:
    """A file as text.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """The tables and values of a TOML file.

    Raises:
        InputError: it is no TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of TOML, of too many digits, of too many brackets
        raise InputError(f"{source} is not TOML: {error}") from None


def value_type(annotation: Any) -> type:
    """The type of a flag's value: `int` for `int` and for `int | None`."""
    if isinstance(annotation, types.UnionType):
        annotation = next(t for t in typing.get_args(annotation) if t is not type(None))
    return typing.cast("type", annotation)


def flags_from_text(values: Mapping[str, str], source: str) -> dict[str, Any]:
    """Flags from text as Python prints them.

    Args:
        values: text by name of the flag.
        source: where it is from, as a message names it.

    Raises:
        InputError: a name is no flag (naming the nearest), or a text is no value of its flag.
    """
    types_of = {f.name: f.type for f in fields(TrainConfig)}
    values = _by_our_names(values)
    return checked_flags({name: _parsed(value, types_of.get(name, str)) for name, value in values.items()}, source)


def _by_our_names(given: Mapping[str, Value]) -> dict[str, Value]:
    return {PUBLISHED_NAMES.get(name, name): value for name, value in given.items()}


def _parsed(value: str, annotation: Any) -> Any:
    """A value as Python prints it; what is no such value stays text, for `_checked` to refuse."""
    kind = value_type(annotation)
    if value == "None" and kind is not annotation:
        return None
    if kind is bool:
        return {"True": True, "False": False}.get(value, value)
    try:
        return kind(value)
    except ValueError:
        return value


def _checked(value: Any, f: "Field[Any]", source: str) -> Any:
    kind = value_type(f.type)
    if type(value) is int and kind is float and abs(value) <= sys.float_info.max:
        return float(value)
    if type(value) is kind or (value is None and kind is not f.type):
        if "\0" in str(value):
            raise InputError(f"{source} has {f.name}={reprlib.repr(value)}, which no file is called")
        return value
    raise InputError(f"{source} has {f.name}={reprlib.repr(value)}, which must be of type {kind.__name__}")
