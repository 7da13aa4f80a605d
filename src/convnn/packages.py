"""Third-party packages: whether they are installed, whether they can be imported, and what to do if not."""

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
"""Required modules, with their names in pip."""


def need(module: str, what: str, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: name of the module, such as "timm".
        what: what needs it, for the message, such as "--tensorboard".
        extra: extra of convnn that installs it.

    Raises:
        InputError: the package is not installed, or is broken; the message says which.
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a package may fail in any way, most often because another's version does not match
        package = module.partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package:
            raise InputError(f"{what} needs the package {package}: pip install 'convnn[{extra}]'") from None
        raise InputError(f"{what} needs the package {package}, which cannot be imported: {reason(error)}") from None


def is_installed(module: str) -> bool:
    """Return whether a package is installed; it may be broken."""
    return importlib.util.find_spec(module) is not None


def fault(module: str) -> str | None:
    """Return in one line why a module cannot be imported, or None if it can."""
    try:
        importlib.import_module(module)
    except Exception as error:
        return reason(error)
    return None


def reason(error: Exception) -> str:
    """Return the type and the first line of an error."""
    return f"{type(error).__name__}: {first_line(error)}"


def faults(error: Exception | None = None) -> dict[str, str]:
    """Return why required packages cannot be imported, by their names for pip.

    Args:
        error: of importing our own modules, if there was one; it may name a package that loads but lacks what we need.
    """
    found = {package: why for module, package in NEEDED.items() if (why := fault(module)) is not None}
    if isinstance(error, ImportError) and (module := (error.name or "").partition(".")[0]) in NEEDED:
        found.setdefault(NEEDED[module], reason(error))
    return found


def versions() -> dict[str, str]:
    """Return the versions of the required packages, by their names in pip."""
    return {package: installed_version(package) or "not installed" for package in NEEDED.values()}


def installed_version(package: str) -> str | None:
    """Return the installed version of a package, even if it is broken, or None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
