"""Flags read from a file: TOML, or the args.txt of a run."""

import reprlib
import sys
import typing
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from convnn.errors import InputError, did_you_mean
from convnn.runs.files import FOUND_OUT, parse_arguments
from convnn.train.config import PUBLISHED_NAMES, TrainConfig
from convnn.train.flags import value_type

Value = typing.TypeVar("Value")

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_config_file(path: str | Path) -> dict[str, Any]:
    """Read the flags that a file sets, by name.

    Args:
        path: `FILE.toml`, whose keys are the names of the flags, or the args.txt of a run.

    Raises:
        InputError: the file cannot be read, has a key that is not a flag (the message names the nearest), or has a
            value of the wrong type.
    """
    path = Path(path)
    source = f"--config={path}"
    text = read_text(path, source)
    if path.suffix.lower() == ".toml":
        return check_flags(parse_toml(text, source), source)
    values = parse_arguments(text, source)  # FOUND_OUT are properties of images and network, not flags
    return parse_flags({name: value for name, value in values.items() if name not in FOUND_OUT}, source)


def check_flags(values: dict[str, Any], source: str) -> dict[str, Any]:
    """Check flags by name and type, and turn whole numbers into floats where the flag is a float.

    Args:
        values: values by name of the flag.
        source: the file, for messages.

    Raises:
        InputError: a name is not a flag (the message names the nearest), or a value has the wrong type.
    """
    flags = {f.name: f for f in fields(TrainConfig)}
    values = _rename_published(values)
    for name in values:
        if name not in flags:
            raise InputError(f"{source} has the unknown key {name!r}{did_you_mean(name, flags)}")
    return {name: _check_value(value, flags[name], source) for name, value in values.items()}


def read_text(path: Path, source: str) -> str:
    """Read a file as text.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{source} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """Parse a TOML file into tables and values.

    Raises:
        InputError: the text is not TOML.
    """
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # invalid TOML, too many digits, or too many brackets
        raise InputError(f"{source} is not TOML: {error}") from None


def parse_flags(values: Mapping[str, str], source: str) -> dict[str, Any]:
    """Parse flags from text as Python prints them.

    Args:
        values: text by name of the flag.
        source: source of the text, for messages.

    Raises:
        InputError: a name is not a flag (the message names the nearest), or a text is not a value of its flag.
    """
    annotations = {f.name: f.type for f in fields(TrainConfig)}
    values = _rename_published(values)
    return check_flags({name: _parse_value(text, annotations.get(name, str)) for name, text in values.items()}, source)


def _rename_published(values: Mapping[str, Value]) -> dict[str, Value]:
    return {PUBLISHED_NAMES.get(name, name): value for name, value in values.items()}


def _parse_value(value: str, annotation: Any) -> Any:
    """Parse a value as Python prints it; other text stays as it is, for `_check_value` to refuse."""
    kind = value_type(annotation)
    if value == "None" and kind is not annotation:
        return None
    if kind is bool:
        return {"True": True, "False": False}.get(value, value)
    try:
        return kind(value)
    except ValueError:
        return value


def _check_value(value: Any, f: "Field[Any]", source: str) -> Any:
    kind = value_type(f.type)
    if type(value) is int and kind is float and abs(value) <= sys.float_info.max:
        return float(value)
    if type(value) is kind or (value is None and kind is not f.type):
        if "\0" in str(value):
            raise InputError(f"{source} has {f.name}={reprlib.repr(value)}, which cannot be part of a file name")
        return value
    raise InputError(f"{source} has {f.name}={reprlib.repr(value)}, which must be of type {kind.__name__}")
