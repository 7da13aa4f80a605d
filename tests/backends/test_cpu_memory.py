"""No T x T scores and no K-fold copy: the peak memory of a separate process, above the inputs."""

import os
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
from convnn import nn

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(field))

def step(x):
    out = layer(x)
    out.backward(torch.ones_like(out))

torch.set_num_threads(2)
for layer in [{layers}]:
    step(torch.randn({small}, requires_grad=True))
    x = torch.randn({shape})
    if x.dim() == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    step(x)
    print((status("VmHWM") - before) / 2**20)
    del x
"""

FLOATS = 4 / 2**20


def _peaks(layers: list[str], small: str, shape: str) -> list[float]:
    """Return the megabytes that a training step of each layer adds to a separate process."""
    script = STEP.format(layers=", ".join(f"nn.{layer}" for layer in layers), small=small, shape=shape)
    # By a fixed threshold freed maps go back at once; glibc otherwise keeps some, now these, now those.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**16)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return [float(peak) for peak in done.stdout.split()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "side", "copies"),
    [
        (4, 64, {"ConvNN2d": 6, "ConvNNAttn2d": 12}),
        pytest.param(1, 128, {"ConvNN2d": 6}, marks=pytest.mark.long),
    ],
)
def test_peak_of_a_training_step(batch: int, side: int, copies: dict[str, int]) -> None:
    """Allow a few maps: the padded one, the output, gradients, packed keys. K-fold copies would be nine of each."""
    layers = [f"{layer}(64, 64, K=9, backend='cpu')" for layer in copies]
    peaks = _peaks(layers, "1, 64, 8, 8", f"{batch}, 64, {side}, {side}")
    one_map = FLOATS * batch * (side + 2) ** 2 * 64
    scores = FLOATS * batch * side**2 * (side + 2) ** 2
    for peak, maps in zip(peaks, copies.values(), strict=True):
        assert peak < maps * one_map
        assert peak < scores / 4


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("layer", ["ConvNNAttention", "KvtAttention"])
def test_peak_of_attention_to_the_tokens_of_a_large_image(layer: str) -> None:
    """Use 720 pixels in patches of 16, and a class token: T = 2026, three heads of 64."""
    layers = [f"{layer}(192, 3, K=9, backend={backend!r})" for backend in ("cpu", "reference")]
    peaks = _peaks(layers, "1, 16, 192", "1, 2026, 192")
    scores = FLOATS * 3 * 2026**2
    assert peaks[0] < peaks[1] / 5
    assert peaks[0] < scores / 3
