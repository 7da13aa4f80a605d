"""The peak memory of a training step, or of a product, in a process that does nothing else."""

import ctypes
from pathlib import Path

import torch

from convnn import nn
from convnn.bench.measure import peak_of
from convnn.learners import Chunked, Gaussian

M_MMAP_THRESHOLD = -3


def print_peaks(layers: list[tuple[str, tuple, dict]], small: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """Print the megabytes that a training step of each layer adds to this process."""
    libc = ctypes.CDLL(None)
    # By a fixed threshold freed maps go back at once; glibc otherwise keeps some, now these, now those.
    libc.mallopt(M_MMAP_THRESHOLD, 2**16)
    torch.set_num_threads(2)
    for name, sizes, settings in layers:
        layer = getattr(nn, name)(*sizes, **settings)
        _step(layer, torch.randn(small, requires_grad=True))
        x = torch.randn(shape)
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        x.requires_grad_()
        libc.malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
        before = _status("VmRSS")
        _step(layer, x)
        print((_status("VmHWM") - before) / 2**20)
        del x
    return 0


def print_product_peak(points: int) -> int:
    """Print the megabytes that the product with a kernel matrix of so many points adds to this process."""
    rows = torch.randn(points, 16)
    Chunked()(Gaussian(4.0), rows[:100], rows[:100], rows[:100])
    print(peak_of(lambda: Chunked()(Gaussian(4.0), rows, rows, rows[:, 0])))
    return 0


def _step(layer: torch.nn.Module, x: torch.Tensor) -> None:
    out = layer(x)
    out.backward(torch.ones_like(out))


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))
