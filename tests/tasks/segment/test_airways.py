"""Airways that were found: the measures of trees, and the picture."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor, nn

from convnn.data import load_data
from convnn.data.airways import make_airways
from convnn.data.labelled_volumes import AIRWAY_COUNTS, Part, VolumeLoader
from convnn.errors import InputError
from convnn.tasks.segment.airways import PARTS, draw, evaluate_trees


@pytest.fixture(scope="module")
def loader() -> VolumeLoader:
    loader = load_data("airways", batch_size=3).test
    assert isinstance(loader, VolumeLoader)
    return loader


class Threshold(nn.Module):
    """Finds what is dark, by two logits."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, volumes: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(volumes), self.level - volumes], 1)


def test_measures_are_means_over_the_trees_of_what_is_found(loader: VolumeLoader) -> None:
    network, scores = Threshold(-0.6).train(), []
    for volume, true, branches in zip(*make_airways(AIRWAY_COUNTS["test"], seed=1), strict=True):
        parts, _ = ndimage.label(volume[0] < -0.6, np.ones((3, 3, 3)))
        found = torch.from_numpy(parts == np.bincount(parts[parts > 0]).argmax())
        overlap = (found & (true == 1)).sum().item()
        length = (found & (branches > 0)).sum() / (branches > 0).sum()
        sizes = found.sum().item(), true.sum().item()
        scores.append((2 * overlap / sum(sizes), length.item(), (sizes[0] - overlap) / sizes[1]))
    measured = evaluate_trees(network, loader)
    assert (measured.dice, measured.length, measured.leakage) == pytest.approx(tuple(np.mean(scores, 0)))
    assert network.training


def test_what_is_no_tree_has_no_measures(loader: VolumeLoader) -> None:
    part = Part(torch.zeros(1, 1, 4, 4, 4), torch.zeros(1, 4, 4, 4))
    with pytest.raises(InputError, match=r"^loader must have the branches of trees"):
        evaluate_trees(Threshold(0.0), VolumeLoader(part, loader._settings))


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


def test_bad_input_is_named() -> None:
    true = torch.zeros(12, 12, 12)
    with pytest.raises(InputError, match=r"^found=\{\} must have at least one mask$"):
        draw({}, true)
    with pytest.raises(InputError, match=r"^found\['a'\] of shape \(12, 12\) must be \(D, H, W\), \(12, 12, 12\)$"):
        draw({"a": true[0]}, true)
