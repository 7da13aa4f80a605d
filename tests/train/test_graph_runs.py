"""Runs on graphs: training, resuming, evaluating and predicting, and what does not fit."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from convnn.cli import main, main_train
from convnn.data import load_data
from convnn.errors import InputError
from convnn.train import TrainConfig, load_checkpoint, read_checkpoint
from same_runs import assert_same, rows_of

NODES = "--model gnn --dataset sbm --split 3 --node_norm batch"
SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.fixture(scope="module")
def run(train: Callable[[str], Path]) -> Path:
    return train(f"{NODES} --num_epochs 4")


@pytest.fixture(scope="module")
def molecules(train: Callable[[str], Path]) -> Path:
    if not SHARED.is_dir():
        pytest.skip("needs the published graphs")
    flags = "--model gnn --layer GIN --dataset MUTAG --split 2 --linear_head --readout sum --limit_train 40"
    return train(f"{flags} --num_epochs 2 --data_path {SHARED}")


def test_a_resumed_run_is_the_same_to_the_bit(run: Path, train: Callable[[str], Path]) -> None:
    folder = train(f"{NODES} --num_epochs 2")
    assert main_train(["--resume", str(folder), "--num_epochs", "4"]) == 0
    assert_same(folder, run)


def test_graphs_in_batches_resume_to_the_bit(molecules: Path, train: Callable[[str], Path]) -> None:
    flags = "--model gnn --layer GIN --dataset MUTAG --split 2 --linear_head --readout sum --limit_train 40"
    folder = train(f"{flags} --num_epochs 1 --data_path {SHARED}")
    assert main_train(["--resume", str(folder), "--num_epochs", "2"]) == 0
    assert_same(folder, molecules)


def test_the_checkpoint_keeps_which_graph_was_drawn(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = load_checkpoint(run)[1]
    assert recipe.data_settings == {"split": 3}
    assert (recipe.kind, recipe.input_shape, recipe.mean, recipe.std) == ("node", (16,), (), ())
    assert main(["evaluate", str(run), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = rows_of(run)
    assert (found["part"], found["nodes"]) == ("test", 80)
    assert found["top1"] == pytest.approx(float(rows[recipe.epoch - 1]["test_top1"]))


def test_tables_hold_every_epoch_of_short_ones(run: Path) -> None:
    for name in ("metrics.csv", "times.csv"):
        assert [row["epoch"] for row in csv.DictReader((run / name).read_text().splitlines())] == ["1", "2", "3", "4"]
    assert read_checkpoint(run / "last.safetensors").recipe.epoch == 4


def test_nodes_are_predicted_by_number(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, recipe = load_checkpoint(run)
    (batch,) = load_data("sbm", split=3).test
    assert main(["predict", str(run), "7", "199", "--top", "1", "--format", "csv"]) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    shares = network(batch.inputs._replace(nodes=torch.tensor([7, 199]))).softmax(1)
    assert [row["node"] for row in rows] == ["7", "199"]
    assert [row["class"] for row in rows] == [recipe.classes[i] for i in shares.argmax(1)]
    assert [float(row["probability"]) for row in rows] == pytest.approx(shares.amax(1).tolist())


def test_graphs_are_predicted_by_number(molecules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, recipe = load_checkpoint(molecules)
    (batch,) = load_data("MUTAG", SHARED, split=2).test
    assert main(["predict", str(molecules), "4", "0", "--top", "1", "--format", "json"]) == 0
    found = [one["classes"][0]["class"] for one in json.loads(capsys.readouterr().out)]
    assert found == [recipe.classes[i] for i in network(batch.inputs).argmax(1)[[4, 0]]]


def test_a_node_is_drawn_with_its_neighbours(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["neighbors", str(run), "--index", "3", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "node_sbm_3.png")
    assert (tmp_path / "node_sbm_3.png").read_bytes().startswith(b"\x89PNG")


def test_a_test_graph_is_drawn(molecules: Path, tmp_path: Path) -> None:
    assert main(["neighbors", str(molecules), "--index", "0", "1", "--out", str(tmp_path)]) == 0
    first, second = (tmp_path / f"graph_MUTAG_{number}.png" for number in (0, 1))
    assert first.read_bytes() != second.read_bytes()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("predict RUN cat.jpg", "'cat.jpg' is not the number of a node or graph"),
        ("predict RUN 200", "node=200 must lie between 0 and 199, a node of sbm"),
        ("neighbors RUN --index 200 --out OUT", "--index=200 must lie between 0 and 199"),
        ("neighbors RUN cat.jpg --out OUT", "reads graphs, not pictures; give nodes or graphs by --index"),
        ("statistics RUN --out OUT", r"reads nodes of shape \(16,\), and convnn statistics is for images"),
        ("export RUN --format onnx --out OUT", "reads nodes, and --format onnx is for images and sequences"),
    ],
)
def test_commands_say_what_they_cannot_do(
    command: str, message: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"RUN": str(run), "OUT": str(tmp_path / "out")}
    assert main([words.get(word, word) for word in command.split()]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert re.search(message, line)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--model vgg11 --dataset Cora", "--model=vgg11 reads images, but --dataset=Cora has graphs; .* are gnn"),
        ("--model gnn --dataset digits", "--model=gnn reads graphs, but --dataset=digits has images; .*karate"),
        (
            "--model gnn --dataset adding --criterion MSE",
            "--model=gnn reads graphs, but --dataset=adding has sequences",
        ),
        (
            "--model gnn --layer ConvNN",
            "--layer='ConvNN' reads maps; --model='gnn' is built of layers that read graphs",
        ),
        ("--model gnn --log_neighbors", "--log_neighbors is for images, but --model=gnn reads graphs; leave it out"),
        ("--model gnn --augment", "--augment changes images; --dataset='sbm' has graphs, so leave it out"),
        ("--model gnn --dataset karate --split 1", "--split=1 is for texas"),
        ("--model gnn --dataset Cora --data_path nowhere", "--data_path='nowhere' has no folder planetoid/Cora/raw"),
    ],
)
def test_what_does_not_fit_is_refused_in_a_line(
    flags: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_train([*flags.split(), "--output_dir", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert re.search(message, line)
    assert not (tmp_path / "run").exists()


def test_shapes_are_checked_without_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_train(["--model", "gnn", "--test_only"]) == 0
    assert "gnn of GCN: input (2, 16), output (2, 4)" in capsys.readouterr().out


def test_defaults_are_the_published_ones_of_the_layer() -> None:
    names = ("optimizer", "lr", "weight_decay", "num_epochs", "num_layers", "d_hidden", "dropout", "clip_grad_norm")
    gcn, sgc = (TrainConfig(model="gnn", layer=layer) for layer in ("GCN", "SGC"))
    assert [getattr(gcn, name) for name in names] == ["adam", 0.01, 5e-4, 200, 2, 16, 0.5, 0.0]
    assert [getattr(sgc, name) for name in names] == ["adam", 0.2, 5e-6, 100, 1, 16, 0.0, 0.0]


def test_the_hub_holds_a_network_on_graphs(run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--format", "hub", "--out", str(tmp_path / "hub")]) == 0
    (batch,) = load_data("sbm", split=3).test
    networks = [load_checkpoint(path)[0] for path in (run, tmp_path / "hub")]
    assert torch.equal(*(network(batch.inputs) for network in networks))
    assert "logits = network(graph)  # a convnn.nn.graphs.batch.GraphBatch" in (tmp_path / "hub/README.md").read_text()


@pytest.mark.parametrize(
    "change",
    [
        {"input_shape": [16, 1]},
        {"input_shape": [1 << 21]},
        {"mean": [0.0], "std": [1.0]},
        {"kind": "image"},
        {"kind": 3},
    ],
)
def test_a_recipe_of_no_graph_is_refused(change: dict[str, object], run: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--format", "hub", "--out", str(tmp_path / "hub")]) == 0
    path = tmp_path / "hub" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match="has a recipe that cannot be read"):
        load_checkpoint(tmp_path / "hub")
