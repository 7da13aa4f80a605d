"""Segmentation of airways: training, what is found, and the picture."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convnn.data.airways import AirwayTrees, make_airways
from convnn.errors import InputError
from convnn.tasks.segment.airways import PARTS, draw, evaluate, find, train


@pytest.fixture(scope="module")
def trees() -> AirwayTrees:
    return make_airways(4, side=12, generations=2, noise=0.1, seed=2)


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 1, 3, padding=1))


def test_it_learns_and_ends_the_same_for_the_same_seed(trees: AirwayTrees) -> None:
    networks = [make_network() for _ in range(2)]
    losses = [train(one, trees, steps=60, lr=2e-2) for one in networks]
    assert losses[0] == losses[1]
    assert losses[0][-1] < 0.5 * losses[0][0]
    before, after = evaluate(make_network(), trees), evaluate(networks[0], trees)
    assert after.dice > before.dice + 0.2
    assert not torch.equal(find(networks[0], trees.volumes), find(make_network(), trees.volumes))


def test_found_is_where_logits_are_positive(trees: AirwayTrees) -> None:
    network = make_network().train()
    found = find(network, trees.volumes)
    assert network.training
    assert torch.equal(found, network(trees.volumes)[:, 0] > 0)
    perfect = nn.Module()
    perfect.forward = lambda volumes: (volumes.abs() > 0.0).double()
    exact = AirwayTrees(trees.masks.float().unsqueeze(1), trees.masks, trees.branches)
    assert evaluate(perfect, exact) == (1, 1, 1, 0)


def color_at(picture: np.ndarray, row: int, column: int) -> str:
    """The part whose colour a voxel of a picture has, whatever the light."""
    from matplotlib.colors import to_rgb

    seen = picture[8 * row + 4, 8 * column + 4]
    if seen.min() == 1:
        return "nothing"
    ways = {name: np.array(to_rgb(color)) for name, color in PARTS.items()}
    return min(ways, key=lambda name: np.linalg.norm(ways[name] / ways[name].sum() - seen / seen.sum()))


def block(*spans: slice) -> Tensor:
    mask = torch.zeros(10, 8, 9, dtype=torch.bool)
    mask[spans] = True
    return mask


def test_the_picture_shows_what_is_true_false_and_missing() -> None:
    true = block(slice(1, 9), slice(2, 6), slice(1, 5))
    found = block(slice(5, 9), slice(2, 6), slice(1, 5)) | block(slice(1, 4), slice(0, 3), slice(6, 8))
    figure = draw({"ours": found}, true, true.float())
    volume, tree, ours = figure.axes
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["the volume", "the tree", "ours"]
    np.testing.assert_array_equal(volume.images[0].get_array(), true[:, 2:5].float().mean(1))
    picture = ours.images[0].get_array()
    assert picture.shape == (80, 72, 3)
    assert [color_at(picture, *place) for place in ((7, 2), (2, 7), (2, 2), (7, 7))] == [
        "found",
        "false",
        "missing",
        "nothing",
    ]
    assert color_at(tree.images[0].get_array(), 2, 2) == "found"


def test_nothing_found_is_all_missing() -> None:
    true = block(slice(1, 9), slice(2, 6), slice(1, 5))
    figure = draw({"none": torch.zeros_like(true)}, true)
    assert color_at(figure.axes[1].images[0].get_array(), 4, 2) == "missing"


def test_bad_input_is_named(trees: AirwayTrees) -> None:
    true = trees.masks[0]
    with pytest.raises(InputError, match=r"^steps=0 must be an integer of at least 1$"):
        train(make_network(), trees, steps=0)
    with pytest.raises(InputError, match=r"^batch_size=0 must be an integer of at least 1$"):
        train(make_network(), trees, steps=1, batch_size=0)
    with pytest.raises(InputError, match=r"^lr=0 must be a positive number$"):
        train(make_network(), trees, steps=1, lr=0)
    with pytest.raises(InputError, match=r"^found=\{\} must have at least one mask$"):
        draw({}, true)
    with pytest.raises(InputError, match=r"^found\['a'\] of shape \(12, 12\) must be \(D, H, W\), \(12, 12, 12\)$"):
        draw({"a": true[0]}, true)
