"""Scene graphs with the Trainer: data sets, the network of the command, resuming, samples as pictures and text."""

import json
from pathlib import Path

import pytest
import torch

from convnn.cli import main
from convnn.data import load_data
from convnn.data.scene_graphs import make_scene_graphs, write_scene_graphs
from convnn.errors import InputError
from convnn.models import create_model, sizes_of
from convnn.models.scene_graphs.network import room_for
from convnn.ops.scene_graphs import SceneGraphs, blank_graphs, joined
from convnn.tasks.generate import draw, sample
from convnn.train import Recipe, load_checkpoint
from same_runs import assert_same

TINY = "--model diffusesg --d_hidden 8 --num_heads 2 --num_layers 1 --batch_size 16 --limit_train 48 --limit_test 16"
HOW = "--self_condition --iou --scheduler none"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes") / "run"
    words = ["generate", "train", *TINY.split(), *HOW.split(), "--num_epochs", "2"]
    assert main([*words, "--output_dir", str(folder)]) == 0
    return folder


def _write(folder: Path, *parts: str) -> SceneGraphs:
    graphs = make_scene_graphs(12, nodes=(2, 5))
    for number, part in enumerate(parts):
        (folder / part).parent.mkdir(exist_ok=True)
        write_scene_graphs(folder / part, graphs[4 * number : 4 * number + 4])
    return graphs


def test_parts_of_files_have_the_same_numbers(tmp_path: Path) -> None:
    graphs = _write(tmp_path, "train/a.json", "train/b.json", "test.json")
    data = load_data("scenes", tmp_path, batch_size=3)
    assert (data.input_shape, data.kind, data.task) == ((5, 5, 4), "scene", "modelling")
    assert [part.num_samples for part in data.parts.values()] == [8, 4]
    found = joined([batch.inputs for batch in data.test])
    words = [found.categories[kind] for kind in found.types[found.flags].tolist()]
    wanted = graphs[8:]
    assert words == [wanted.categories[kind] for kind in wanted.types[wanted.flags].tolist()]
    assert data.names == found.categories + found.predicates
    torch.testing.assert_close(found.boxes, wanted.boxes)


def test_one_file_is_divided_by_the_number_of_the_split(tmp_path: Path) -> None:
    write_scene_graphs(tmp_path / "all.json", make_scene_graphs(10))
    boxes = []
    for split in (0, 1):
        data = load_data("scenes", tmp_path / "all.json", split=split)
        assert [part.num_samples for part in data.parts.values()] == [8, 2]
        boxes.append(next(iter(data.test)).inputs.boxes)
    assert not torch.equal(*boxes)


@pytest.mark.parametrize("levels", [1, 2])
def test_terms_are_sums_over_graphs_of_any_number(levels: int) -> None:
    torch.manual_seed(0)
    settings = {"levels": levels, "d_hidden": 8, "num_heads": 2, "iou": "giou", "shuffle_nodes": True}
    network = create_model("diffusesg", "ConvNN", in_channels=11, num_categories=5, K=3, padding=0, **settings).double()
    graphs = make_scene_graphs(3, max_nodes=11)
    torch.manual_seed(1)
    answer = network.train()(graphs)
    assert tuple(answer.terms) == network.terms == ("relations", "nodes", "boxes")
    sum(answer.terms.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())
    assert room_for(11, levels) == len(network.diffusion.size_counts) - 1 == 16
    nothing = network(graphs[:0])
    sum(nothing.terms.values()).backward()
    assert sum(nothing.terms.values()) == 0


def test_objects_that_are_not_there_change_no_loss() -> None:
    torch.manual_seed(0)
    network = create_model("diffusesg", in_channels=8, d_hidden=8, num_heads=2, iou="iou").eval()
    graphs = make_scene_graphs(1, nodes=(4, 4))
    losses = []
    for given in (graphs, graphs.resized(7), graphs.renamed("abcde", "wxyz")):
        torch.manual_seed(2)
        losses.append(sum(network(given).terms.values()).item())
    assert losses[0] == losses[1] == losses[2]


