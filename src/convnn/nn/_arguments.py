"""Arguments of layers: widths by position, settings by name, and an error of one sentence for anything else."""

import inspect
import math
from reprlib import repr as shortened
from typing import Any

from torch import nn

from convnn.errors import InputError, did_you_mean

OTHER_NAMES = {
    "kernel_size": "K",
    "k": "K",
    "num_neighbors": "K",
    "n_neighbors": "K",
    "neighbors": "K",
    "magnitude_type": "metric",
}
"""What other libraries, and the published code, call a setting of ours."""


def check_arguments(layer: type[nn.Module], given: tuple[Any, ...], settings: dict[str, Any]) -> None:
    """Refuse arguments that the constructor of a layer does not accept.

    Called by `__new__` of a base class, which sees the arguments before the constructor does. Copies and pickles are
    made without arguments, and pass.

    Raises:
        InputError: there are too many positional arguments, or a setting is unknown; the message says what to write.
    """
    parameters = _parameters(layer)
    kinds = {p.kind for p in parameters}
    by_position = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(given) > len(by_position) and inspect.Parameter.VAR_POSITIONAL not in kinds:
        shown = ", ".join(map(shortened, given[: len(by_position) + 1]))
        more = ", ..." if settings or len(given) > len(by_position) + 1 else ""
        raise InputError(
            f"{layer.__name__}({shown}{more}): only {' and '.join(p.name for p in by_position)} may be given without a"
            f" name; {_instead_of_window(layer, given[len(by_position)])}"
        )
    if inspect.Parameter.VAR_KEYWORD not in kinds:
        for name, value in settings.items():
            if name not in {p.name for p in parameters}:
                raise InputError(_about_unknown(layer, name, value))


def constructor_signature(layer: type[nn.Module]) -> inspect.Signature:
    """Return the signature of a constructor, without self."""
    signature = inspect.signature(layer.__init__)
    return signature.replace(parameters=tuple(signature.parameters.values())[1:])


def _parameters(layer: type[nn.Module]) -> tuple[inspect.Parameter, ...]:
    """Return the parameters of its constructor."""
    return tuple(constructor_signature(layer).parameters.values())


def _settings_of(layer: type[nn.Module]) -> list[str]:
    return [p.name for p in _parameters(layer) if p.kind is p.KEYWORD_ONLY]


def _about_unknown(layer: type[nn.Module], name: str, value: Any) -> str:
    """Return the sentence for a setting that a layer does not have."""
    known = _settings_of(layer)
    unknown = f"{layer.__name__} has no setting {name}={shortened(value)}"
    if OTHER_NAMES.get(name) not in known:
        if instead := _written_elsewhere(layer, OTHER_NAMES.get(name, name), value):
            return f"{unknown}; {instead}"
        elsewhere = getattr(layer, "settings_elsewhere", "")
        return f"{unknown}; it has {', '.join(known) or 'none'}{elsewhere}{did_you_mean(name, known)}"
    if name == "kernel_size":
        return f"{unknown}; {_instead_of_window(layer, value)}"
    return f"{unknown}; write {OTHER_NAMES[name]}={shortened(value)}"


def _written_elsewhere(layer: type[nn.Module], name: str, value: Any) -> str:
    """Say where a setting of ConvNN is written for a layer that does not have it, if it is anywhere."""
    branch = getattr(layer, "convnn", None)
    if branch is not None and name in _settings_of(branch):
        return f"write {layer.__name__}.with_convnn(in_channels, out_channels, {name}={shortened(value)})"
    if name == "K" and "kernel_size" in _settings_of(layer):
        return "write kernel_size=SIDE, which takes as many as a window of that side has positions"
    return ""


def _instead_of_window(layer: type[nn.Module], value: Any) -> str:
    """Say what to write where a convolution has the side of its window."""
    known = _settings_of(layer)
    axes = getattr(layer, "spatial_dims", 0)  # none: a layer on tokens, whose third argument is no window
    sides = value if isinstance(value, tuple) else (value,) * axes
    if "K" in known and axes and len(sides) == axes and all(isinstance(side, int) for side in sides):
        window = " x ".join(map(str, sides))
        return f"write K={math.prod(sides)} for as many neighbours as a window of {window} has"
    name = next((name for name in ("kernel_size", "K", "step") if name in known), "NAME")
    return f"write {name}={shortened(value)}"
