"""Runs that learn to rank items: resuming, measures, what is minimised, and what does not go together."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from convnn.cli import main, main_train
from convnn.data import load_data, read_interactions
from convnn.models import Recommender, create_model
from convnn.objectives import ranking
from convnn.objectives.infinite_layers import infinite_layers, ultra_loss
from convnn.ops import select
from convnn.train import TrainConfig, load_checkpoint
from convnn.train.schemes import make_objective
from pairwise import one_in
from same_runs import assert_same

SMALL = (
    "--model recommender --d_hidden 8 --batch_size 1200 --limit_train 2000 --user_frequencies 8 --item_frequencies 8"
)
LAYERS = ("LightGCN", "UltraGCN", "LCFN", "MF")


@pytest.fixture(scope="module")
def run(train: Callable[[str], Path]) -> Path:
    return train(f"{SMALL} --layer LCFN --num_epochs 2")


@pytest.mark.parametrize("layer", ["LCFN", "UltraGCN"])
def test_a_resumed_run_is_the_same_to_the_bit(layer: str, run: Path, train: Callable[[str], Path]) -> None:
    whole = run if layer == "LCFN" else train(f"{SMALL} --layer {layer} --num_epochs 2")
    folder = train(f"{SMALL} --layer {layer} --num_epochs 1")
    assert main_train(["--resume", str(folder), "--num_epochs", "2"]) == 0
    assert_same(folder, whole)


def test_the_table_has_recall_of_held_out_items(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head, *rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    network, recipe = load_checkpoint(run)
    assert isinstance(network, Recommender)
    data = load_data("hidden_groups", limit_train=2000, batch_size=300)
    (batch,) = data.test
    seen = batch.inputs.edge_index
    with torch.no_grad():
        users, items = network.encoder(seen)
    known = ranking.interaction_mask(seen, batch.inputs.users, 300, 240)
    best = select.highest(users[batch.inputs.users] @ items.T, 20, excluded=known)
    written = float(rows[recipe.epoch - 1][head.index("test_recall@20")])
    assert written == pytest.approx(ranking.recall(best, batch.labels), abs=1e-4)
    assert main(["evaluate", str(run), "--limit_train", "2000", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["recall@20"] == pytest.approx(written, abs=1e-4)


def objective(layer: str, **flags):
    config = TrainConfig(model="recommender", layer=layer, d_hidden=4, user_frequencies=8, item_frequencies=8, **flags)
    data = load_data("hidden_groups", batch_size=64)
    torch.manual_seed(0)
    settings = {"num_layers": config.num_layers, "user_frequencies": 8, "item_frequencies": 8, "d_hidden": 4}
    network = create_model("recommender", layer, in_channels=300, num_classes=240, **settings)
    return make_objective(network, config, data).train(), next(iter(data.train))


@pytest.mark.parametrize("layer", ["LightGCN", "LCFN", "MF"])
def test_ranking_is_the_published_loss_of_the_items_drawn(layer: str) -> None:
    made, batch = objective(layer, embedding_decay=0.1)
    encoder, (users, seen, chosen) = made.network.encoder, batch.inputs
    torch.manual_seed(5)
    found = made(batch)
    torch.manual_seed(5)
    drawn = ranking.OtherItems(seen, 300, 240).draw(users)
    assert not ranking.interaction_mask(seen, users, 300, 240).gather(1, drawn[:, None]).any()
    of_users, of_items = encoder(seen)
    scores = [(of_users[users] * of_items[items]).sum(1) for items in (chosen, drawn)]
    torch.testing.assert_close(found.logits, torch.stack(scores, 1))
    squares = sum(rows.square().sum() for rows in [encoder.users(users), encoder.items(chosen), encoder.items(drawn)])
    squares = squares + sum(part.square().sum() for part in encoder.decaying())
    expected = torch.nn.functional.softplus(scores[1] - scores[0]).sum() + 0.1 / 2 * squares
    torch.testing.assert_close(found.loss, expected)


def test_constraints_are_the_published_loss() -> None:
    made, batch = objective("UltraGCN", embedding_decay=0.1, constraint_weight=3.0, negatives=4, item_neighbors=6)
    encoder, (users, seen, chosen) = made.network.encoder, batch.inputs
    torch.manual_seed(5)
    found = made(batch)
    torch.manual_seed(5)
    drawn = torch.randint(240, (64, 4))
    tables = encoder.users.weight, encoder.items.weight
    constants = infinite_layers(seen, 300, 240, 6).to("cpu", torch.float32)
    parts = ultra_loss(tables, constants, users, chosen, drawn, negative_weight=20.0)
    decay = 0.05 * sum(table.square().sum() for table in tables)
    torch.testing.assert_close(found.loss, parts.choices + 3 * parts.similar + decay)
    assert set(found.terms) == set(made.terms)


def test_several_items_against_each_choice_are_their_mean() -> None:
    made, batch = objective("MF", negatives=3, embedding_decay=0.0)
    found = made(batch)
    above = found.logits[:, :1] - found.logits[:, 1:]
    torch.testing.assert_close(found.loss, -torch.nn.functional.logsigmoid(above).mean(1).sum())


@pytest.mark.slow
@pytest.mark.parametrize("layer", one_in(2, LAYERS))
def test_every_layer_learns(layer: str, train: Callable[[str], Path]) -> None:
    flags = f"--model recommender --layer {layer} --user_frequencies 8 --item_frequencies 8 --d_hidden 16"
    epochs = {"UltraGCN": 2, "MF": 60}.get(layer, 25)
    folder = train(f"{flags} --num_epochs {epochs} --patience 60 --lr 0.02")
    head, *rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    recalls = [float(row[head.index("test_recall@20")]) for row in rows]
    assert max(recalls) > (0.2 if layer == "MF" else 0.3)  # by chance 0.09


WRONG = {
    "labels": (
        "--objective labels",
        "--objective=labels does not rank items; --model=recommender learns by bpr or ultra",
    ),
    "distill": ("--distill vgg11", "--distill=vgg11 teaches classes, but --model=recommender ranks items for users"),
    "images": (
        "--dataset digits",
        "--model=recommender reads interactions, but --dataset=digits has images; the data set",
    ),
    "criterion": (
        "--criterion MSE",
        "--criterion=MSE is for one class of a sample, but users of --dataset=hidden_groups",
    ),
    "ultra": (
        "--objective ultra",
        "--objective=ultra stands for propagation, but --layer=LightGCN propagates; give bpr",
    ),
    "weights": (
        "--layer UltraGCN --choice_weights 1,2",
        "--choice_weights=1,2 must be four numbers of at least 0, such a",
    ),
    "items": ("--layer UltraGCN --item_neighbors 999", "--item_neighbors=999 must be at most 240, all items"),
    "frequencies": (
        "--layer LCFN --user_frequencies 999",
        "--user_frequencies=999 must lie between 1 and 300, the numbe",
    ),
    "layer": (
        "--layer ConvNN",
        "--layer='ConvNN' reads maps; --model='recommender' is built of layers that read interac",
    ),
    "augment": ("--augment", "--augment changes images; --dataset='hidden_groups' has interactions, so leave it out"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_go_together(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags, message = WRONG[case]
    assert main_train(["--model", "recommender", "--output_dir", str(tmp_path / "run"), *flags.split()]) == 2
    assert re.match(rf"main\.py: {re.escape(message)}", capsys.readouterr().err)


def test_other_networks_do_not_rank(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = "--model gnn --dataset sbm --objective bpr --output_dir"
    assert main_train([*flags.split(), str(tmp_path / "run")]) == 2
    assert "--objective=bpr learns from what users chose, but --dataset=sbm has nodes; leave" in capsys.readouterr().err


OTHERS = {
    "predict": ("0", "reads interactions of shape (300, 240), and convnn predict is for images"),
    "export": ("--format onnx --out x.onnx", "reads interactions, and --format onnx is for images and sequences"),
    "evaluate": ("--by knn", "--by=knn is for classes, but --model=recommender ranks items for users; leave it out"),
}


@pytest.mark.parametrize("command", OTHERS)
def test_commands_for_images_say_so(command: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags, message = OTHERS[command]
    assert main([command, str(run), *flags.split()]) == 2
    assert message in capsys.readouterr().err


def test_scores_leave_out_what_a_user_has() -> None:
    found = read_interactions("hidden_groups")
    network = create_model("recommender", "MF", in_channels=300, num_classes=240, d_hidden=4)
    from convnn.nn.graphs.batch import InteractionBatch

    users = torch.tensor([7, 3, 7])
    scores = network(InteractionBatch(users, found.parts["train"]))
    known = ranking.interaction_mask(found.parts["train"], users, 300, 240)
    assert known.sum(1).tolist() == [8, 8, 8]
    assert torch.equal(scores == torch.finfo(torch.float32).min, known)
    table = network.encoder.users.weight[users] @ network.encoder.items.weight.T
    torch.testing.assert_close(scores[~known], table[~known])
