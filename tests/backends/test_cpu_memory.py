"""No T x T scores and no K-fold copy: the peak memory of a separate process, above its inputs."""

from pathlib import Path

import pytest

from convnn.backends import cpu
from launch import start, wait
from peak_memory import print_peaks

CAN_MEASURE = Path("/proc/self/clear_refs").exists()

pytestmark = [
    pytest.mark.skipif(cpu.core is None, reason="the core is not compiled"),
    pytest.mark.skipif(not CAN_MEASURE, reason="the peak is read from Linux's /proc"),
]

FLOATS = 4 / 2**20


def _peaks(
    layers: list[tuple[str, tuple, dict]], small: tuple[int, ...], shape: tuple[int, ...], log: Path
) -> list[float]:
    """Return the megabytes that a training step of each layer adds to a separate process."""
    assert wait(start(print_peaks, layers, small, shape, log=log)) == 0, log.read_text()
    return [float(peak) for peak in log.read_text().split()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "side", "copies"),
    [
        (4, 64, {"ConvNN2d": 6, "ConvNNAttn2d": 12}),
        pytest.param(1, 128, {"ConvNN2d": 6}, marks=pytest.mark.long),
    ],
)
def test_peak_of_a_training_step(batch: int, side: int, copies: dict[str, int], tmp_path: Path) -> None:
    """Allow a few maps: the padded one, the output, gradients, packed keys. K-fold copies would be nine of each."""
    layers = [(layer, (64, 64), {"K": 9, "backend": "cpu"}) for layer in copies]
    peaks = _peaks(layers, (1, 64, 8, 8), (batch, 64, side, side), tmp_path / "log")
    one_map = FLOATS * batch * (side + 2) ** 2 * 64
    scores = FLOATS * batch * side**2 * (side + 2) ** 2
    for peak, maps in zip(peaks, copies.values(), strict=True):
        assert peak < maps * one_map
        assert peak < scores / 4


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("layer", ["ConvNNAttention", "KvtAttention"])
def test_peak_of_attention_to_the_tokens_of_a_large_image(layer: str, tmp_path: Path) -> None:
    """Use 720 pixels in patches of 16, and a class token: T = 2026, three heads of 64."""
    layers = [(layer, (192, 3), {"K": 9, "backend": backend}) for backend in ("cpu", "reference")]
    peaks = _peaks(layers, (1, 16, 192), (1, 2026, 192), tmp_path / "log")
    scores = FLOATS * 3 * 2026**2
    assert peaks[0] < peaks[1] / 5
    assert peaks[0] < scores / 3
