"""Runs on knowledge graphs: filtered ranks, resuming, and what the command says."""

import json
from pathlib import Path

import pytest
import torch

from convnn.cli import main
from convnn.data import load_data
from convnn.data.triples import make_paraphrases
from convnn.errors import InputError
from convnn.models import create_model
from convnn.nn.triples import Queries
from convnn.train import TrainConfig, load_checkpoint
from convnn.train.measures import MEASURES
from convnn.train.schemes import make_objective
from same_runs import assert_same

FLAGS = ["--d_hidden", "8", "--batch_size", "64", "--limit_test", "20"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("triples") / "run"
    assert main(["knowledge", "train", "--num_epochs", "4", *FLAGS, "--output_dir", str(folder)]) == 0
    return folder


def test_the_measures_are_filtered_ranks_in_loops() -> None:
    data, graph = load_data("paraphrases", batch_size=64, limit_test=15), make_paraphrases()
    torch.manual_seed(0)
    network = create_model("transe", in_channels=4, num_classes=120, d_hidden=8).eval()
    facts, ranks, found = {tuple(t) for t in graph.triples.tolist()}, [], []
    with torch.no_grad():
        for batch in data.test:
            found.append(MEASURES["completion"]["mrr"](network(batch.inputs), batch.labels))
            for (head, relation, tail), of_tail in zip(
                batch.inputs.triples.tolist(), batch.inputs.of_tail.tolist(), strict=True
            ):
                every = [(head, relation, e) if of_tail else (e, relation, tail) for e in range(120)]
                own = (head, relation, tail)
                scores = dict(zip(every, network.score(torch.tensor(every)).tolist(), strict=True))
                ranks.append(1 + sum(scores[t] > scores[own] for t in every if t not in facts))
    torch.testing.assert_close(torch.cat(found), 1 / torch.tensor(ranks, dtype=torch.double))


def test_unfiltered_ranks_of_tails_are_those_of_pyg() -> None:
    kge = pytest.importorskip("torch_geometric.nn.kge")
    graph = make_paraphrases()
    triples = graph.parts["test"][:10]
    network = create_model("transe", in_channels=4, num_classes=120, d_hidden=8).eval()
    theirs = kge.TransE(120, 4, 8, p_norm=2.0)
    theirs.node_emb.weight.data, theirs.rel_emb.weight.data = network.table.detach().split([120, 4])
    logits = network(Queries(triples, torch.ones(10, dtype=torch.bool)))
    ranks = {name: measure(logits, triples[:, 2]).mean().item() for name, measure in MEASURES["completion"].items()}
    _, mrr, hits = theirs.test(*triples.T, batch_size=50, k=10, log=False)
    assert (ranks["mrr"], ranks["hits@10"]) == (pytest.approx(mrr, rel=1e-5), pytest.approx(hits))


@pytest.mark.slow
def test_a_resumed_run_is_the_same_to_the_bit(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert main(["knowledge", "train", "--num_epochs", "2", *FLAGS, "--output_dir", str(folder)]) == 0
    assert main(["knowledge", "train", "--resume", str(folder), "--num_epochs", "4"]) == 0
    assert_same(folder, finished)


@pytest.mark.parametrize("model", ["transe", "transh", "transr", "toruse"])
def test_every_network_learns_what_holds(model: str) -> None:
    data = load_data("paraphrases", batch_size=120)
    config = TrainConfig(model=model, d_hidden=16)
    torch.manual_seed(0)
    network = create_model(model, in_channels=4, num_classes=120, d_hidden=16)
    objective = make_objective(network, config, data).train()
    optimizer, losses = torch.optim.Adam(network.parameters(), 0.02), []
    for _ in range(8):
        for batch in data.train:
            optimizer.zero_grad()
            outcome = objective(batch)
            outcome.loss.backward()
            optimizer.step()
            losses.append(outcome.loss.item())
    assert outcome.logits.shape == (len(batch.labels), 2)
    assert sum(losses[-3:]) < 0.8 * sum(losses[:3])


def test_who_completes_a_triple(finished: Path, capsys: pytest.CaptureFixture) -> None:
    network, recipe = load_checkpoint(finished)
    graph = make_paraphrases()
    assert recipe.classes == graph.entities
    for end in ("tail", "head"):
        words = ["knowledge", "ask", str(finished), "e3", "f1", "--missing", end, "--top", "120", "--json"]
        assert main(words) == 0
        rows = json.loads(capsys.readouterr().out)
        assert [row["rank"] for row in rows] == list(range(1, 121))
        number = {name: place for place, name in enumerate(graph.entities)}
        relation = graph.relations.index("f1")
        for row in rows[:3]:
            head, tail = ("e3", row["entity"]) if end == "tail" else (row["entity"], "e3")
            score = network.score(torch.tensor([[number[head], relation, number[tail]]])).item()
            assert row["score"] == pytest.approx(score, abs=1e-5)
        known = {row["entity"] for row in rows if row["known"] == "train"}
        facts = graph.triples[(graph.triples[:, 1] == relation)]
        column, other = (0, 2) if end == "tail" else (2, 0)
        assert known == {graph.entities[t] for t in facts[facts[:, column] == number["e3"], other].tolist()}
    assert main(["knowledge", "ask", str(finished), "e3", "f1", "--top", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["rank", "entity", "score", "known"]


def test_evaluating_ranks(finished: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["knowledge", "evaluate", str(finished), "--limit_test", "20", "--part", "val", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"mrr", "hits@10", "top1", "triples"} <= found.keys()
    assert "measures" not in found
    assert found["triples"] == 40


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ask", "RUN", "e300", "f1"], "ENTITY='e300' is not one of the 120 names"),
        (["ask", "RUN", "e3", "h1"], "RELATION='h1'"),
        (["ask", "RUN", "e3", "f1", "--top", "0"], "--top=0"),
        (["ask", "RUN", "e3", "f1", "--missing", "tial"], "did you mean 'tail'"),
        (["ask", "RUN", "e3", "f1", "--tops", "3"], "unknown flag --tops; did you mean '--top'"),
        (["train", "--model", "vgg11"], "transe, transh, transr, toruse"),
        (["train", "--data_path", "NEW"], "is not a folder; name the one that holds train, valid and test"),
        (["train", "--criterion", "MSE", "--output_dir", "NEW"], "entities to rank"),
        (["train", "--objective", "m3s", "--output_dir", "NEW"], "of triples; leave it out"),
        (["train", "--dataset", "digits", "--output_dir", "NEW"], "data sets of triples are paraphrases"),
    ],
)
def test_bad_input(words: list[str], message: str, finished: Path, tmp_path: Path, capsys) -> None:
    places = {"RUN": str(finished), "NEW": str(tmp_path / "new")}
    assert main(["knowledge", *(places.get(word, word) for word in words)]) == 2
    assert message in capsys.readouterr().err


def test_networks_on_triples_have_no_layers_on_graphs() -> None:
    with pytest.raises(InputError, match="SparseRows, GatheredRows"):
        TrainConfig(model="transe", layer="GCN")
    with pytest.raises(InputError, match="reads triples"):
        TrainConfig(model="vgg11", layer="SparseRows")
