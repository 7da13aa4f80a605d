"""Kernels that several layers of a network share."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from reprlib import repr as shortened
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from convnn.errors import InputError, check_choice
from convnn.nn._layer import MapLayer, TokenLayer
from convnn.nn.kernels.convolution import CONVOLUTIONS
from convnn.nn.replace._where import WhereLike, as_where
from convnn.words import counted

SCOPES = ("none", "stage", "model")
NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
LAYERS = (*CONVOLUTIONS, MapLayer, TokenLayer)


@dataclass(frozen=True)
class SharingReport:
    """The layers that share their kernels, and those left; as text, one line each.

    Attributes:
        groups: names of the layers that share a kernel, for each kernel.
        left: names of the other layers, and why they were left.
        parameters: number of parameters before and after.
    """

    groups: tuple[tuple[str, ...], ...]
    left: dict[str, str]
    parameters: tuple[int, int]

    def __str__(self) -> str:
        """Return a line with the numbers, and a line for each kernel and each layer left."""
        before, after = self.parameters
        layers = counted(sum(map(len, self.groups)), "layer")
        kernels = counted(len(self.groups), "kernel")
        lines = [f"{layers} share {kernels}, {len(self.left)} left; {before:,} parameters, now {after:,}"]
        lines += [", ".join(names) for names in self.groups]
        return "\n".join(lines + [f"{name} left: {reason}" for name, reason in self.left.items()])


def share_kernels(
    model: nn.Module, where: WhereLike = "*", *, scope: str = "stage", biases: bool = True
) -> SharingReport:
    r"""Make layers of one shape use one kernel, in place.

    .. math:: y_l = f_l(w * x_l), \qquad
        \frac{\partial L}{\partial w} = \sum_l \frac{\partial L}{\partial w_l}

    Layers share if they have the same class, channels, window and groups, and stand in the same stage: the innermost
    `torch.nn.Sequential`, `ModuleList` or `ModuleDict` that has several blocks. Every layer keeps its stride, padding
    and dilation. A layer of this library shares all of its learned tensors but those of normalisation, which stays each
    layer's own. The kernel of the first layer stays.

    A shared tensor is one parameter under several names: optimizers see it once, and it stays shared in copies, in
    training on several processes, and when a state dict is loaded, which must have the same values under all names, or
    only the first.

    Args:
        model: any model.
        where: layers that may share, as in `replace_layers`.
        scope: "stage", or "model" for layers of all stages.
        biases: share biases, too.

    Returns:
        A report of the layers that share, and of those left and why.

    Raises:
        InputError: an argument has another type or value, or no two layers can share.

    Reference:
        Azadbakht et al., "Drastically Reducing the Number of Trainable Parameters in Deep CNNs by Inter-layer
        Kernel-sharing", arXiv 2210.14151.

    Example:
        >>> blocks = [nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(3)]
        >>> print(share_kernels(nn.Sequential(nn.Conv2d(3, 8, 1), *blocks)))
        3 layers share 1 kernel, 1 left; 1,784 parameters, now 616
        1.0, 2.0, 3.0
        0 left: no other layer of its stage has its shape
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model={shortened(model)} must be a torch.nn.Module")
    check_choice("scope", scope, SCOPES[1:])
    layers, where = dict(_layers(model)), as_where(where)
    where.check_asks_for_some(layers, model)
    left = {name: reason for name, layer in layers.items() if (reason := _reason_to_leave(model, layer))}
    left = where.refusals(layers, None) | left
    before, groups = _count(model), []
    for names in _groups(model, {name: layer for name, layer in layers.items() if name not in left}, scope, biases):
        if len(names) > 1:
            groups.append(tuple(names))
        else:
            left[names[0]] = f"no other layer of its {scope} has its shape"
    left |= _tied_elsewhere(model, layers, groups)
    groups = [names for names in groups if not left.keys() & set(names)]
    if not groups:
        asked_for = [name for name in left if where.asks_for(name, layers[name])]
        why = f"; {asked_for[0]} was left: {left[asked_for[0]]}" if asked_for else ""
        raise InputError(f"model={type(model).__name__} has no two layers that could share a kernel{why}")
    tensors = tuple(names for group in groups for names in _tensors(model, group, biases))
    _tie(model, tensors)
    _remember(model, tensors)
    return SharingReport(tuple(groups), {name: left[name] for name in layers if name in left}, (before, _count(model)))


