"""Files of tasks and candidates: functions, or `Model` and `ModelNew` as KernelBench has them."""

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from convnn.bench.task import Function, Setting, Task
from convnn.errors import InputError, first_line

NAMES = {"Model": "ModelNew"}


@dataclass(frozen=True)
class Candidate:
    """A kernel to be judged: a file, or a backend of this library.

    Attributes:
        name: its name in tables.
        path: its file.
        backend: the backend, instead of a file.
        constants: values for constants of the file, such as {"BLOCK": 64}.
    """

    name: str
    path: str | None = None
    backend: str | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_file(cls, path: str | Path, **constants: Any) -> "Candidate":
        """Return the candidate of a file.

        Raises:
            InputError: there is no such file.
        """
        if not Path(path).is_file():
            raise InputError(f"candidate '{path}' is no file")
        chosen = ",".join(f"{name}={value}" for name, value in constants.items())
        return cls(Path(path).stem + (f"[{chosen}]" if chosen else ""), str(path), None, constants)

    @classmethod
    def of_backend(cls, backend: str) -> "Candidate":
        """Return the candidate of a backend of ours."""
        return cls(backend, None, backend)

    def load(self, task: Task) -> Function:
        """Run the file, and return its kernel; call it in a process of its own.

        Raises:
            InputError: the file lacks what the task asks for, or a constant.
        """
        if self.path is None:
            if task.ours is None or self.backend is None:
                raise InputError(f"task {task.name!r} has no kernel of ours; give the file of a candidate")
            return task.ours(self.backend)
        module = run_file(self.path)
        for name, value in self.constants.items():
            if not hasattr(module, name):
                raise InputError(f"'{self.path}' has no constant {name}")
            setattr(module, name, value)
        return task.adapt(module)

    def digest(self) -> str:
        """Return what tells this candidate from another: the backend, or the bytes of the file and its constants."""
        if self.path is None:
            return f"backend {self.backend}"
        return sha256(Path(self.path).read_bytes() + repr(sorted(self.constants.items())).encode()).hexdigest()


def read_task(path: str) -> Task:
    """Return the task of a file.

    The file assigns a `Task` to `TASK`, or has the form of KernelBench: `Model`, `get_inputs` and `get_init_inputs`.
    These two then may take the entries of `SETTINGS`, a list of dictionaries, as keywords. Without that list the
    harness makes smaller batches of its own: inputs whose first axis is as long as that of the first lose rows there.

    Raises:
        InputError: the file cannot be run, or has neither form.
    """
    if not Path(path).is_file():
        raise InputError(f"task '{path}' is no file, nor the name of a task; convnn bench list has the names")
    try:
        module = run_file(path)
    except Exception as error:
        raise InputError(f"task '{path}' cannot be run: {type(error).__name__}: {first_line(error)}") from error
    task = getattr(module, "TASK", None)
    if isinstance(task, Task):
        return _from(path, task)
    missing = [name for name in ("Model", "get_inputs", "get_init_inputs") if not hasattr(module, name)]
    if missing:
        raise InputError(f"task '{path}' must assign a Task to TASK, or define {', '.join(missing)} too")
    return _from(path, _task_of_model(Path(path).stem, module))


def run_file(path: str) -> ModuleType:
    """Run a Python file as a module of its own."""
    name = f"convnn_bench_{sha256(str(Path(path).resolve()).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"'{path}' is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _from(path: str, task: Task) -> Task:
    object.__setattr__(task, "origin", str(Path(path).resolve()))
    return task


@dataclass(frozen=True)
class _Models:
    """The module of a file in each setting, as a function of its parameters and inputs.

    Attributes:
        module: a file of KernelBench.
        name: "Model" or "ModelNew".
        like: those of the definition, whose parameters are assigned in order.
        init: function of a setting that returns the arguments of the constructor.
    """

    module: ModuleType
    name: str
    init: Callable[[Setting], Sequence[Any]]
    settings: Sequence[Setting]
    like: "_Models | None" = None
    made: dict[int, nn.Module] = field(default_factory=dict)

    def make(self, index: int) -> nn.Module:
        """Return the network of a setting; equal seeds give those who draw in the same order equal weights."""
        if index not in self.made:
            torch.manual_seed(0)
            self.made[index] = getattr(self.module, self.name)(*self.init(self.settings[index]))
        return self.made[index]

    def __call__(self, index: int, *arguments: Any) -> Any:
        network = self.make(index)
        own = list(network.named_parameters())
        wanted = own if self.like is None else list(self.like.make(index).named_parameters())
        if [tuple(p.shape) for _, p in own] != [tuple(p.shape) for _, p in wanted]:
            shapes = [[tuple(p.shape) for _, p in each] for each in (own, wanted)]
            raise InputError(
                f"{self.name} has parameters of shapes {shapes[0]}, which must be {shapes[1]} in this order"
            )
        weights = {name: weight for (name, _), weight in zip(own, arguments, strict=False)}
        return functional_call(network, weights, arguments[len(own) :])


def _task_of_model(name: str, module: ModuleType) -> Task:
    given = getattr(module, "SETTINGS", None)
    settings: Sequence[Setting] = [{}, {"rows": 1}, {"rows": 3}] if given is None else given

    def called(function: Function, setting: Setting) -> Sequence[Any]:
        known = inspect.signature(function).parameters
        return function(**{key: value for key, value in setting.items() if key in known})

    definition = _Models(module, "Model", partial(called, module.get_init_inputs), settings)

    def inputs(generator: torch.Generator, setting: Setting) -> Sequence[Any]:
        index = next(i for i, one in enumerate(settings) if one is setting or one == setting)
        weights = [_drawn_like(one.detach(), generator) for one in definition.make(index).parameters()]
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        drawn = called(module.get_inputs, setting)
        return [index, *weights, *(_narrowed(one, drawn[0], setting.get("rows")) for one in drawn)]

    count = len(list(definition.make(0).parameters()))

    def adapt(candidate: ModuleType) -> Function:
        if not hasattr(candidate, "ModelNew"):
            raise InputError(f"'{candidate.__file__}' must define ModelNew")
        return _Models(candidate, "ModelNew", definition.init, settings, definition)

    return Task(name, definition, inputs, settings, parameters=range(1, count + 1), adapt=adapt)


def _drawn_like(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Return other weights of about the same size, in float64: a candidate has not seen them."""
    spread = weight.double().std() if weight.numel() > 1 else weight.double().abs().mean()
    return weight.double() + spread * torch.randn(weight.shape, generator=generator, dtype=torch.float64)


def _narrowed(one: Any, first: Any, rows: int | None) -> Any:
    if not isinstance(one, Tensor):
        return one
    one = one.double() if one.is_floating_point() else one
    is_of_batch = rows is not None and one.dim() > 0 and first.dim() > 0 and one.shape[0] == first.shape[0]
    return one[: min(rows, one.shape[0])].clone() if is_of_batch and rows is not None else one
