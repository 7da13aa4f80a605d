"""The ground seen from above: what cameras see of generated scenes, runs of the network, and the picture."""

import json
from pathlib import Path

import pytest
import torch

from convnn.cli import main, main_train
from convnn.data import load_data
from convnn.data.grounds import make_scenes
from convnn.errors import InputError
from convnn.models import create_model
from convnn.models.segmentation import BirdsEyeNetwork
from convnn.ops.projection import project
from convnn.ops.surround import deviating, surround_rig
from convnn.tasks.segment.birds_eye import draw
from convnn.train import load_checkpoint
from same_runs import assert_same, killed_after

FLAGS = [
    "--model",
    "gkt",
    "--kernel_size",
    "1",
    "--limit_train",
    "12",
    "--limit_test",
    "4",
    "--num_epochs",
    "2",
    "--device",
    "cpu",
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("gkt") / "run"
    assert main(["segment", "train", "--dataset", "grounds", *FLAGS[2:], "--output_dir", str(run)]) == 0
    return run


def test_cameras_see_the_ground_where_it_is() -> None:
    """Values of the image at the projection of a cell are those of the cell, except at borders and noise."""
    rig = surround_rig()
    images, truth = make_scenes(16, rig, torch.Generator().manual_seed(0), cells=24)
    points = BirdsEyeNetwork(cells=24).points
    places, visible = project(points, rig)
    columns = (places[0, ..., 0] * 19).round().clamp(0, 19).long()
    rows = (places[0, ..., 1] * 11).round().clamp(0, 11).long()
    for camera in range(4):
        seen = images[:, camera, 0, rows[camera], columns[camera]][:, visible[0, camera]] > 0.5
        wanted = truth.flatten(1)[:, visible[0, camera]] > 0
        assert (seen == wanted).double().mean() > 0.85


def test_scenes_are_those_of_their_number_and_new_in_each_epoch() -> None:
    first, again, turned = (load_data("grounds", limit_test=2, deviation=angle) for angle in (None, 0.0, 4.0))
    one, same, other = (next(iter(data.test)) for data in (first, again, turned))
    assert one.inputs.shape == (2, *first.input_shape) == (2, 4, 1, 12, 20)
    assert (one.labels.shape, one.labels.dtype, one.labels.unique().tolist()) == ((2, 12, 12), torch.int64, [0, 1])
    assert torch.equal(one.inputs, same.inputs)
    assert torch.equal(one.labels, other.labels)  # the ground is the same, the cameras are not
    assert not torch.equal(one.inputs, other.inputs)
    before = next(iter(first.train)).labels
    first.train.set_epoch(1)
    assert not torch.equal(before, next(iter(first.train)).labels)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_run_killed_after_any_step_resumes_to_the_bit(steps: int, finished: Path, tmp_path: Path) -> None:
    with killed_after(steps):
        assert main_train([*FLAGS, "--checkpoint_every", "1", "--output_dir", str(tmp_path)]) == 2
    assert main_train(["--resume", str(tmp_path)]) == 0
    assert_same(tmp_path, finished)


def test_it_is_measured_class_by_class_with_cameras_that_deviate(finished: Path, capsys) -> None:
    network, recipe = load_checkpoint(finished)
    assert (recipe.model, recipe.kind, recipe.input_shape) == ("gkt", "panorama", (4, 1, 12, 20))
    assert main(["segment", "evaluate", str(finished), "--deviation", "20", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    [batch] = load_data("grounds", batch_size=32, deviation=20.0).test
    with torch.no_grad():
        found = network(batch.inputs).argmax(1)
    shared, either = ((found & batch.labels).sum(), (found | batch.labels).sum())
    assert told["panoramas"] == 32
    assert told["classes"]["disc"]["iou"] == pytest.approx((shared / either).item())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "segment predict RUN x.png --out NEW",
            "reads panoramas, and convnn segment predict is for pictures and volumes",
        ),
        ("export RUN --out NEW", "reads panoramas, and --format onnx is for images"),
        ("segment train --model gkt --dataset shapes", "--model=gkt reads panoramas, but --dataset=shapes has"),
        (
            "segment train --model unet --dataset grounds",
            "--model=unet reads images, but --dataset=grounds has",
        ),
        ("segment train --model gkt --deviation -1", "--deviation=-1.0 must not be negative"),
        ("segment train --model gkt --dataset grounds --num_heads 3", "--num_heads=3 must divide"),
        ("segment train --deviation 1", "--deviation=1.0 is for grounds"),
        ("segment train --model gkt --layer ConvNN", "--layer='ConvNN' has no place in --model='gkt'; leave it out"),
    ],
    ids=range(8),
)
def test_what_does_not_fit(words: str, message: str, finished: Path, tmp_path: Path, capsys) -> None:
    places = {"RUN": str(finished), "NEW": str(tmp_path / "new")}
    given = [places.get(word, word) for word in words.split()]
    assert main([*given, *(["--output_dir", places["NEW"]] if "train" in given else [])]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_the_table_is_that_of_the_calibration() -> None:
    torch.manual_seed(0)
    network = create_model("gkt", in_channels=1, num_classes=2).double()
    images = torch.randn(2, 4, 1, 12, 20, dtype=torch.double)
    assert torch.equal(network(images, network.rig), network(images))
    turned = deviating(surround_rig(), 2, 10.0, torch.Generator().manual_seed(0))
    turned = turned._replace(intrinsics=turned.intrinsics.double(), extrinsics=turned.extrinsics.double())
    assert not torch.allclose(network(images, turned), network(images))


def test_the_picture_frames_the_windows_of_the_cell() -> None:
    torch.manual_seed(0)
    network = BirdsEyeNetwork()
    batch = next(iter(load_data("grounds", limit_test=1).test))
    figure = draw(network, batch.inputs[0], batch.labels[0], (3, 4))
    cameras, ground = figure.subfigs
    index = 3 * 12 + 4
    wanted = set(network.table.indices[0, index][~network.table.absent[0, index]].tolist())
    assert sum(len(panel.lines) for panel in cameras.axes) == len(wanted) > 0
    assert [panel.get_title(loc="left") for panel in ground.axes] == ["the ground", "found"]
    with pytest.raises(InputError, match=r"^cell=\(12, 0\) must be a row and a column of the 12 x 12 cells$"):
        draw(network, batch.inputs[0], batch.labels[0], (12, 0))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"^cameras=0 must be an integer of at least 1$"):
        surround_rig(0)
    with pytest.raises(InputError, match=r"^height=-1 must be a positive number$"):
        surround_rig(height=-1)
    with pytest.raises(InputError, match=r"^degrees=-1 must be at least 0$"):
        deviating(surround_rig(), 1, -1, torch.Generator())
    with pytest.raises(InputError, match=r"^num_heads=2 must divide d_hidden=9 times width=1.0, 9$"):
        BirdsEyeNetwork(d_hidden=9)
    with pytest.raises(InputError, match=r"^images of shape \(1, 3, 1, 12, 20\) must be \(B, 4, 1, 12, 20\)$"):
        BirdsEyeNetwork()(torch.zeros(1, 3, 1, 12, 20))
