"""The tried variants of ConvNN_Pos run, and choose as described."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convnn.nn import ConvNNPos2d
from fences import ROOT

TRIALS = runpy.run_path(str(ROOT / "studies" / "trials.py"))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / part / name).mkdir(parents=True)
            for number in range(2):
                pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{number}.png")
    return folder


@pytest.mark.parametrize("name", TRIALS["TRIALS"])
def test_a_trial_trains(name: str, pictures: Path) -> None:
    assert 0 <= TRIALS["train"](name, 0, str(pictures), epochs=1, images=4) <= 100


def test_a_cold_softmax_is_the_choice_that_is_shipped() -> None:
    torch.manual_seed(0)
    soft, chosen = TRIALS["Soft"](3, 4).double(), ConvNNPos2d(3, 4, choosing=1.0).double()
    with torch.no_grad():
        soft.warmth.fill_(12.0)  # its exponential
        chosen.weight.copy_(soft.kernel.weight.unflatten(2, (3, 3)))
        chosen.bias.copy_(soft.kernel.bias)
    x = torch.randn(2, 3, 12, 12, dtype=torch.double)
    inside = (..., slice(2, -2), slice(2, -2))  # at the border the shipped one leaves out the zeros of the padding
    torch.testing.assert_close(soft(x)[inside], chosen(x)[inside], rtol=0, atol=1e-9)
