"""What `--objective` names: it learns, resumes to the bit, has its terms, and says what it needs."""

import json
import shlex
from pathlib import Path

import pytest
import torch

from convnn.cli import main, main_train
from convnn.models import create_model
from convnn.runs.curves import read_curves
from convnn.train import TrainConfig, read_checkpoint
from convnn.train.schemes.probe import Probe
from launch import start_several, wait
from launch import train as launched
from pairwise import one_in

IMAGES = shlex.split(
    "--dataset digits --model resnet18 --layer Conv2d --width 0.0625 --num_epochs 2 --batch_size 16 --limit_train 32"
    " --limit_test 16 --device cpu --projection_hidden 8 --projection_dim 4 --lr 0.01"
)
GRAPHS = shlex.split("--dataset sbm --model gnn --linear_head --num_epochs 6 --clusters 20 --stages 2 --device cpu")
TERMS = {
    "infonce": ("contrast", "probe"),
    "spectral": ("contrast", "probe"),
    "cgcl": ("links", "probe"),
    "scgc": ("contrast", "clusters", "probe"),
    "csgcl": ("contrast", "probe"),
    "m3s": ("labels", "labelled_nodes"),
    "clustering": ("labels", "helper"),
    "partitioning": ("labels", "helper"),
    "completion": ("labels", "helper"),
}


def train(objective: str, folder: Path, *more: str) -> int:
    flags = IMAGES if objective in ("infonce", "spectral") else GRAPHS
    flags = [*flags, "--num_layers", "1"] if objective == "m3s" else flags  # two layers see the whole graph
    return main_train([*flags, "--objective", objective, "--output_dir", str(folder), *more])


@pytest.mark.slow
@pytest.mark.parametrize("objective", one_in(3, TERMS))
def test_it_trains_and_resumes_to_the_bit(objective: str, tmp_path: Path) -> None:
    epochs = 4 if objective in ("infonce", "spectral") else 12
    assert train(objective, tmp_path / "whole", "--num_epochs", str(epochs)) == 0
    assert train(objective, tmp_path / "half", "--num_epochs", str(epochs), "--patience", "1") == 0
    curves = read_curves(tmp_path / "whole" / "metrics.csv")
    assert [name for name in curves if name.startswith("term_")] == [f"term_{name}" for name in TERMS[objective]]
    assert torch.tensor(list(curves.values())).isfinite().sum() > 0
    stopped = len(read_curves(tmp_path / "half" / "metrics.csv")["epoch"])
    folder = str(tmp_path / "half")
    assert main_train(["--resume", folder, "--patience", str(epochs)]) == 0
    first, second = (read_checkpoint(tmp_path / name / "last.safetensors") for name in ("whole", "half"))
    assert all(torch.equal(first.weights[name], tensor) for name, tensor in second.weights.items())
    assert all(torch.equal(first.run.tensors[name], tensor) for name, tensor in second.run.tensors.items())
    assert stopped < epochs


