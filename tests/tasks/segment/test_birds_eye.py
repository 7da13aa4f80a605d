"""Segmentation from above: what cameras see of generated scenes, training, and the picture."""

import pytest
import torch

from convnn.errors import InputError
from convnn.ops.projection import project
from convnn.tasks.segment.birds_eye import BirdsEyeNetwork, draw, evaluate, make_scenes, surround_rig, train


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


def test_it_learns_and_ends_the_same_for_the_same_seed() -> None:
    rig, losses = surround_rig(), []
    for _ in range(2):
        torch.manual_seed(0)
        network = BirdsEyeNetwork(kernel_size=(1, 1), cells=8)
        losses.append(train(network, rig, steps=40, batch_size=2))
    assert losses[0] == losses[1]
    assert sum(losses[0][-10:]) < 0.7 * sum(losses[0][:10])
    assert 0 <= evaluate(network, rig, scenes=2, deviation=4.0) <= 1


def test_the_picture_frames_the_windows_of_the_cell() -> None:
    torch.manual_seed(0)
    network, rig = BirdsEyeNetwork(), surround_rig()
    figure = draw(network, rig, (3, 4))
    cameras, ground = figure.subfigs
    index = 3 * 12 + 4
    table = network.attend.table(network.points, rig, (12, 20))
    wanted = set(table.indices[0, index][~table.absent[0, index]].tolist())
    assert sum(len(panel.lines) for panel in cameras.axes) == len(wanted) > 0
    assert [panel.get_title(loc="left") for panel in ground.axes] == ["the ground", "found"]


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"^cameras=0 must be an integer of at least 1$"):
        surround_rig(0)
    with pytest.raises(InputError, match=r"^height=-1 must be a positive number$"):
        surround_rig(height=-1)
    with pytest.raises(InputError, match=r"^degrees=-1 must be at least 0$"):
        evaluate(BirdsEyeNetwork(), surround_rig(), deviation=-1)
    with pytest.raises(InputError, match=r"^steps=0 must be an integer of at least 1$"):
        train(BirdsEyeNetwork(), surround_rig(), steps=0)
    with pytest.raises(InputError, match=r"^cell=\(12, 0\) must be a row and a column of the 12 x 12 cells$"):
        draw(BirdsEyeNetwork(), surround_rig(), (12, 0))
    with pytest.raises(InputError, match=r"^dim=9 must be a multiple of heads=2$"):
        BirdsEyeNetwork(dim=9)
