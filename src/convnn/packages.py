"""Packages of others: whether they are there, whether they load, and what to do where they do not."""

import importlib
import importlib.util
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

from convnn.errors import InputError, first_line

NEEDED = {
    "torch": "torch",
    "torchvision": "torchvision",
    "accelerate": "accelerate",
    "safetensors": "safetensors",
    "rich": "rich",
    "matplotlib": "matplotlib",
    "sklearn": "scikit-learn",
}
"""Modules without which nothing runs, and the names by which pip knows them."""


def need(module: str, what: str, extra: str) -> ModuleType:
    """An optional package.

    Args:
        module: its name, such as "timm".
        what: needs it, as a message says it: "--tensorboard".
        extra: of convnn that installs it.

    Raises:
        InputError: it is not installed, or installed and broken; the two differ in what to do.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a package may fail in any way, most often because another does not fit it
        package = module.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package:
            raise InputError(f"{what} needs the package {package}: pip install 'convnn[{extra}]'") from None
        raise InputError(f"{what} needs the package {package}, which does not load: {reason(error)}") from None


def is_installed(module: str) -> bool:
    """Whether there is a package, which may be broken."""
    return importlib.util.find_spec(module) is not None


def fault(module: str) -> str | None:
    """Why a module does not load, in a line; None where it does."""
    try:
        importlib.import_module(module)
    except Exception as error:
        return reason(error)
    return None


def reason(error: Exception) -> str:
    """What went wrong, in a line."""
    return f"{type(error).__name__}: {first_line(error)}"


def faults(error: Exception | None = None) -> dict[str, str]:
    """Of the packages without which nothing runs those that are at fault, by their names for pip, and why.

    Args:
        error: of importing our own modules, if there was one; it may name a package that loads but lacks what we need.
    """
    found = {package: why for module, package in NEEDED.items() if (why := fault(module)) is not None}
    if isinstance(error, ImportError) and (module := (error.name or "").partition(".")[0]) in NEEDED:
        found.setdefault(NEEDED[module], reason(error))
    return found


def versions() -> dict[str, str]:
    """Of the packages without which nothing runs, by their names for pip."""
    return {package: installed_version(package) or "not installed" for package in NEEDED.values()}


def installed_version(package: str) -> str | None:
    """What is installed, whether or not it loads; None where nothing is."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
