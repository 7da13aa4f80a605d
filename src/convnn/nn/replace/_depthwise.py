"""Depthwise convolutions of any network that train with the gradients of the compiled core."""

from reprlib import repr as shortened
from typing import Any

from torch import nn

from convnn.errors import InputError
from convnn.nn._depthwise import DEPTHWISE
from convnn.nn.kernels.convolution import CONVOLUTIONS
from convnn.nn.replace._report import Fate, ReplacementReport


def replace_depthwise(model: nn.Module) -> ReplacementReport:
    """Let the depthwise convolutions of a model train with the gradients of the compiled core, in place.

    They become `DepthwiseConv1d`, `DepthwiseConv2d` and `DepthwiseConv3d`, which compute the same. Everything else
    about them stays: parameters, which an optimizer may know already, hooks, names, and what the model prints.

    Args:
        model: any model.

    Returns:
        A report of the depthwise convolutions replaced, and of those left and why.

    Raises:
        InputError: the model is none, or has no depthwise convolution that is not one of ours already.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(8, 8, 31, padding=15, groups=8), nn.Conv2d(8, 16, 1))
        >>> print(replace_depthwise(model))
        1 layer replaced, 0 left
        0  Conv2d -> DepthwiseConv2d
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model={shortened(model)} must be a torch.nn.Module")
    found = {name: module for name, module in model.named_modules() if _is_depthwise(module)}
    fates = [_replace(name, conv) for name, conv in found.items()]
    if not any(fate.new for fate in fates):
        why = f"; {fates[0].name or 'the model'} was left: {fates[0].reason}" if fates else ""
        raise InputError(f"model={type(model).__name__} has no torch.nn.Conv2d with a kernel for each channel{why}")
    return ReplacementReport(tuple(fates))


def _is_depthwise(module: Any) -> bool:
    """Return whether a module is a convolution with one kernel for each of several channels, and not one of ours."""
    if not isinstance(module, CONVOLUTIONS) or isinstance(module, DEPTHWISE):
        return False
    return 1 < module.groups == module.in_channels == module.out_channels


def _replace(name: str, conv: nn.Module) -> Fate:
    kind = type(conv)
    if kind not in CONVOLUTIONS:
        return Fate(name, kind.__name__, reason=f"{kind.__name__} computes more than a convolution, or not the same")
    new = DEPTHWISE[CONVOLUTIONS.index(kind)]
    conv.__class__ = new
    return Fate(name, kind.__name__, new.__name__)
