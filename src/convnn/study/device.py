"""The devices of a sweep, and the number of runs on each."""

import os
from dataclasses import dataclass, field

import torch

from convnn.data.stream import count_cores
from convnn.errors import InputError, check_at_least, check_at_most

MOST_JOBS = 1024
"""The largest number of processes on a device; each takes some hundred megabytes."""


@dataclass(frozen=True)
class Device:
    """A device, or a share of one, for one run at a time.

    Attributes:
        name: name such as "cuda:1".
        kind: value of `--device` for the run.
        environment: environment variables that confine the run to its device.
    """

    name: str
    kind: str
    environment: dict[str, str] = field(default_factory=dict)


def find_devices(names: list[str] | None, jobs: int) -> list[Device]:
    """Find the devices for the runs of a sweep.

    Args:
        names: "cpu", "mps", "cuda:0", "cuda:1" or "cuda", which is all GPUs; None takes the best kind available.
        jobs: simultaneous runs on each device; those on the CPU share its cores.

    Raises:
        InputError: a device is not available, or `jobs` is out of range.
    """
    check_at_least("--jobs", jobs, 1)
    check_at_most("--jobs", jobs, MOST_JOBS)
    found = [device for name in names or _best() for device in _named(name)]
    return [_sharing(device, jobs) for device in found for _ in range(jobs)]


def _best() -> list[str]:
    if torch.cuda.is_available():
        return ["cuda"]
    return ["mps" if torch.backends.mps.is_available() else "cpu"]


def _named(name: str) -> list[Device]:
    kind, _, number = name.partition(":")
    count = {"cpu": 1, "mps": int(torch.backends.mps.is_available()), "cuda": torch.cuda.device_count()}.get(kind)
    if count is None or (number and not (kind == "cuda" and number.isdecimal())):
        raise InputError(f"--devices {name} is not a device; name cpu, mps, cuda or cuda:0")
    numbers = [int(number)] if number else list(range(count))
    if not numbers or max(numbers) >= count:
        raise InputError(f"--devices {name} is not available; this machine has {count} of kind {kind}")
    if kind != "cuda":
        return [Device(kind, kind)]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = visible.split(",") if visible else [str(index) for index in range(count)]
    return [Device(f"cuda:{index}", kind, {"CUDA_VISIBLE_DEVICES": names[index]}) for index in numbers]


def _sharing(device: Device, jobs: int) -> Device:
    if device.kind != "cpu" or jobs == 1 or "OMP_NUM_THREADS" in os.environ:
        return device
    return Device(device.name, device.kind, {"OMP_NUM_THREADS": str(max(1, count_cores() // jobs))})
