"""ONNX files against the networks they were written from, run by onnxruntime."""

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.errors import InputError, OutputError, UnsupportedError
from convnn.export import _onnx, export_onnx
from convnn.models import create_model, data_of, list_models, own_loss_of, reads_of
from convnn.nn import LAYERS, layer_factory, list_layers
from hierarchical_networks import is_usual
from kernel_layers import KERNELS
from layer_cases import MAP_CASES, TOKEN_CASES, LayerCase, TokenCase
from pairwise import only

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("export")]  # importing what exports takes seconds

SETTINGS = {"K": 4, "head_width": 4, "sparse_mode": "strided", "sparse_context_window": 3}
SIDE = {"vgg": 32, "resnet": 6, "densenet": 8, "vit": 16}
SIZES = {"maps": {"width": 1 / 16}, "tokens": {"patch_size": 4, "num_layers": 1, "d_hidden": 12, "d_mlp": 8}}


def compute(path: Path, inputs: Tensor) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["output"], {"input": inputs.numpy()})[0])


def check(network: nn.Module, inputs: Tensor, path: Path, *, dynamic_batch: bool = True) -> None:
    """Check that a file computes what the network does, on images that the export has not seen."""
    export_onnx(network, path, inputs[:1], dynamic_batch=dynamic_batch)
    network.eval()
    with torch.no_grad():
        for batch in (inputs, inputs[2:]) if dynamic_batch else (inputs[1:2],):
            torch.testing.assert_close(compute(path, batch), network(batch), atol=1e-4, rtol=0)


def network_of(model: str, layer: str) -> tuple[nn.Module, Tensor]:
    """Return a small network with non-trivial running statistics, and images."""
    side = SIDE.get(model.rstrip("0123456789").split("_")[0], 32)
    settings = SIZES[LAYERS[layer].reads] | KERNELS.get(layer, {})
    settings |= {"num_layers": 2} if model.startswith("vrwkv") else {}  # its weights begin differently by block
    network = create_model(model, layer, K=4, num_classes=3, **settings)
    images = torch.randn(8, 3, side, side)
    with torch.no_grad():
        network.train()(images)
    return network, images[:3]


NETWORKS = {
    *[("vgg11", layer) for layer in list_layers("maps")],
    *[("vit", layer) for layer in list_layers("tokens")],
    *[("vrwkv", "VRWKV"), ("gcvit_xxtiny", "Attention")],  # the layers that they were published with
    *[
        (model, "ConvNNAttention" if reads_of(model) == "tokens" else "ConvNN")
        for model in filter(is_usual, list_models())
        if data_of(model) == "images" and own_loss_of(model) is None
    ],
}


KINDS = ("ConvNN",)
"""Neighbours that are convolved, of which the largest is taken, all of them, and those of a window."""


@pytest.mark.slow
@pytest.mark.parametrize("name", only(lambda name: name in KINDS, [*list_layers("maps"), *list_layers("tokens")]))
def test_every_layer_agrees(name: str, tmp_path: Path) -> None:
    read = {key: value for key, value in SETTINGS.items() if key in LAYERS[name].settings} | KERNELS.get(name, {})
    is_map = LAYERS[name].reads == "maps"
    layer = layer_factory(name, **read)(4, 6) if is_map else layer_factory(name, **read)(12, 3)
    check(layer, torch.randn(3, 4, 4, 5) if is_map else torch.randn(3, 10, 12), tmp_path / "layer.onnx")


@pytest.mark.long  # tests/cli/test_export.py exports one in every run
@pytest.mark.parametrize(("model", "layer"), sorted(NETWORKS))
def test_every_network_agrees(model: str, layer: str, tmp_path: Path) -> None:
    check(*network_of(model, layer), tmp_path / "network.onnx", dynamic_batch=model.startswith("vit"))


@pytest.mark.long
@pytest.mark.parametrize("dynamic_batch", [True, False], ids=["any batch", "one image"])
@pytest.mark.parametrize("case", [*MAP_CASES, *TOKEN_CASES], ids=lambda case: case.name)
def test_every_setting_agrees(case: LayerCase | TokenCase, dynamic_batch: bool, tmp_path: Path) -> None:
    check(case.layer(), case.input(3), tmp_path / "layer.onnx", dynamic_batch=dynamic_batch)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    """Check a graph with all features: four of nine places chosen by inner product, with many ties."""
    torch.manual_seed(0)
    layer = cnn.ConvNN2d(1, 5, K=4, metric="matmul", sampling_type="random", num_samples=20).eval()
    path = tmp_path_factory.mktemp("tied") / "layer.onnx"
    export_onnx(layer, path, torch.zeros(1, 1, 4, 4), opset=18, metadata={"classes": '["a"]'})
    return layer, path


def test_volumes_are_convolved_without_a_bias(tmp_path: Path) -> None:
    """The exporter alone writes a bias of the wrong shape."""
    check(nn.Conv3d(3, 4, 3, padding=1, bias=False), torch.randn(3, 3, 4, 2, 4), tmp_path / "layer.onnx")


@pytest.mark.slow
def test_ties_go_to_the_lowest_index_as_in_the_layer(tied: tuple[nn.Module, Path]) -> None:
    layer, path = tied
    images = torch.randint(0, 2, (16, 1, 4, 4)).float()
    with torch.no_grad():
        torch.testing.assert_close(compute(path, images), layer(images), atol=1e-5, rtol=0)
    ranked = layer.neighbors(images).scores[:, :, 1:]
    assert (ranked[..., 1:] == ranked[..., :-1]).float().mean() > 0.5, "the images have ties"


