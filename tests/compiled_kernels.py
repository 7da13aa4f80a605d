"""Triton kernels compiled for GPUs that need not be here: every launch of a call, compiled instead of run."""

import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor
from triton import compile as compile_source
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

_TYPES = {
    torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32", torch.float64: "fp64", torch.bool: "i1",
    torch.int8: "i8", torch.int16: "i16", torch.int32: "i32", torch.int64: "i64",
}  # fmt: skip


class Launch(NamedTuple):
    """A launch that was recorded: the kernel with all that decides its code.

    Attributes:
        kernel: the function.
        types: Triton's name of the type of each argument, "constexpr" for constants.
        constants: values of the constants by position.
        divisible: positions of the pointers and whole numbers that are divisible by 16.
        options: of the compiler, such as the number of warps.
    """

    kernel: JITFunction
    types: tuple[str, ...]
    constants: tuple[tuple[int, Any], ...]
    divisible: tuple[int, ...]
    options: tuple[tuple[str, Any], ...]

    @property
    def name(self) -> str:
        """The kernel's module and name, such as "blocks._attend_kernel"."""
        return f"{self.kernel.fn.__module__.rpartition('.')[2]}.{self.kernel.fn.__name__}"


class Compiled(NamedTuple):
    """What a compiled kernel contains.

    Attributes:
        ttir: its code before it is laid out for a GPU.
        ptx: its instructions.
        shared: bytes of shared memory.
        cubin: the machine code.
    """

    ttir: str
    ptx: str
    shared: int
    cubin: bytes

    def count(self, instruction: str) -> int:
        """Return how many instructions begin with these words."""
        return len(re.findall(rf"\b{re.escape(instruction)}", self.ptx))

    def spilled(self) -> int:
        """Return the bytes of registers that a thread keeps in local memory, according to cuobjdump."""
        with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
            Path(file.name).write_bytes(self.cubin)
            command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
            usage = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return max(int(size) for size in re.findall(r"(?:STACK|LOCAL):(\d+)", usage))


@contextmanager
def recorded() -> Iterator[list[Launch]]:
    """Record the launches of all calls inside, of which none is run: outputs keep what was in memory."""
    launches: list[Launch] = []

    def record(kernel: JITFunction, *arguments: Any, grid: Any, warmup: bool, **constants: Any) -> None:
        launches.append(_launch_of(kernel, arguments, constants))

    with mock.patch.object(JITFunction, "run", record):
        yield launches


def _launch_of(kernel: JITFunction, arguments: tuple[Any, ...], constants: dict[str, Any]) -> Launch:
    values = [*arguments, *(constants.pop(name) for name in kernel.arg_names[len(arguments) :])]
    types, fixed, divisible = [], [], []
    for position, value in enumerate(values):
        is_constant = position >= len(arguments) or value is None or (type(value) is int and value == 1)
        if is_constant:
            fixed.append((position, value))
        elif isinstance(value, Tensor):
            divisible += [position] * (value.data_ptr() % 16 == 0)
        elif isinstance(value, int):
            divisible += [position] * (value % 16 == 0)
        types.append("constexpr" if is_constant else _type_of(value))
    return Launch(kernel, tuple(types), tuple(fixed), tuple(divisible), tuple(sorted(constants.items())))


def _type_of(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"*{_TYPES[value.dtype]}"
    if isinstance(value, float):
        return "fp32"
    return "i32" if -(2**31) <= value < 2**31 else "i64"


def compiled(launch: Launch, capability: int) -> Compiled:
    """Compile a launch for a GPU such as 80 (A100) or 90 (H100)."""
    source = ASTSource(
        launch.kernel,
        dict(zip(launch.kernel.arg_names, launch.types, strict=True)),
        {(position,): value for position, value in launch.constants},
        {(position,): [["tt.divisibility", 16]] for position in launch.divisible},
    )
    built = compile_source(source, target=GPUTarget("cuda", capability, 32), options=dict(launch.options))
    return Compiled(built.asm["ttir"], built.asm["ptx"], built.metadata.shared, built.asm["cubin"])
