"""The Jacobian of a network's outputs in its parameters: some of its rows and columns at a time."""

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from convnn.errors import InputError, UnsupportedError, check_at_least, first_line, is_out_of_memory
from convnn.tangent.modes import evaluation


class Columns(NamedTuple):
    """Some of the columns: the numbers from `start` to `stop` of a flattened parameter."""

    name: str
    start: int
    stop: int


class Rows(NamedTuple):
    """Rows of all samples in some columns.

    Attributes:
        left: (N, O, p) the derivatives of each output; of a linear map in factors, those by its output.
        right: (N, q) the input of that linear map, or None: the derivatives by its weight are the outer product of
            both, which nobody needs to form.
    """

    left: Tensor
    right: Tensor | None = None

    def gram(self, other: "Rows", *, full: bool) -> Tensor:
        """Return inner products with other rows, (N, M) summed over the outputs, or in `full` (N, M, O, O)."""
        if full:
            products = torch.einsum("nop,mqp->nmoq", self.left, other.left)
        else:
            products = self.left.flatten(1) @ other.left.flatten(1).T
        if self.right is None or other.right is None:
            return products
        inner = self.right @ other.right.T
        return products * (inner[:, :, None, None] if full else inner)

    def squares(self) -> Tensor:
        """Return the squared lengths of all rows of each sample, added, (N,)."""
        squares = self.left.square().sum((1, 2))
        return squares if self.right is None else squares * self.right.square().sum(1)


