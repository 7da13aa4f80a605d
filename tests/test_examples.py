"""Every example runs, learns, and is short."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "examples"
BARS = {
    "plain_loop": 0.9,  # of ten classes, as all that read digits
    "timm_layers": 0.75,
    "lightning_module": 0.8,
    "hugging_face_trainer": 0.8,
    "segmentation": 0.75,  # two 3 x 3 convolutions stay below 0.5: they cannot see the mark
    "unet": 0.75,  # what tells shapes from the ground, but not from one another, stays below 0.5
    "signal_1d": 0.9,  # of three classes
    "normalizing_flow": 0.3,  # of noise, 0.23
    "volume_3d": 0.85,  # of three classes
    "cached_generation": 0.8,  # of a hundred answers; random tokens in the cache reach 0.76
    "kernel_machine": 0.9,  # of five classes
}
"""What an example must print at its end; a network that has not learned stays far below."""

NEEDS = {
    "timm_layers": "timm",
    "lightning_module": "lightning",
    "hugging_face_trainer": "transformers",
    "cached_generation": "transformers",
}


@pytest.mark.long
@pytest.mark.parametrize("name", BARS)
def test_an_example_learns(name: str, tmp_path: Path) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, FOLDER / f"{name}.py"], cwd=tmp_path, env=offline, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    reached = float(done.stdout.split()[-1])
    assert BARS[name] < reached <= 1
    assert list(tmp_path.iterdir()) == [], "an example leaves nothing behind"


def test_every_example_is_tested_listed_and_short() -> None:
    examples = {path.stem: path.read_text() for path in FOLDER.glob("*.py")}
    assert examples.keys() == BARS.keys()
    listed = (FOLDER / "README.md").read_text()
    for name, text in examples.items():
        assert f"[{name}.py]({name}.py)" in listed
        assert text.count("\n") <= 60, name
