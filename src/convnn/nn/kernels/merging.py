"""Networks in inference form: what is trained in several parts, and computes the same in one."""

import copy
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from reprlib import repr as shortened
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import nn
from torch.nn.utils import parametrize

from convnn.errors import InputError
from convnn.nn._depthwise import DEPTHWISE
from convnn.nn.kernels.convolution import BATCH_NORMS, CONVOLUTIONS, Convolution
from convnn.nn.kernels.taps import Kernel, normalised
from convnn.nn.kernels.tracing import has_hooks, steps_to
from convnn.words import counted

SHARED = "it shares its kernel, which would be a different one in each layer"


class Mergeable(nn.Module):
    """A module that another, with fewer parts, can replace at inference."""

    def merge(self) -> nn.Module:
        """Return a module that computes the same in evaluation mode, without changing this one."""
        raise NotImplementedError


@runtime_checkable
class EndsInConvolution(Protocol):
    """A layer that may end in a convolution, which can then take in the batch normalisation after the layer."""

    def last_convolution(self) -> Convolution | None:
        """Return the convolution whose output is that of the layer, or None."""
        ...


class Merged(NamedTuple):
    """What was merged, or why not.

    Attributes:
        name: its path in the model.
        old: its class, or classes.
        new: the new class; None if it was left.
        reason: why it was left; empty if it was merged.
    """

    name: str
    old: str
    new: str | None = None
    reason: str = ""


@dataclass(frozen=True)
class MergeReport:
    """A network in inference form, and what became of its parts; as text, a line each.

    Attributes:
        model: the network.
        parts: what was merged or left, in the order of the model.
        parameters: number of parameters before and after.
    """

    model: nn.Module
    parts: tuple[Merged, ...]
    parameters: tuple[int, int]

    @property
    def merged(self) -> list[Merged]:
        """What was merged."""
        return [part for part in self.parts if part.new is not None]

    @property
    def left(self) -> list[Merged]:
        """What was left."""
        return [part for part in self.parts if part.new is None]

    def __str__(self) -> str:
        """Return a line with the numbers, and a line for each part."""
        before, after = self.parameters
        total = f"{before:,} parameters, now {after:,}"
        lines = [f"{counted(len(self.merged), 'part')} merged, {len(self.left)} left; {total}"]
        width = max((len(part.name) for part in self.parts), default=0)
        for name, old, new, reason in self.parts:
            lines.append(f"{name:{width}}  {old} -> {new}" if new else f"{name:{width}}  {old} left: {reason}")
        return "\n".join(lines)