def test_sizes_follow_from_the_shape_and_counts_from_training() -> None:
    assert sizes_of("diffusesg", (6, 7, 3)) == {"in_channels": 6, "num_categories": 7, "num_predicates": 3}
    assert sizes_of("finc_flow", (1, 8, 8)) == {"in_channels": 1}
    network = create_model("diffusesg", in_channels=6, d_hidden=8, num_heads=2)
    with pytest.raises(InputError, match="has seen no graphs"):
        network.sample(1)
    graphs = make_scene_graphs(30, nodes=(2, 6))
    network.prepare_from(graphs[chosen] for chosen in torch.arange(30).split(7))
    assert network.diffusion.size_counts.tolist() == graphs.sizes.bincount(minlength=7).tolist()


def test_a_run_resumes_to_the_bit(finished: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    words = ["generate", "train", *TINY.split(), *HOW.split(), "--num_epochs", "1"]
    assert main([*words, "--output_dir", str(folder)]) == 0
    assert main(["train", "--resume", str(folder), "--num_epochs", "2"]) == 0
    assert_same(folder, finished)
    header = (finished / "metrics.csv").read_text().splitlines()[0]
    assert all(term in header for term in ("relations", "nodes", "boxes"))


def test_samples_are_drawn_and_written(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, text = tmp_path / "x.png", tmp_path / "x.json"
    words = ["generate", "sample", str(finished), "--count", "5", "--seed", "1", "--steps", "3"]
    assert main([*words, "--out", str(out), "--samples", str(text)]) == 0
    assert capsys.readouterr().out.startswith(f"{out} and {text}: 5 samples of diffusesg, epoch ")
    assert out.read_bytes().startswith(b"\x89PNG")
    entries = json.loads(text.read_text())
    assert {len(entry["objects"]) for entry in entries} <= {3, 4}
    names = {one["names"][0] for entry in entries for one in entry["objects"]}
    assert len(entries) == 5
    assert names <= {"cup", "book", "lamp", "chair", "table"}


def test_evaluation_compares_samples(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "evaluate", str(finished), "--limit_train", "48", "--limit_test", "16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["scenes"] == 16
    assert {"loss", "relations", "nodes", "boxes", "sampled_relations", "sampled_boxes"} <= found.keys()
    assert 0 <= found["sampled_right"] <= 1
    assert "top1" not in found


def test_samples_need_the_names_of_training(finished: Path, tmp_path: Path) -> None:
    network, recipe = load_checkpoint(finished)
    drawn = blank_graphs(1, 4, network.diffusion.categories, network.diffusion.predicates)
    changed = Recipe(**{**vars(recipe), "names": recipe.names[1:]})
    with pytest.raises(InputError, match="names of 5 categories and 3 predicates must be for 5 and 4"):
        draw(network, drawn, changed, tmp_path / "x.png")
    with pytest.raises(InputError, match=r"temperature=0.5 must be 1"):
        sample(network, 1, recipe.input_shape, temperature=0.5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sample", "RUN", "--samples", "x.txt"], "--samples=x.txt must end in .json"),
        (["sample", "RUN", "--steps", "1"], "--steps=1 must be an integer of at least 2"),
        (
            ["evaluate", "RUN", "--dataset", "scenes", "--data_path", "OTHER"],
            "has 'table' where the checkpoint learned",
        ),
        (
            ["train", "--model", "diffusesg", "--data_path", "."],
            "has no train.json and no folder",
        ),
        (
            ["train", "--model", "diffusesg", "--dataset", "digits"],
            "--model=diffusesg reads scenes, but --dataset=digits",
        ),
        (
            ["train", "--model", "diffusesg", "--type_code", "hot"],
            "--type_code='hot' is not one of scalar, bits, one_hot",
        ),
        (["train", *TINY.split(), "--augment"], "changes images; --dataset='made_scenes' has scenes"),
    ],
    ids=range(7),
)
def test_bad_input(words: list[str], message: str, finished: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    graphs = make_scene_graphs(40, nodes=(4, 4))
    named = graphs.renamed(("table", "book", "lamp", "chair", "cup"), graphs.predicates)
    other = write_scene_graphs(tmp_path.parent / f"{tmp_path.name}.json", named)
    found = {"RUN": str(finished), "OTHER": str(other)}
    assert main(["generate", *(found.get(word, word) for word in words)]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