class Jacobian:
    """The derivatives of a network's outputs in those of its parameters that require gradients.

    A sample is differentiated by itself, once for every output, with the gradients and the backend that training has;
    no operation of the network needs a rule for `vmap`. With a chunk of several samples `torch.func` maps them at
    once, or, where an operation has no such rule, the first call says so, and samples are differentiated one by one.

    Args:
        model: the network, whose samples must not depend on each other.
        x: (N, ...) inputs, of which the first shows how many outputs there are.
        summed: replace the O outputs by their sum over the root of O.
        chunk: samples that are mapped at once.
        factors: whether derivatives by the weights of linear maps stay in factors, where a chunk is one sample.

    Raises:
        InputError: an argument has another type or value, no parameter requires gradients, or the outputs of a sample
            are not one number or a row of them.
    """

    def __init__(
        self, model: nn.Module, x: Tensor, *, summed: bool = False, chunk: int = 1, factors: bool = False
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"model={type(model).__name__} must be a torch.nn.Module")
        check_at_least("chunk", chunk, 1)
        check_inputs("x", x)
        self.model = model
        self.summed = summed
        self.chunk = chunk
        self.parameters = {name: value for name, value in model.named_parameters() if value.requires_grad}
        if not self.parameters:
            raise InputError(f"model={type(model).__name__} must have a parameter that requires gradients")
        self.num_outputs = self._outputs(x[:1]).shape[1]
        self.linear = self._linear_maps(x[:1]) if factors and chunk == 1 else {}

    def size(self, name: str) -> int:
        """Return how many numbers a sample and output need for a parameter."""
        module = self.linear.get(name)
        return self.parameters[name].numel() if module is None else module.in_features + module.out_features

    @property
    def num_parameters(self) -> int:
        """How many numbers all parameters that count have, P."""
        return sum(value.numel() for value in self.parameters.values())

    def rows(self, x: Tensor, tile: Sequence[Columns], outputs: slice) -> dict[Columns, Rows]:
        """Return the rows of samples x in the columns of a tile, of some outputs."""
        if self.chunk > 1:
            try:
                return self._mapped(x, tile, outputs)
            except RuntimeError as error:
                if is_out_of_memory(error):
                    raise
                self._say_one_by_one(error)
        return self._one_by_one(x, tile, outputs)

    def _one_by_one(self, x: Tensor, tile: Sequence[Columns], outputs: slice) -> dict[Columns, Rows]:
        count, width = x.shape[0], outputs.stop - outputs.start
        found = {columns: self._empty(columns, count, width) for columns in tile}
        for sample in range(count):
            with _taps([self.linear[one.name] for one in tile if one.name in self.linear]) as taps:
                values = self._outputs(x[sample : sample + 1])[0, outputs]
            uses = {one.name: self._only_use(one.name, taps) for one in tile if one.name in self.linear}
            leaves = [uses[one.name].zeros if one.name in uses else self.parameters[one.name] for one in tile]
            for number, value in enumerate(values):
                grads = _gradients(value, leaves, keep=number + 1 < width)
                for columns, grad in zip(tile, grads, strict=True):
                    _fill(found[columns].left[sample, number], grad, columns, columns.name in uses)
            for columns in tile:
                if (right := found[columns].right) is not None:
                    right[sample] = uses[columns.name].read[0]
        return found

    def _only_use(self, name: str, taps: "Taps") -> "Use":
        """Return the use of a linear map by one sample, one of zeros where there is none.

        Raises:
            UnsupportedError: there are several, unlike for the first sample.
        """
        module = self.linear[name]
        uses = taps.get(module, [])
        if len(uses) > 1:
            raise UnsupportedError(
                f"model={type(self.model).__name__} uses {name} once for the first sample and {len(uses)} times for"
                " another, which kernels cannot follow here; use products of tangent_jacobian"
            )
        zeros = module.weight.new_zeros(1, module.in_features), module.weight.new_zeros(1).requires_grad_()
        return uses[0] if uses else Use(*zeros)

    def _empty(self, columns: Columns, count: int, width: int) -> Rows:
        like, module = self.parameters[columns.name], self.linear.get(columns.name)
        if module is None:
            return Rows(like.new_empty(count, width, columns.stop - columns.start))
        return Rows(like.new_empty(count, width, module.out_features), like.new_empty(count, module.in_features))

    def _mapped(self, x: Tensor, tile: Sequence[Columns], outputs: slice) -> dict[Columns, Rows]:
        chosen = {one.name: self.parameters[one.name].detach() for one in tile}
        others = {name: value.detach() for name, value in self.parameters.items() if name not in chosen}

        def outputs_of(some: Mapping[str, Tensor], sample: Tensor) -> Tensor:
            call = partial(functional_call, self.model, others | dict(some))
            return self._outputs(sample.unsqueeze(0), call)[0, outputs]

        mapped = vmap(jacrev(outputs_of), (None, 0), randomness="different")
        parts: dict[Columns, list[Tensor]] = {columns: [] for columns in tile}
        for some in x.split(self.chunk):
            jacobians = mapped(chosen, some)
            for columns in tile:
                whole = jacobians[columns.name].detach().flatten(2)
                parts[columns].append(whole[:, :, columns.start : columns.stop])
        return {columns: Rows(torch.cat(some)) for columns, some in parts.items()}

    def _say_one_by_one(self, error: RuntimeError) -> None:
        warnings.warn(
            f"chunk={self.chunk} is out of reach for {type(self.model).__name__}, which torch.func cannot map"
            f" ({first_line(error):.120}); samples are differentiated one by one",
            stacklevel=5,
        )
        self.chunk = 1

    def _outputs(self, x: Tensor, call: Any = None) -> Tensor:
        """Return the outputs (B, O), or their scaled sums (B, 1)."""
        out = self.model(x) if call is None else call((x,))
        if not isinstance(out, Tensor) or out.shape[:1] != x.shape[:1] or out.dim() > 2 or not out.is_floating_point():
            shape = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else f"type {type(out).__name__}"
            raise InputError(
                f"model={type(self.model).__name__} has an output of {shape} for {x.shape[0]} samples, which must be"
                " floating and (N,) or (N, O); wrap it in a module that returns such numbers"
            )
        out = out.unsqueeze(1) if out.dim() == 1 else out
        return out.sum(1, keepdim=True) / math.sqrt(out.shape[1]) if self.summed else out

    def _linear_maps(self, sample: Tensor) -> dict[str, nn.Linear]:
        """Return the linear maps that are used once, on one row of a sample, by the names of their weights."""
        maps = {
            f"{name}.weight" if name else "weight": module
            for name, module in self.model.named_modules()
            if type(module) is nn.Linear
        }
        maps = {name: module for name, module in maps.items() if self.parameters.get(name) is module.weight}
        with _taps(list(maps.values())) as taps:
            value = self._outputs(sample).sum()
        uses = {name: taps[module][0] for name, module in maps.items() if len(taps.get(module, ())) == 1}
        counts = _uses_of(value)
        uses = {name: use for name, use in uses.items() if use.read.dim() == 2 and counts[maps[name].weight] == 1}
        leaves = [leaf for name, use in uses.items() for leaf in (maps[name].weight, use.zeros)]
        grads = iter(_gradients(value, leaves, keep=False))
        pairs = zip(uses.items(), grads, grads, strict=True)
        return {name: maps[name] for (name, use), whole, left in pairs if _is_outer(whole, left, use.read)}


