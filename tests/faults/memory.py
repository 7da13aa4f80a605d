"""The growth of memory under changing sizes."""

import ctypes
import statistics
from pathlib import Path

import torch

from convnn.models import create_model
from faults.outcome import Outcome
from launch import start, wait

MOST_GROWTH = 0.01
RECURRING = 16
SMALL_CACHE = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16"}
"""Without it, oneDNN caches 1,024 shapes before it evicts the first."""


KINDS = {"recurring": "resident", "random": "allocated"}
"""The ways in which sizes change, and the memory that is measured."""


def run(steps: int, folder: Path, *kinds: str) -> Outcome:
    """Train for `steps` steps on recurring sizes, as in multi-scale training, or on new random sizes."""
    outcome = Outcome(f"memory over {steps:,} steps of changing sizes", tried=len(kinds))
    notes = []
    for kind in kinds:
        measured = KINDS[kind]
        column = list(KINDS.values()).index(measured)
        log = folder / f"{kind}.log"
        if wait(start(train_on_sizes, steps, kind == "recurring", log=log, **SMALL_CACHE)):
            raise RuntimeError(log.read_text())
        middle, end = (float(line.split()[column]) for line in log.read_text().splitlines()[-2:])
        growth = end / middle - 1
        outcome.check(growth < MOST_GROWTH, f"{kind}: {measured} memory grows by {growth:.2%}")
        notes.append(f"{kind} sizes: {measured} {growth:+.2%} of {middle / 2**20:,.0f} MB")
    outcome.notes = "; ".join(notes) + "; from the second quarter to the last"
    return outcome


def train_on_sizes(steps: int, recurring: bool) -> int:
    """Print the mean resident and allocated memory of the second quarter of the steps, and of the last.

    With sizes that never recur, resident memory shows the fragmentation of glibc rather than our own use.
    """
    generator = torch.Generator().manual_seed(0)
    networks = [
        create_model("resnet18", "Branching", width=1 / 16, K=4),
        create_model("resnet18", "ConvNN", width=1 / 16, K=4, sampling_type="random", num_samples=16),
        create_model("vit", "ConvNNAttention", num_layers=2, d_hidden=24, d_mlp=24, patch_size=4, K=4),
    ]
    optimizers = [torch.optim.AdamW(network.parameters(), fused=True) for network in networks]
    sizes = torch.randint(2, 7, (RECURRING if recurring else steps, 3), generator=generator).tolist()
    seen = []
    for step in range(steps):
        batch, height, width = sizes[step % len(sizes)]
        network, optimizer = networks[step % 3], optimizers[step % 3]
        network(torch.randn(batch, 3, 4 * height, 4 * width, generator=generator)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        seen.append((resident(), allocated()))
    quarter = steps // 4
    for part in (seen[quarter : 2 * quarter], seen[-quarter:]):
        print(*(statistics.mean(column) for column in zip(*part, strict=True)))
    return 0


def resident() -> int:
    """Return the resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def allocated() -> int:
    """Return the bytes that malloc has allocated and not freed."""
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = MallocInfo
    found = libc.mallinfo2()
    return int(found.uordblks + found.hblkhd)


FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class MallocInfo(ctypes.Structure):
    """struct mallinfo2 of glibc."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in FIELDS)
