"""Flags from a file: TOML, or the args.txt of a run."""

import reprlib
import sys
import types
import typing
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from convnn.errors import InputError, did_you_mean
from convnn.runs.files import FOUND_OUT, parse_arguments
from convnn.train import TrainConfig

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
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--config={path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    flags = {f.name: f for f in fields(TrainConfig)}
    given = _from_toml(text, path) if path.suffix.lower() == ".toml" else _from_arguments(text, path)
    for name in given:
        if name not in flags:
            raise InputError(f"--config={path} has the unknown key {name!r}{did_you_mean(name, flags)}")
    return {name: _checked(value, flags[name], path) for name, value in given.items()}


def value_type(annotation: Any) -> type:
    """The type of a flag's value: `int` for `int` and for `int | None`."""
    if isinstance(annotation, types.UnionType):
        annotation = next(t for t in typing.get_args(annotation) if t is not type(None))
    return typing.cast("type", annotation)


def _from_toml(text: str, path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # of TOML, of too many digits, of too many brackets
        raise InputError(f"--config={path} is not TOML: {error}") from None


def _from_arguments(text: str, path: Path) -> dict[str, Any]:
    """What an args.txt says, without what the run found out about images and network."""
    types_of = {f.name: f.type for f in fields(TrainConfig)}
    values = parse_arguments(text, f"--config={path}")
    return {name: _parsed(value, types_of.get(name, str)) for name, value in values.items() if name not in FOUND_OUT}


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


def _checked(value: Any, f: "Field[Any]", path: Path) -> Any:
    kind = value_type(f.type)
    if type(value) is int and kind is float and abs(value) <= sys.float_info.max:
        return float(value)
    if type(value) is kind or (value is None and kind is not f.type):
        if "\0" in str(value):
            raise InputError(f"--config={path} has {f.name}={reprlib.repr(value)}, which no file is called")
        return value
    raise InputError(f"--config={path} has {f.name}={reprlib.repr(value)}, which must be of type {kind.__name__}")