def _layers(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield convolutions and layers of this library by their first names, but not the parts of the latter."""
    inside = ""
    for name, module in model.named_modules():
        if name and not (inside and name.startswith(inside)):
            inside = f"{name}." if isinstance(module, MapLayer | TokenLayer) else ""
            if isinstance(module, LAYERS):
                yield name, module


def _reason_to_leave(model: nn.Module, layer: nn.Module) -> str | None:
    if any(parametrize.is_parametrized(part) for part in layer.modules()):
        return "its weight is computed from others"
    if not any(True for _ in layer.parameters()):
        return "it has no parameters"
    return None


def _tied_elsewhere(model: nn.Module, layers: Mapping[str, nn.Module], groups: list[tuple[str, ...]]) -> dict[str, str]:
    """Return why groups are left of which a layer shares a parameter with another module, by name of their layers."""
    found: dict[str, str] = {}
    for names in groups:
        group = {name: layers[name] for name in names}
        holder = nn.ModuleList(group.values())
        inside = {id(part) for part in holder.modules()}
        owners = (module for module in model.modules() if id(module) not in inside)
        others = {parameter for module in owners for parameter in module._parameters.values() if parameter is not None}
        if any(parameter in others for parameter in holder.parameters()):
            found |= dict.fromkeys(names, "a layer of its shape shares a parameter with another module")
    return found


def _groups(model: nn.Module, layers: Mapping[str, nn.Module], scope: str, biases: bool) -> list[list[str]]:
    """Return the names of the layers of each shape and stage."""
    found: dict[Any, list[str]] = {}
    for name, layer in layers.items():
        stage = _stage(model, name) if scope == "stage" else ""
        shapes = tuple((key, p.shape, p.dtype, p.device, p.requires_grad) for key, p in _learned(layer, biases))
        has_bias = getattr(layer, "bias", None) is not None
        found.setdefault((stage, type(layer), getattr(layer, "groups", 1), has_bias, shapes), []).append(name)
    return list(found.values())


def _stage(model: nn.Module, name: str) -> str:
    """Return the name of the innermost container of several blocks that a layer is in; that of the model is empty."""
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        holder = model.get_submodule(".".join(parts[:length]))
        if isinstance(holder, CONTAINERS) and sum(_is_block(child) for child in holder.children()) > 1:
            return ".".join(parts[:length])
    return ""


def _is_block(module: nn.Module) -> bool:
    """Return whether a module has layers in it and is none."""
    return not isinstance(module, LAYERS) and any(isinstance(part, LAYERS) for part in module.modules())


def _learned(layer: nn.Module, biases: bool) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the parameters of a layer that are shared, by name."""
    for path, part in layer.named_modules():
        for key, parameter in part._parameters.items():
            if parameter is not None and not isinstance(part, NORMS) and (biases or key != "bias"):
                yield f"{path}.{key}".lstrip("."), parameter


def _tensors(model: nn.Module, group: tuple[str, ...], biases: bool) -> Iterator[tuple[str, ...]]:
    """Yield the names of each tensor that layers share."""
    for key, _ in _learned(model.get_submodule(group[0]), biases):
        yield tuple(f"{name}.{key}" for name in group)


def _tie(model: nn.Module, tensors: tuple[tuple[str, ...], ...]) -> None:
    """Put the first of several parameters in the place of the others."""
    for first, *others in tensors:
        parameter = model.get_parameter(first)
        for name in others:
            path, _, key = name.rpartition(".")
            setattr(model.get_submodule(path), key, parameter)


def _remember(model: nn.Module, tensors: tuple[tuple[str, ...], ...]) -> None:
    """Keep the tensors shared when a state dict is loaded, which may assign one to each name."""
    if not hasattr(model, "_shared_tensors"):
        model.register_load_state_dict_pre_hook(_complete)
        model.register_load_state_dict_post_hook(_tie_again)
    model._shared_tensors = (*getattr(model, "_shared_tensors", ()), *tensors)  # type: ignore[assignment]


def _complete(model: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Add the other names of shared tensors to a state dict that has one of them, as a file may.

    Raises:
        InputError: their values differ.
    """
    for names in model._shared_tensors:  # type: ignore[union-attr]
        given = [prefix + name for name in names if prefix + name in state]
        for name in given[1:]:
            if not torch.equal(state[name], state[given[0]]):
                raise InputError(
                    f"the state dict has different values for {given[0]} and {name}, which share one kernel here"
                )
        state.update((prefix + name, state[given[0]]) for name in names if given)


def _tie_again(model: nn.Module, _: object) -> None:
    parts = dict(model.named_parameters(remove_duplicate=False))
    _tie(model, tuple(names for names in model._shared_tensors if all(one in parts for one in names)))  # type: ignore


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