def check_inputs(name: str, x: Any, like: Tensor | None = None) -> None:
    """Refuse what is no batch of samples, or is unlike another batch.

    Raises:
        InputError: it is no floating tensor (N, ...), has no samples, or its samples have another shape.
    """
    if not isinstance(x, Tensor) or x.dim() < 1 or not x.shape[0]:
        shown = f"of shape {tuple(x.shape)}" if isinstance(x, Tensor) else f"of type {type(x).__name__}"
        raise InputError(f"{name} {shown} must be a tensor (N, ...) of at least one sample")
    if like is not None and x.shape[1:] != like.shape[1:]:
        raise InputError(
            f"{name} of shape {tuple(x.shape)} must have samples of shape {tuple(like.shape[1:])}, as x has"
        )


def tangent_jacobian(model: nn.Module, x: Tensor, *, chunk: int = 1) -> dict[str, Tensor]:
    r"""Return the whole Jacobian, :math:`J_l = \partial f(x) / \partial \theta_l`, of each parameter.

    `tangent_kernel` never has all of it; this is for what needs it, such as :math:`J_l^T J_l`, the Fisher information.
    The network is in evaluation mode meanwhile. Parameters that do not require gradients are left out; the derivatives
    by one that is not used are 0.

    Args:
        model: a network whose samples do not depend on each other, with outputs (N,) or (N, O).
        x: (N, ...) its inputs.
        chunk: samples that `torch.func.vmap` differentiates at once; 1 uses ordinary gradients.

    Returns:
        (N, O, P_l) by the names of the parameters.

    Raises:
        InputError: as `tangent_kernel`.
    """
    with evaluation(model):
        jacobian = Jacobian(model, x, chunk=chunk)
        tile = [Columns(name, 0, value.numel()) for name, value in jacobian.parameters.items()]
        rows = jacobian.rows(x, tile, slice(0, jacobian.num_outputs))
    return {columns.name: rows[columns].left for columns in tile}


class Use(NamedTuple):
    """A use of a linear map: what it read, and zeros that were added to its output.

    The derivatives by the zeros are those by the output, which an activation may have overwritten meanwhile.
    """

    read: Tensor
    zeros: Tensor


Taps = dict[nn.Module, list[Use]]


@contextmanager
def _taps(modules: Sequence[nn.Module]) -> Iterator[Taps]:
    """Yield the uses of modules within the block, of those whose input has no name."""
    taps: Taps = {}

    def tap(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if not inputs:
            return None
        use = Use(inputs[0].detach().clone(), torch.zeros_like(output).requires_grad_())
        taps.setdefault(module, []).append(use)
        return output + use.zeros

    with ExitStack() as stack:
        for module in modules:
            stack.callback(module.register_forward_hook(tap).remove)
        yield taps


def _uses_of(value: Tensor) -> Counter[Tensor]:
    """Return how many operations read each parameter on the way to a value; their gradients may be 0."""
    counts: Counter[Tensor] = Counter()
    seen, left = {value.grad_fn}, [value.grad_fn]
    while left:
        node = left.pop()
        for earlier, _ in () if node is None else node.next_functions:
            variable = getattr(earlier, "variable", None)  # of leaves alone
            if variable is not None:
                counts[variable] += 1
            elif earlier not in seen:
                seen.add(earlier)
                left.append(earlier)
    return counts


def _gradients(value: Tensor, leaves: Sequence[Tensor], *, keep: bool) -> Sequence[Tensor | None]:
    if not value.requires_grad or not leaves:
        return [None] * len(leaves)
    return torch.autograd.grad(value, leaves, retain_graph=keep, allow_unused=True)


def _fill(row: Tensor, grad: Tensor | None, columns: Columns, whole: bool) -> None:
    """Write a gradient, or the part in these columns, into a row; 0 where the output does not depend on it."""
    if grad is None:
        row.zero_()
    else:
        row.copy_(grad.flatten() if whole else grad.flatten()[columns.start : columns.stop])


def _is_outer(whole: Tensor | None, left: Tensor | None, right: Tensor) -> bool:
    """Return whether the gradient by a weight is that of its one use, on one row."""
    if whole is None or left is None or left.shape[0] != 1:
        return False
    outer = left[0].unsqueeze(1) * right
    return bool((whole - outer).norm() <= 1e-4 * outer.norm())