def test_nan_ranks_last_as_in_the_layer(tied: tuple[nn.Module, Path]) -> None:
    layer, path = tied
    images = torch.randn(2, 1, 4, 4)
    images[0, 0, 1, 2] = torch.nan
    with torch.no_grad():
        expected = layer(images)
    assert expected.isnan().any()
    assert not expected[0].isnan().all()
    torch.testing.assert_close(compute(path, images), expected, atol=1e-5, rtol=0, equal_nan=True)


@pytest.mark.slow
def test_the_graph_is_standard_and_says_what_it_was_given(tied: tuple[nn.Module, Path]) -> None:
    model = onnx.load(tied[1])
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions
    assert b".py" not in tied[1].read_bytes(), "no folders of this machine"
    assert {entry.key: entry.value for entry in model.metadata_props}["classes"] == '["a"]'
    (image,), (output,) = model.graph.input, model.graph.output
    assert (image.name, output.name) == ("input", "output")
    sides = [side.dim_value or side.dim_param for side in image.type.tensor_type.shape.dim]
    assert sides == ["batch", 1, 4, 4]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, dict[str, Tensor], Path]:
    """Export a network for a batch of one; return it with its state before the export, and the file."""
    layer = cnn.ConvNN2d(2, 2, K=4, sampling_type="spatial", num_samples=3)
    network = nn.Sequential(layer, nn.BatchNorm2d(2).eval(), nn.Dropout(0.5))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    path = tmp_path_factory.mktemp("exported") / "network.onnx"
    export_onnx(network, path, torch.randn(1, 2, 4, 4), dynamic_batch=False)
    return network, before, path


@pytest.mark.slow
def test_constants_are_folded(exported: tuple[nn.Module, dict[str, Tensor], Path]) -> None:
    """Check that nothing in a graph with a batch of one is independent of the image."""
    model = onnx.load(exported[2])
    known = {"input"}
    for node in model.graph.node:
        if node.op_type != "Constant":
            assert known & set(node.input), f"{node.op_type} {node.name} is computed of constants"
            known |= set(node.output)
    assert "Range" not in {node.op_type for node in model.graph.node}


@pytest.mark.slow
def test_the_network_is_left_as_it_was(exported: tuple[nn.Module, dict[str, Tensor], Path]) -> None:
    network, before, _ = exported
    assert [module.training for module in network] == [True, False, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in network.parameters())


class Wrong(nn.Module):
    """A module that computes something else in a graph."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu() + 0.001 * torch.compiler.is_exporting()


class Restless(nn.Module):
    """A module that computes something else at every call."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.relu() + self.calls


class Nearly(nn.Module):
    """Check that a graph may differ from the network as much as rounding makes the network differ from itself."""

    def forward(self, x: Tensor) -> Tensor:
        last_bits = 1 + torch.finfo(x.dtype).eps * torch.compiler.is_exporting()
        return 1e-3 * (1e8 * last_bits * x).sin()


class Branchy(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


class Spectrum(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x).real


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            Wrong(),
            r"x\.onnx disagrees with the network by \d\.\de-04 on random inputs of shape \(1, 3, 3\), more than 0",
        ),
        pytest.param(Restless(), "disagrees with the network by", marks=pytest.mark.long),
        (Branchy(), r"torch\.export cannot trace this network: "),
        (Spectrum(), "this network cannot be expressed in ONNX: "),
    ],
    ids=["wrong", "restless", "untraceable", "no such operator"],
)
def test_what_cannot_be_exported_is_refused_and_leaves_no_file(
    network: nn.Module, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UnsupportedError, match=message) as error:
        export_onnx(network, tmp_path / "x.onnx", torch.randn(1, 3, 3))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_no_memory_is_no_fault_of_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def translate(*_: object) -> bytes:
        raise MemoryError("no room")

    monkeypatch.setattr(_onnx, "_translate", translate)
    with pytest.raises(MemoryError, match="no room"):
        export_onnx(nn.Linear(3, 2), tmp_path / "x.onnx", torch.zeros(2, 3))


@pytest.mark.slow
def test_what_rounding_decides_is_no_disagreement(tmp_path: Path) -> None:
    difference = export_onnx(Nearly(), tmp_path / "x.onnx", torch.randn(1, 3, 3))
    assert difference is not None
    assert difference > 1e-4


@pytest.mark.parametrize(
    ("example", "settings", "message"),
    [
        (torch.zeros(1, 3, 8, 8), {}, r"input of shape \(1, 3, 8, 8\) must be \(B, 2, H, W\)"),
        (torch.zeros(0, 2, 8, 8), {}, r"example of shape \(0, 2, 8, 8\) must be a batch"),
        (torch.zeros(1, 2, 1, 1), {"dynamic_batch": False}, "K=10 is more than the 9 positions"),
        (torch.zeros(1, 2, 8, 8), {"opset": 17}, r"opset=17 must lie between 18 and \d\d"),
        (torch.zeros(1, 2, 8, 8), {"opset": 99}, "opset=99 must lie between 18 and"),
    ],
)
def test_bad_input_is_named(example: Tensor, settings: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        export_onnx(cnn.ConvNN2d(2, 2, K=10), tmp_path / "x.onnx", example, **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot be written|cannot write"):
        export_onnx(nn.ReLU(), tmp_path / "none" / "x.onnx", torch.zeros(1, 3))


@pytest.mark.slow
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"needs the package onnxscript: pip install 'convnn\[onnx\]'"):
        export_onnx(nn.ReLU(), tmp_path / "x.onnx", torch.zeros(1, 3))
    monkeypatch.undo()
    monkeypatch.setattr(_onnx, "is_installed", lambda package: package != "onnxruntime")
    assert export_onnx(nn.ReLU(), tmp_path / "x.onnx", torch.zeros(1, 3)) is None