def test_the_probe_does_not_change_what_it_reads() -> None:
    network = create_model("resnet18", "Conv2d", in_channels=1, num_classes=3, width=1 / 16)
    probe = Probe(network)
    features, logits = probe.read(torch.rand(4, 1, 8, 8))
    logits.square().sum().backward()
    *rest, weight, bias = network.parameters()
    assert (probe.width, tuple(features.shape)) == (weight.shape[1], (4, weight.shape[1]))
    assert weight.grad.abs().sum() > 0
    assert bias.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in rest)
    features.sum().backward()
    assert rest[0].grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--objective scgc", "--objective=scgc learns on the nodes of one graph, but --dataset=digits has images"),
        ("--objective infonce --mixture concat --projection_dim 3", "concat"),
        (
            "--objective infonce --batch_size 1",
            "--objective=infonce contrasts images with others; raise --batch_size=1",
        ),
        ("--objective infonce --negatives 99", "--negatives=99 must be at most 30"),
        ("--objective infonce --fsdp", "--fsdp divides the network among the processes"),
        (
            "--objective infonce --model vit --layer Attention --distillation_token --resize 8 --patch_size 4"
            " --width 1",
            "ViT must end in one linear layer from the features of a sample to its 10 classes",
        ),
        ("--objective nothing", "--objective='nothing' is not one of labels"),
        ("--objective infonce --contrast_temperature 0", "--contrast_temperature=0"),
    ],
)
def test_what_cannot_be_is_one_sentence(flags: str, message: str, tmp_path: Path, capsys) -> None:
    assert main_train([*IMAGES, "--output_dir", str(tmp_path), *flags.split()]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_graphs_need_a_linear_head_and_nodes(tmp_path: Path, capsys) -> None:
    plain = shlex.split(f"--dataset sbm --model gnn --num_epochs 1 --device cpu --output_dir {tmp_path}")
    assert main_train([*plain, "--objective", "cgcl"]) == 2
    assert "--objective=cgcl needs a linear map after the layers; add --linear_head" in capsys.readouterr().err
    assert main_train([*plain, "--objective", "infonce"]) == 2
    assert "--objective=infonce compares views of images, but --dataset=sbm has nodes" in capsys.readouterr().err
    assert main_train([*plain, "--linear_head", "--objective", "m3s"]) == 2
    assert "--objective=m3s would add no label: what 2 layers see" in capsys.readouterr().err
    assert main_train([*plain, "--linear_head", "--objective", "completion", "--completion_dim", "5000"]) == 2
    assert "--completion_dim=5000 must be at most" in capsys.readouterr().err


def test_a_network_that_ends_in_no_linear_layer_is_not_probed(tmp_path: Path, capsys) -> None:
    flags = "--dataset sbm --model gnn --layer SGC --num_epochs 1 --device cpu --output_dir"
    assert main_train([*flags.split(), str(tmp_path)]) == 0
    assert main(["evaluate", str(tmp_path), "--by", "knn"]) == 2  # its Linear is read, but never called
    assert "GNN must end in one linear layer" in capsys.readouterr().err


def test_a_last_batch_may_have_fewer_images_than_negatives(tmp_path: Path) -> None:
    assert train("infonce", tmp_path, "--limit_train", "35", "--negatives", "30", "--num_epochs", "1") == 0
    assert read_curves(tmp_path / "metrics.csv")["term_contrast"][0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["infonce", "spectral"])
def test_a_process_with_a_single_image_of_the_last_batch_contrasts_none(objective: str, tmp_path: Path) -> None:
    flags = [*IMAGES, "--objective", objective, "--limit_train", "35", "--num_epochs", "1"]
    log = tmp_path / "log"
    processes = start_several(launched, [*flags, "--output_dir", str(tmp_path / "run")], log=log)
    assert [wait(process) for process in processes] == [0, 0], log.read_text()
    assert read_curves(tmp_path / "run" / "metrics.csv")["term_contrast"][0] != 0


def test_every_objective_has_a_name() -> None:
    assert TrainConfig().objective == "labels"
    assert set(TERMS) < set(TrainConfig.__dataclass_fields__["objective"].metadata["choices"])


@pytest.mark.slow
def test_features_can_be_probed(tmp_path: Path, capsys) -> None:
    assert train("infonce", tmp_path, "--num_epochs", "1", "--limit_train", "100") == 0
    capsys.readouterr()
    scores = []
    for probe in ("knn", "linear"):
        assert main(["evaluate", str(tmp_path), "--by", probe, "--json", "--limit_train", "100"]) == 0
        scores.append(json.loads(capsys.readouterr().out)["top1"])
    assert all(0.2 < score <= 1 for score in scores)
    assert main(["evaluate", str(tmp_path), "--by", "knn", "--limit_train", "10"]) == 2
    assert "k=20 must be at most 10" in capsys.readouterr().err
