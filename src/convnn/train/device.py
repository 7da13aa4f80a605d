"""Device and precision of a run."""

import os
from typing import TYPE_CHECKING

import torch

from convnn.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator


def find_device(name: str) -> torch.device:
    """Return the device that `--device` names; "auto" prefers CUDA to MPS to the CPU.

    Raises:
        InputError: this machine has no such device.
    """
    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, is_usable in usable.items() if is_usable)
    if not usable.get(name, False):
        names = ", ".join(device for device, is_usable in usable.items() if is_usable)
        raise InputError(f"--device={name} is not usable here; usable: {names}, or auto for the best of them")
    return torch.device(name)


def make_accelerator(device: torch.device, *, use_amp: bool = False, deterministic: bool = False) -> "Accelerator":
    """Hugging Face Accelerate on one device, or on that of each process that torchrun or accelerate started.

    Args:
        device: kind of device.
        use_amp: use mixed precision.
        deterministic: refuse operations that are not deterministic to the bit.
    """
    from accelerate import Accelerator  # takes half a second to import
    from accelerate.state import AcceleratorState

    has_bfloat16 = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported())
    half = "bf16" if has_bfloat16 else "fp16"
    if not torch.distributed.is_initialized():
        # Otherwise a second run in one process would keep the settings of the first.
        AcceleratorState._reset_state(reset_partial_state=True)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    return Accelerator(cpu=device.type == "cpu", mixed_precision=half if use_amp else "no")