@torch.no_grad()
def merge(model: nn.Module, *, inplace: bool = False) -> MergeReport:
    """Bring a network into its inference form, which computes the same in evaluation mode with fewer parts.

    Parallel convolutions become one, with the batch normalisation after each. A convolution, or a layer of ours that
    ends in one, takes in the batch normalisation that alone reads its output, in any network or part of it that
    `torch.fx` can trace. Normalisation has its running statistics, and kernels are computed in float64 before they are
    rounded. Parts with hooks are left, and so are those that share a kernel, which would be a different one in each.

    Args:
        model: any model, in evaluation mode.
        inplace: change the model itself; otherwise a copy.

    Returns:
        A report with the merged network as its `model`.

    Raises:
        InputError: the model is none, a part is in training mode, or the model is itself a part, which cannot change
            in place.

    Example:
        >>> from convnn.nn import RepLK2d
        >>> report = merge(nn.Sequential(RepLK2d(8, 16, kernel_size=13), nn.ReLU()).eval())
        >>> print(report)
        1 part merged, 0 left; 1,728 parameters, now 1,504
        0.operator  ParallelConv -> Conv2d
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model={shortened(model)} must be a torch.nn.Module")
    if inplace and isinstance(model, Mergeable):
        raise InputError(f"inplace=True cannot turn a {type(model).__name__} into another module; leave it out")
    _check_mode(model)
    before = _count(model)
    holder = nn.ModuleList([model if inplace else copy.deepcopy(model)])  # so that the model too has a name
    parts = [*_merge_parts(holder), *_merge_norms(holder)]
    found = tuple(part._replace(name=part.name.removeprefix("0").removeprefix(".")) for part in parts)
    return MergeReport(holder[0], found, (before, _count(holder[0])))


def _merge_parts(holder: nn.Module) -> Iterator[Merged]:
    """Replace every mergeable part by what it merges into, under all of its names."""
    found, inside = {}, "none"
    for name, module in holder.named_modules(remove_duplicate=False):
        if isinstance(module, Mergeable) and not name.startswith(inside):
            found[name], inside = module, f"{name}."
    shared = _sharing(holder)
    apart = {module for module in found.values() if shared.isdisjoint(module.modules())}
    new = {module: module.merge() for module in apart if not has_hooks(module)}
    for name, module in found.items():
        if module not in apart:
            yield Merged(name, type(module).__name__, reason=SHARED)
        elif module in new:
            holder.set_submodule(name, new[module])
            yield Merged(name, type(module).__name__, new[module]._get_name())
        else:
            yield Merged(name, type(module).__name__, reason="something listens to it")


def _merge_norms(holder: nn.Module) -> Iterator[Merged]:
    """Merge batch normalisation into the convolution before it, wherever a trace shows that nothing is between them."""
    shared = _sharing(holder)
    uses = Counter(module for _, module in holder.named_modules(remove_duplicate=False))
    steps = [step for root in holder.children() for step in steps_to(root, BATCH_NORMS, whole=(Mergeable,))]
    yield from _untraced(holder, {f"0.{step.after}".rstrip(".") for step in steps})
    for step in steps:
        before, after = (f"0.{path}".rstrip(".") for path in step[:2])
        norm = holder.get_submodule(after)
        layer = holder.get_submodule(before) if step.before else None
        conv = layer.last_convolution() if isinstance(layer, EndsInConvolution) else layer
        if layer is None or conv is None or not _is_pair(conv, norm):
            yield Merged(after, type(norm).__name__, reason="it does not follow a convolution")
            continue
        old = f"{layer._get_name()} and {type(norm).__name__}"
        if not step.is_alone or any(uses[part] > 1 or has_hooks(part) for part in (layer, conv, norm)):
            yield Merged(before, old, reason="it is used elsewhere, or something listens to it")
            continue
        if conv in shared or norm in shared:
            yield Merged(before, old, reason=SHARED)
            continue
        _take_in(conv, norm)
        holder.set_submodule(after, _rest(norm))
        yield Merged(before, old, layer._get_name())


def _untraced(holder: nn.Module, known: set[str]) -> Iterator[Merged]:
    """Report the normalisation of parts that cannot be traced, unless it belongs to one that was left as a whole."""
    whole = tuple(f"{name}." for name, module in holder.named_modules() if isinstance(module, Mergeable))
    for name, module in holder.named_modules():
        if isinstance(module, BATCH_NORMS) and name not in known and not name.startswith(whole):
            yield Merged(name, type(module).__name__, reason="the part around it cannot be traced")


def _rest(norm: Any) -> nn.Module:
    """Return what remains of a normalisation without its affine map."""
    return nn.Sequential(norm.drop, norm.act) if _is_with_activation(norm) else nn.Identity()


def _is_with_activation(norm: nn.Module) -> bool:
    """Return whether a module is timm's normalisation with an activation, by name, as timm may not be installed."""
    return type(norm).__name__ == "BatchNormAct2d" and type(norm).__module__.startswith("timm.")


def _sharing(model: nn.Module) -> set[nn.Module]:
    """Return the modules that own a parameter which another module owns, too."""
    owners: dict[nn.Parameter, set[nn.Module]] = {}
    for module in model.modules():
        for parameter in module._parameters.values():
            if parameter is not None:
                owners.setdefault(parameter, set()).add(module)
    return {module for several in owners.values() if len(several) > 1 for module in several}


def _is_pair(conv: nn.Module, norm: nn.Module) -> bool:
    """Return whether these are a convolution and its batch normalisation, and nothing more."""
    return (
        type(conv) in (*CONVOLUTIONS, *DEPTHWISE)
        and (type(norm) in BATCH_NORMS or _is_with_activation(norm))
        and norm.running_mean is not None
        and norm.num_features == conv.out_channels
        and not parametrize.is_parametrized(conv)
    )


def _take_in(conv: Any, norm: Any) -> None:
    """Change weight and bias of a convolution to those of both."""
    weight = conv.weight.double()
    bias = weight.new_zeros(weight.shape[0]) if conv.bias is None else conv.bias.double()
    both, dtype = normalised(Kernel(weight, bias), norm), conv.weight.dtype
    conv.weight, conv.bias = nn.Parameter(both.weight.to(dtype)), nn.Parameter(both.bias.to(dtype))


def _check_mode(model: nn.Module) -> None:
    """Refuse a model whose normalisation has the statistics of the batch.

    Raises:
        InputError: a part is in training mode.
    """
    for name, part in model.named_modules():
        if part.training and isinstance(part, (Mergeable, *BATCH_NORMS)):
            raise InputError(
                f"{name or 'the model'} is in training mode, in which nothing can be merged; call model.eval() first"
            )


def _count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
