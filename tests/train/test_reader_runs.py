"""Runs of networks that read statements and subgraphs."""

import json
from pathlib import Path

import pytest
import torch

from convnn.cli import main
from convnn.data import load_data
from convnn.models import create_model
from convnn.train import TrainConfig
from convnn.train.schemes import make_objective
from convnn.train.schemes.triples import both_ends
from same_runs import assert_same

SMALL = ["--d_hidden", "8", "--d_mlp", "8", "--num_layers", "1", "--batch_size", "64"]
LIMITS = ["--limit_train", "80", "--limit_test", "12"]
RUNS = {
    "statement_reader": ["--dataset", "qualified", "--mlp_experts", "2", "--board_channels", "2"],
    "subgraph_reader": ["--dataset", "paraphrases", "--num_heads", "2", "--subgraph_size", "4"],
}


def train(model: str, folder: Path, epochs: int) -> Path:
    words = ["knowledge", "train", "--model", model, *RUNS[model], *SMALL, *LIMITS]
    assert main([*words, "--num_epochs", str(epochs), "--output_dir", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {model: train(model, tmp_path_factory.mktemp(model) / "run", 3) for model in RUNS}


@pytest.mark.slow
@pytest.mark.parametrize("model", RUNS)
def test_a_resumed_run_is_the_same_to_the_bit(model: str, finished: dict[str, Path], tmp_path: Path) -> None:
    folder = train(model, tmp_path / "run", 1)
    assert main(["knowledge", "train", "--resume", str(folder), "--num_epochs", "3"]) == 0
    assert_same(folder, finished[model])


@pytest.mark.parametrize("model", RUNS)
def test_ranks_of_a_run(model: str, finished: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    words = ["knowledge", "evaluate", str(finished[model]), "--limit_test", "10", "--part", "val", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"mrr", "hits@10", "top1"} <= found.keys()
    assert found["triples"] == 20


def test_who_completes_a_statement(finished: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    words = ["knowledge", "ask", str(finished["statement_reader"]), "e3", "has", "--top", "200", "--json"]
    scores = []
    for value in ("v0", "v1"):
        assert main([*words, "--qualifier", "when", value]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert len({row["entity"] for row in rows if row["known"]}) == 1  # the qualifier decides
        scores.append({row["entity"]: row["score"] for row in rows})
    assert scores[0] != scores[1]
    assert main(words) == 0
    assert {row["known"] for row in json.loads(capsys.readouterr().out)} == {""}  # nothing is stated without one
    assert main([*words, "--qualifier", "whn", "v0"]) == 2
    assert "--qualifier='whn' is not one of the 3 names in the data; did you mean 'when'?" in capsys.readouterr().err


def test_who_completes_a_triple_by_its_subgraph(finished: dict[str, Path], capsys: pytest.CaptureFixture) -> None:
    words = ["knowledge", "ask", str(finished["subgraph_reader"]), "e3", "g1", "--top", "3", "--json"]
    found = []
    for _ in range(2):
        assert main(words) == 0
        found.append(json.loads(capsys.readouterr().out))
    assert found[0] == found[1]


def test_networks_trade_their_data(tmp_path: Path) -> None:
    about = [*SMALL, *LIMITS, "--num_epochs", "1", "--output_dir"]
    for model, name in (("transe", "qualified"), ("statement_reader", "paraphrases"), ("subgraph_reader", "qualified")):
        assert main(["knowledge", "train", "--model", model, "--dataset", name, *about, str(tmp_path / model)]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("model", RUNS)
def test_it_learns(model: str) -> None:
    data = load_data("qualified" if model == "statement_reader" else "paraphrases", batch_size=120)
    config = TrainConfig(model=model)
    torch.manual_seed(0)
    sizes = {"d_hidden": 16, "d_mlp": 16, "num_layers": 1, "board_channels": 2, "subgraph_size": 4}
    network = create_model(model, in_channels=data.input_shape[0], num_classes=data.num_classes, **sizes)
    objective = make_objective(network, config, data).train()
    optimizer, losses = torch.optim.Adam(network.parameters(), 0.01), []
    for _ in range(6):
        for batch in data.train:
            optimizer.zero_grad()
            outcome = objective(batch)
            outcome.loss.backward()
            optimizer.step()
            losses.append(outcome.loss.item() / len(batch.labels))
    assert outcome.logits.shape == (len(batch.labels), 2)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_in_training_a_triple_counts_whose_ends_both_come_first() -> None:
    data = load_data("qualified", batch_size=40)
    network = create_model("statement_reader", in_channels=3, num_classes=data.num_classes, d_hidden=8, dropout=0.0)
    objective = make_objective(network, TrainConfig(model="statement_reader"), data).train()
    batch = next(iter(data.train))
    asked = both_ends(batch.inputs)
    assert asked.wanted.equal(torch.cat([batch.inputs.triples[:, 2], batch.inputs.triples[:, 0]]))
    wanted = iter([*asked.wanted.tolist()])
    scores = torch.randn(80, data.num_classes)
    scores[:60].scatter_(1, asked.wanted[:60, None], 9.0)
    network.learn = lambda *_: (torch.tensor(2.0), scores)
    outcome = objective(batch)
    firsts = [int(row.argmax()) == next(wanted) for row in scores]
    both = [tail and head for tail, head in zip(firsts[:40], firsts[40:], strict=True)]
    assert (outcome.logits.argmax(1) == 0).tolist() == both
    assert 20 <= sum(both) < 40
    assert outcome.loss.item() == 80


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model", "statement_reader", "--layer", "SparseRows"], "layers that read triples: Attention"),
        (["--model", "statement_reader", "--objective", "bpr"], "bpr learns from what users chose"),
        (["--model", "subgraph_reader", "--smoothing", "1"], "--smoothing=1"),
        (["--model", "subgraph_reader", "--dataset", "digits"], "data sets of triples are paraphrases"),
        (["--model", "subgraph_reader", "--subgraph_size", "0"], "--subgraph_size=0"),
    ],
)
def test_bad_input(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["knowledge", "train", *words, "--output_dir", str(tmp_path / "new")]) == 2
    assert message in capsys.readouterr().err
