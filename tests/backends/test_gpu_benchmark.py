"""The benchmark for GPUs, from end to end in Triton's interpreter."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
def test_it_compares_and_measures_everything(tmp_path: Path) -> None:
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu", "--dry", "--out", str(out), "--minutes", "60"]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    report = json.loads(out.read_text())
    assert report["agrees"]
    assert report["left out"] == []
    assert {row["dtype"] for row in report["published"]} == {"float32", "float64"}
    assert len(report["layers"]) == len(report["networks"]) == 1
    assert [row["case"].split(",")[0] for row in report["tiles"]] == [
        "matrix product", "attention", "attention in order", "gradients of attention", "linear attention",
        "window of 3 x 3",
    ]  # fmt: skip
