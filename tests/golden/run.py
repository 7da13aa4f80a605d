"""Our results for the published tensors: outputs and gradients, by their published names."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from golden.case import Case
from golden.entry import Entry, Names


def results(case: Case, entry: Entry) -> dict[str, Tensor]:
    """Return our values of the results in the file.

    Our parameters are functions of the published ones, so that gradients belong to the published parameters however
    they are rearranged.
    """
    ours = entry.build(case)
    inputs = {name: _leaf(case.tensors[name]) for name in entry.inputs if name in case.tensors}
    for name, leaf in inputs.items():
        leaf.requires_grad_(_gradient_of(name, case, entry) is not None)  # an estimator may take arrays
    leaves, after = dict(inputs), {}
    arguments = [inputs.get(name) for name in entry.inputs]
    if isinstance(ours, nn.Module):
        ours.double().train(case.is_training)
        names = entry.names(case) if callable(entry.names) else entry.names
        published = {name: _leaf(value) for name, value in case.named("param").items()}
        leaves |= {f"param.{name}": leaf for name, leaf in published.items()}
        placed = _place(ours, entry, names, published, must_fit=not case.named("grad"))
        after = _load(ours, names, placed, case)
        state = {f"ours.{name}": value for name, value in placed.items()}
        out = functional_call(_Called(ours, entry.call), state, tuple(arguments))
    else:
        out = entry.call(ours, *arguments)
    outputs = dict(out) if isinstance(out, Mapping) else dict(zip(entry.outputs, _as_tuple(out), strict=True))
    after = {name: value.clone() for name, value in after.items()}
    found = outputs | after | _gradients(outputs, leaves, case, entry)
    with torch.no_grad():
        found |= entry.also(ours, case)
    return {name: value for name, value in found.items() if name in case.tensors}


class _Called(nn.Module):
    """A module that is called in some other way than by its inputs alone."""

    def __init__(self, ours: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.ours = ours
        self.call = call

    def forward(self, *inputs: Tensor | None) -> Any:
        return self.call(self.ours, *inputs)


def _leaf(value: Tensor) -> Tensor:
    return value.clone().requires_grad_(value.is_floating_point() or value.is_complex())


def _as_tuple(out: Any) -> tuple:
    return tuple(out) if isinstance(out, tuple | list) else (out,)


def our_name(theirs: str, names: Names) -> str | None:
    """Translate a published name: replace every dotted part that `names` contains, longest first."""
    parts, ours = theirs.split("."), []
    while parts:
        length = next((n for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in names), 0)
        name = names[".".join(parts[:length])] if length else parts[0]
        if name is None:
            return None
        ours += [name] if name else []
        parts = parts[length or 1 :]
    return ".".join(ours)


def _places(ours: nn.Module) -> dict[str, Tensor]:
    return dict(ours.named_parameters()) | dict(ours.named_buffers())


def _place(
    ours: nn.Module, entry: Entry, table: Names, published: Mapping[str, Tensor], must_fit: bool
) -> dict[str, Tensor]:
    """Return the published parameters as ours, in our shapes.

    A parameter without a counterpart has no gradient, which is compared like any other; if the file has no gradient for
    it, it must have a counterpart.
    """
    places, names = _places(ours), {name: our_name(name, table) for name in published}
    arranged = entry.arrange({ours_: published[name] for name, ours_ in names.items() if ours_ is not None}, ours)
    placed = {
        name: value.reshape(places[name].shape).to(places[name].dtype)
        for name, value in arranged.items()
        if name in places
    }
    if missing := dict(ours.named_parameters()).keys() - placed.keys():
        raise LookupError(f"the file has nothing for {', '.join(sorted(missing))}")
    used = {name: leaf for name, leaf in published.items() if names[name] is not None}
    if must_fit and used:
        total = torch.stack([value.sum().double() for value in placed.values()]).sum()
        reached = torch.autograd.grad(total, list(used.values()), allow_unused=True, retain_graph=True)
        for name, slope in zip(used, reached, strict=True):
            if slope is None:
                raise LookupError(f"param.{name} has no place in ours, where it is called {names[name]}")
    return placed


def _load(ours: nn.Module, names: Names, placed: Mapping[str, Tensor], case: Case) -> dict[str, Tensor]:
    """Load parameters into ours, and return its buffers by their names in the file after a training step."""
    places, after = _places(ours), {}
    with torch.no_grad():
        for name, value in placed.items():
            places[name].copy_(value)
        for theirs in [name for name in case.tensors if name.startswith("buffer.")]:
            name = our_name(theirs.removeprefix("buffer."), names)
            if name in places:
                places[name].copy_(case.tensors[theirs].reshape(places[name].shape))
                after[theirs.replace("buffer.", "buffer_after.", 1)] = places[name]
    return after


def _gradients(
    outputs: Mapping[str, Tensor], leaves: Mapping[str, Tensor], case: Case, entry: Entry
) -> dict[str, Tensor]:
    """Return the gradients in the file for inputs and parameters, from its upstream gradients."""
    wanted = {}
    for name, leaf in leaves.items():
        theirs = _gradient_of(name, case, entry)
        if theirs is not None and leaf.requires_grad:
            wanted[theirs] = leaf
    if not wanted:
        return {}
    upstream = {name: grad for name in outputs if (grad := _upstream(name, case, entry)) is not None}
    if not upstream:
        first = next(iter(outputs))
        upstream = {first: torch.ones_like(outputs[first])}
    roots = {name: outputs[name] for name in upstream if outputs[name].requires_grad}
    if not roots:  # nothing of ours depends on them
        return {name: torch.zeros_like(leaf) for name, leaf in wanted.items()}
    grads = torch.autograd.grad(
        list(roots.values()), list(wanted.values()), [upstream[name] for name in roots], allow_unused=True
    )
    return {
        name: torch.zeros_like(leaf) if grad is None else grad
        for (name, leaf), grad in zip(wanted.items(), grads, strict=True)
    }


def _gradient_of(name: str, case: Case, entry: Entry) -> str | None:
    """Return the name of the gradient of an input or parameter, if the file has one."""
    if name.startswith("param."):
        names = [name.replace("param.", "grad.", 1)]
    else:
        only = ["grad_input"] if name == entry.inputs[0] else []
        names = [*filter(None, [entry.gradients.get(name)]), f"grad_{name}", f"grad_input.{name}", *only]
    return next((one for one in names if one in case.tensors), None)


def _upstream(name: str, case: Case, entry: Entry) -> Tensor | None:
    only = ["grad_output"] if name == entry.outputs[0] else []
    return next(
        (case.tensors[one] for one in (f"grad_{name}", f"grad_output.{name}", *only) if one in case.tensors), None
    )
