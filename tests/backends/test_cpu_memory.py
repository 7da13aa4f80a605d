"""No T x T scores and no K-fold copy: the peak of a process of its own, above the inputs."""

import subprocess
import sys
from pathlib import Path

import pytest

from convnn.backends import cpu

CAN_MEASURE = Path("/proc/self/clear_refs").exists()

pytestmark = [
    pytest.mark.skipif(cpu.core is None, reason="the core is not compiled"),
    pytest.mark.skipif(not CAN_MEASURE, reason="the peak is read from Linux's /proc"),
]

STEP = """
import ctypes, sys
from pathlib import Path
import torch
from convnn.nn import {layer}

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))

def step(x):
    out = layer(x)
    out.backward(torch.ones_like(out))

torch.set_num_threads(2)
layer = {layer}(64, 64, K=9, backend="cpu")
step(torch.randn(1, 64, 8, 8, requires_grad=True))
x = torch.randn({batch}, 64, {side}, {side}).contiguous(memory_format=torch.channels_last).requires_grad_()
ctypes.CDLL(None).malloc_trim(0)
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
step(x)
print((status("VmHWM") - before) / 2**20)
"""

FLOATS = 4 / 2**20


@pytest.mark.parametrize(
    ("layer", "batch", "side", "copies"),
    [("ConvNN2d", 4, 64, 8), ("ConvNN2d", 1, 128, 8), ("ConvNNAttention2d", 4, 64, 18)],
)
def test_peak_of_a_training_step(layer: str, batch: int, side: int, copies: int) -> None:
    """A few maps: the padded one, the output, gradients, packed keys. K-fold copies would be nine of each."""
    script = STEP.format(layer=layer, batch=batch, side=side)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one_map = FLOATS * batch * (side + 2) ** 2 * 64
    scores = FLOATS * batch * side**2 * (side + 2) ** 2
    peak = float(done.stdout)
    assert peak < copies * one_map
    assert peak < scores / 4
