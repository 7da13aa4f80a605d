"""torch.export files in processes without convnn."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convnn import nn as cnn
from convnn.errors import UnsupportedError
from convnn.export import export_torch, trace
from convnn.models import create_model

pytestmark = pytest.mark.xdist_group("export")  # importing what exports takes seconds

ELSEWHERE = """
import sys, torch
class Refused:
    def find_spec(self, name, *_):
        assert name.split(".")[0] != "convnn", "the file asks for convnn"
sys.meta_path.insert(0, Refused())
folder = sys.argv[1]
network = torch.export.load(f"{folder}/network.pt2").module()
inputs = torch.load(f"{folder}/inputs.pt")
torch.save([network(one) for one in inputs], f"{folder}/outputs.pt")
"""


@pytest.mark.long
def test_a_file_runs_where_convnn_is_not_imported(tmp_path: Path) -> None:
    network = create_model("vit", "ConvNNAttention", K=4, d_hidden=12, d_mlp=8, num_layers=2, patch_size=4).eval()
    inputs = [torch.randn(size, 3, 16, 16) for size in (1, 3)]
    export_torch(network, tmp_path / "network.pt2", inputs[0])
    torch.save(inputs, tmp_path / "inputs.pt")
    with zipfile.ZipFile(tmp_path / "network.pt2") as file:
        assert not any(b"__init__.py" in file.read(name) or b"_layer.py" in file.read(name) for name in file.namelist())
    subprocess.run([sys.executable, "-W", "error", "-c", ELSEWHERE, str(tmp_path)], check=True, cwd=tmp_path)
    with torch.no_grad():
        for one, output in zip(inputs, torch.load(tmp_path / "outputs.pt"), strict=True):
            torch.testing.assert_close(output, network(one), atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_the_graph_has_operators_of_pytorch_alone(backend: str) -> None:
    layer = cnn.ConvNNAttn2d(2, 3, K=4, backend=backend)
    program = trace(layer, torch.randn(1, 2, 4, 4))
    names = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert "aten.topk.default" in names
    assert not any("convnn" in name for name in names)
    images = torch.randn(5, 2, 4, 4)
    torch.testing.assert_close(program.module()(images), layer.eval()(images))


def test_a_fixed_batch_is_that_of_the_example(tmp_path: Path) -> None:
    path = tmp_path / "layer.pt2"
    export_torch(nn.Linear(3, 2), path, torch.zeros(2, 3), dynamic_batch=False)
    layer = torch.export.load(path).module()
    assert layer(torch.zeros(2, 3)).shape == (2, 2)
    with pytest.raises(AssertionError, match=r"size\(\)\[0\] == 2"):
        layer(torch.zeros(3, 3))


def test_a_batch_that_the_network_fixes_is_refused_by_name(tmp_path: Path) -> None:
    class OfTwo(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, 3)

    with pytest.raises(UnsupportedError, match="cannot trace this network"):
        export_torch(OfTwo(), tmp_path / "x.pt2", torch.zeros(2, 3))
    assert list(tmp_path.iterdir()) == []


def test_no_memory_is_no_fault_of_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def export(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(torch.export, "export", export)
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        trace(nn.Linear(3, 2), torch.zeros(2, 3))


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="triton can run here")
def test_the_definitions_stand_in_for_the_operators_during_a_trace_alone() -> None:
    layer = cnn.ConvNN2d(2, 3, K=4, backend="triton")
    trace(layer, torch.randn(1, 2, 4, 4))
    with pytest.raises(UnsupportedError, match="triton"):
        layer(torch.randn(1, 2, 4, 4))
