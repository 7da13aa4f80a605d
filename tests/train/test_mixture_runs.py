"""Classifiers of mixtures of Gaussians with the Trainer: data sets, runs that resume, and commands for images."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from convnn.cli import main
from convnn.data import example_of, load_data
from convnn.errors import InputError
from convnn.models import MixtureNet, create_model, sizes_of
from convnn.ops.mixtures import Mixture
from same_runs import assert_same

TINY = "--model gmcn --components 4 --gaussians 3 --batch_size 16 --limit_train 48 --limit_test 24 --scheduler none"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixtures") / "run"
    assert main(["train", *TINY.split(), "--num_epochs", "2", "--output_dir", str(folder)]) == 0
    return folder


def test_mixtures_have_the_mass_and_the_middle_of_what_they_were_fitted_to() -> None:
    images = load_data("digits", limit_test=20)
    pixels = next(iter(images.test)).inputs * images.std[0] + images.mean[0]
    data = load_data("mixture_digits", limit_test=20, gaussians=4)
    assert (data.input_shape, data.kind, data.num_classes) == ((1, 4, 7), "mixture", 10)
    batch = next(iter(data.test))
    found = Mixture.from_packed(batch.inputs.flatten(3))
    torch.testing.assert_close(found.weight.sum((1, 2)), pixels.sum((1, 2, 3)), rtol=1e-4, atol=1e-4)
    across = (pixels.sum((1, 2)) * (torch.arange(8) - 3.5)).sum(1)
    torch.testing.assert_close((found.weight * found.mean[..., 0]).sum((1, 2)), across, rtol=1e-3, atol=1e-3)
    again = next(iter(load_data("mixture_digits", limit_test=20, gaussians=4).test))
    assert torch.equal(batch.inputs, again.inputs)
    assert torch.equal(batch.labels, next(iter(images.test)).labels)


def test_solids_are_in_space() -> None:
    data = load_data("solids", limit_train=8, limit_test=8, gaussians=3)
    assert data.input_shape == (1, 3, 13)
    assert data.classes == ("sphere", "cube", "torus", "cylinder")
    network = create_model("gmcn", num_classes=4, components=4, **sizes_of("gmcn", data.input_shape))
    batch = next(iter(data.train))
    F.cross_entropy(network(batch.inputs), batch.labels).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_the_network_is_a_mixture_net() -> None:
    torch.manual_seed(0)
    network = create_model("gmcn", in_channels=2, num_classes=3, components=6, d_hidden=4).double().eval()
    torch.manual_seed(0)
    plain = MixtureNet(2, 3, widths=(4,), radii=2.5, components=(6, 3), norm="sample").double().eval()
    x = example_of((2, 5, 7), "mixture", 4).double()
    x[:, :, :, 1:3] = torch.randn(4, 2, 5, 2)
    torch.testing.assert_close(network(x), plain(x.flatten(3)), rtol=0, atol=0)


def test_a_run_resumes_to_the_bit(finished: Path, tmp_path: Path) -> None:
    assert main(["train", *TINY.split(), "--output_dir", str(tmp_path / "run"), "--num_epochs", "1"]) == 0
    assert main(["train", "--resume", str(tmp_path / "run"), "--num_epochs", "2"]) == 0
    assert_same(tmp_path / "run", finished)


def test_evaluation_is_that_of_classifiers(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(finished), "--limit_test", "24", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["mixtures"] == 24
    assert {"top1", "top5", "loss"} <= found.keys()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["predict", "RUN", "x.png"], "reads mixtures of shape (1, 3, 7), and convnn predict is for images"),
        (["neighbors", "RUN", "x.png"], "reads mixtures of shape (1, 3, 7), and convnn neighbors is for"),
        (
            ["export", "RUN", "--format", "onnx", "--out", "x.onnx"],
            "reads mixtures, and --format onnx is for images",
        ),
        (
            ["train", *TINY.split(), "--dataset", "digits"],
            "reads mixtures, but --dataset=digits has images",
        ),
        (
            ["train", *TINY.split(), "--layer", "Conv2d"],
            "--layer='Conv2d' reads maps; --model='gmcn' is built",
        ),
        (["train", *TINY.split(), "--augment"], "changes images; --dataset='mixture_digits' has mixtures"),
        (["train", *TINY.split(), "--num_layers", "3"], "--components=4 must be an integer of at least 8"),
    ],
    ids=range(7),
)
def test_bad_input(words: list[str], message: str, finished: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([str(finished) if word == "RUN" else word for word in words]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_component_has_the_numbers_of_the_plane_or_of_space() -> None:
    with pytest.raises(InputError, match="dims=0 must be 2 or 3"):
        create_model("gmcn", **sizes_of("gmcn", (1, 3, 5)))
