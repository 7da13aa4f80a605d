"""Tasks: a definition in plain PyTorch, and inputs on which a kernel is held to it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convnn.errors import InputError, check_choice

Setting = Mapping[str, Any]
Function = Callable[..., Any]

VALUES: dict[str, Callable[[Tensor, bool], Tensor]] = {
    "normal": lambda x, _: x,
    "negative": lambda x, _: -x.abs(),
    "large": lambda x, is_half: x * (16 if is_half else 1024),
    "tiny": lambda x, is_half: x / (64 if is_half else 2**20),
    "zeros": lambda x, _: 0 * x,
    "whole": lambda x, _: x.round(),
    "special": lambda x, _: _with_special(x),
}
"""How floating inputs, drawn as the task says, are changed: whole numbers tie, special ones are infinite or NaN."""
USUAL_VALUES = ("normal", "negative", "large", "tiny")
LAYOUTS = ("dense", "transposed", "offset")
"""How inputs lie in memory: in order, with the last two axes swapped, or one element behind the start of a storage."""


def kernel_of(module: ModuleType) -> Function:
    """Return the function `kernel` of a candidate's file.

    Raises:
        InputError: the file has none.
    """
    found = getattr(module, "kernel", None)
    if not callable(found):
        raise InputError(f"'{module.__file__}' must define a function kernel, which takes what the definition takes")
    return found


@dataclass(frozen=True)
class Task:
    """A definition, and the inputs on which candidates are compared with it.

    Attributes:
        name: its name, such as "weigh.similarity".
        reference: the definition in plain PyTorch: a function of the inputs that returns a tensor or several.
        inputs: function of a generator and a setting that draws the inputs: floating tensors in float64, whole numbers,
            and anything else, of the same shapes for every seed. They are cast, changed and laid out by the harness.
        settings: what `inputs` takes, such as shapes below, at and above a tile; never a batch of 1 alone. The last one
            is timed.
        values: kinds of values, some of `VALUES`: those where the definition is defined.
        dtypes: floating types.
        layouts: some of `LAYOUTS`.
        parameters: places of those inputs that are weights.
        has_gradients: whether gradients of the floating inputs are compared too.
        is_repeatable: whether two calls must have the same bits.
        adapt: how the file of a candidate becomes a function of the inputs.
        ours: function of the name of a backend of this library, which returns its kernel; None where we have none.
        origin: its name among ours, or its file, by which another process finds it.

    Raises:
        InputError: there is no setting, or a kind of values or a layout is unknown.
    """

    name: str
    reference: Function
    inputs: Callable[[torch.Generator, Setting], Sequence[Any]]
    settings: Sequence[Setting]
    values: Sequence[str] = USUAL_VALUES
    dtypes: Sequence[torch.dtype] = (torch.float32,)
    layouts: Sequence[str] = LAYOUTS
    parameters: Sequence[int] = ()
    has_gradients: bool = True
    is_repeatable: bool = True
    adapt: Callable[[ModuleType], Function] = kernel_of
    ours: Callable[[str], Function] | None = field(default=None, compare=False)
    origin: str | None = None

    def __post_init__(self) -> None:
        if not self.settings:
            raise InputError(f"settings=[] of task {self.name!r} must have at least one")
        for name in self.values:
            check_choice("values", name, VALUES)
        for name in self.layouts:
            check_choice("layouts", name, LAYOUTS)


class Case(NamedTuple):
    """One combination of what varies in a task."""

    setting: Setting
    values: str
    dtype: torch.dtype
    layout: str

    def __str__(self) -> str:
        shape = ", ".join(f"{name}={value}" for name, value in self.setting.items())
        kind = str(self.dtype).removeprefix("torch.")
        return ", ".join(filter(None, [shape, f"{self.values} values", kind, self.layout]))


def cases_of(task: Task) -> Iterator[Case]:
    """Yield every setting with all values, then with all types, then with all layouts, the others as usual."""
    values, dtypes, layouts = task.values, task.dtypes, task.layouts
    for setting in task.settings:
        usual = Case(setting, values[0], dtypes[0], layouts[0])
        yield from (usual._replace(values=one) for one in values)
        yield from (usual._replace(dtype=one) for one in dtypes[1:])
        yield from (usual._replace(layout=one) for one in layouts[1:])


def draw(task: Task, case: Case, seed: int) -> tuple[Any, ...]:
    """Return inputs of a case, floating ones in its type, all of them dense."""
    drawn = task.inputs(torch.Generator().manual_seed(seed), case.setting)
    return tuple(_changed(one, case) for one in drawn)


def redraw(task: Task, case: Case, seed: int, model: Sequence[Any]) -> tuple[Any, ...]:
    """Return new inputs with the weights of `model`, which are inputs too."""
    return tuple(model[i] if i in task.parameters else one for i, one in enumerate(draw(task, case, seed)))


def cast(arguments: Sequence[Any], dtype: torch.dtype) -> tuple[Any, ...]:
    """Return inputs with the floating ones in a type."""
    return tuple(one.to(dtype) if isinstance(one, Tensor) and one.is_floating_point() else one for one in arguments)


def moved(arguments: Sequence[Any], dtype: torch.dtype, seed: int) -> tuple[Any, ...]:
    """Return inputs in float64, with every floating number half a rounding of a type away, up or down."""
    generator, rounding = torch.Generator().manual_seed(seed), torch.finfo(dtype).eps / 2

    def one_moved(one: Any) -> Any:
        if not (isinstance(one, Tensor) and one.is_floating_point()):
            return one
        signs = 2 * torch.randint(2, one.shape, generator=generator, dtype=torch.float64) - 1
        return one.double() * (1 + rounding * signs)

    return tuple(map(one_moved, arguments))


def placed(arguments: Sequence[Any], layout: str, device: str = "cpu") -> tuple[Any, ...]:
    """Return copies of inputs in storage of their own, laid out as a case says."""
    return tuple(_placed(one, layout, device) if isinstance(one, Tensor) else one for one in arguments)


def tensors(results: Any) -> tuple[Any, ...]:
    """Return the results of a function as a tuple."""
    return tuple(results) if isinstance(results, tuple | list) else (results,)


def shrunk(task: Task) -> Task:
    """Return the task with its first setting, type and layout alone, and two kinds of values: a first look."""
    return replace(
        task, settings=task.settings[:1], values=task.values[:2], dtypes=task.dtypes[:1], layouts=task.layouts[:1]
    )


def _changed(one: Any, case: Case) -> Any:
    if not (isinstance(one, Tensor) and one.is_floating_point()):
        return one
    return VALUES[case.values](one, case.dtype.itemsize == 2).to(case.dtype)


def _with_special(x: Tensor) -> Tensor:
    flat = x.flatten().clone()
    flat[:1], flat[flat.numel() // 2 :: 7] = torch.nan, torch.inf
    return flat.view_as(x)


def _placed(x: Tensor, layout: str, device: str) -> Tensor:
    shape = list(x.shape)
    if layout == "transposed" and x.dim() > 1:
        shape[-2:] = shape[:-3:-1]
    behind = int(layout == "offset")
    storage = torch.empty(x.numel() + behind, dtype=x.dtype, device=device)
    place = storage[behind:].view(shape)
    place = place.mT if shape != list(x.shape) or (layout == "transposed" and x.dim() > 1) else place
    return place.copy_(x)
