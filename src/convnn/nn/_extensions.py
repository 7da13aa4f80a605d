"""Layers from outside the library: from modules that the user names, and from installed packages."""

import importlib
import importlib.util
import logging
import sys
import traceback
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from convnn.errors import InputError
from convnn.files import expand_home

GROUP = "convnn.layers"
"""Entry points by which an installed package names its modules that register layers."""

_files: set[Path] = set()
_looked_for_packages = False


def import_layers(names: str | Iterable[str] | None) -> None:
    """Import modules that register layers, each once.

    Args:
        names: names of modules, which may be in the working folder, or .py files; a string separates them by commas.

    Raises:
        InputError: a module is missing or fails; the message names it, the reason and the line.
    """
    for name in import_names(names if isinstance(names, str | None) else ",".join(names) or None):
        _import(name)


def import_names(text: str | None) -> list[str]:
    """Split a string into names, with absolute paths for files, so that they are found from any folder.

    Raises:
        InputError: a name is empty.
    """
    if text is None:
        return []
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise InputError(f"--import={text!r} lacks a name; give a module, or a file such as my_layers.py")
    return [str(Path(expand_home(one, "--import")).absolute()) if one.endswith(".py") else one for one in names]


def load_packages() -> None:
    """Import the layers of installed packages on first use; a package that fails is skipped with a warning."""
    global _looked_for_packages
    if _looked_for_packages:
        return
    _looked_for_packages = True
    for entry in entry_points(group=GROUP):
        _load(entry)


def _load(entry: EntryPoint) -> None:
    try:
        entry.load()
    except Exception as error:
        warning = f"the layers of the installed package {entry.value} are left out: {_reason(error)}"
        logging.getLogger("convnn").warning(warning)


def _import(name: str) -> None:
    try:
        if name.endswith(".py"):
            _import_file(Path(name))
        else:
            _import_module(name)
    except (Exception, SystemExit) as error:
        raise InputError(f"--import={name} cannot be imported: {_reason(error)}") from None


def _import_module(name: str) -> None:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # as python -m does
    importlib.import_module(name)


def _import_file(path: Path) -> None:
    path = path.resolve()
    if path in _files:
        return
    name = f"_convnn_import_{len(_files)}_{path.stem}"  # hides no module of that name
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    _files.add(path)


def _reason(error: BaseException) -> str:
    """Return in one line what failed, and where in the module."""
    text = " ".join(str(getattr(error, "strerror", None) or error).split())
    kind = "" if isinstance(error, ImportError | OSError | InputError) else f"{type(error).__name__}: "
    frame = traceback.extract_tb(error.__traceback__)[-1]
    is_ours = frame.filename.startswith("<frozen") or frame.filename == importlib.__file__ or frame.filename == __file__
    if is_ours or isinstance(error, InputError | SyntaxError):
        return f"{kind}{text}"
    return f"{kind}{text}, in line {frame.lineno} of {frame.filename}"
