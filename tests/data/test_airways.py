"""Airways made on the spot: one tree each, its centrelines inside, dark where it is, and dark spots elsewhere."""

import pytest
import torch
from scipy import ndimage

from convnn.data.airways import AirwayTrees, make_airways
from convnn.errors import InputError


@pytest.fixture(scope="module")
def trees() -> AirwayTrees:
    return make_airways(6, noise=0.0, seed=3)


def test_each_depends_on_the_seed_and_its_number_alone(trees: AirwayTrees) -> None:
    again = make_airways(2, noise=0.0, seed=3)
    assert all(torch.equal(one[:2], other) for one, other in zip(trees, again, strict=True))
    assert not torch.equal(make_airways(2, noise=0.0, seed=4).masks, again.masks)
    assert [one.dtype for one in trees] == [torch.float32, torch.int64, torch.int64]
    assert [one.shape for one in trees] == [(6, 1, 24, 24, 24), (6, 24, 24, 24), (6, 24, 24, 24)]


def test_a_tree_hangs_together_from_the_top_and_has_its_centrelines_inside(trees: AirwayTrees) -> None:
    for mask, branches in zip(trees.masks, trees.branches, strict=True):
        assert ndimage.label(mask.numpy())[1] == 1
        assert mask[0].any()
        assert (mask[branches > 0] == 1).all()
        assert branches.unique().tolist() == list(range(8))  # three generations of 1, 2 and 4
        line = (branches == 1).nonzero()
        assert line[0, 0] == 0
        assert line[:, 1:].unique(dim=0).shape[0] == 1  # the root leads straight down


def test_radii_fall_from_generation_to_generation(trees: AirwayTrees) -> None:
    depth = [torch.from_numpy(ndimage.distance_transform_edt(one)) for one in trees.masks.numpy()]
    mean = lambda low, high: torch.cat(  # noqa: E731
        [d[(b >= low) & (b <= high)] for d, b in zip(depth, trees.branches, strict=True)]
    ).mean()
    assert mean(1, 1) > mean(4, 7) + 0.5


def test_volumes_are_dark_inside_and_in_spots_outside(trees: AirwayTrees) -> None:
    values, is_tree = trees.volumes[:, 0], trees.masks > 0
    assert values[is_tree].mean() < -0.6
    assert -0.1 < values[~is_tree].mean() < 0
    near = torch.from_numpy(
        ndimage.binary_dilation(is_tree.numpy(), iterations=3, structure=ndimage.generate_binary_structure(4, 1))
    )
    assert (values[~near] < -0.5).any()
    assert (make_airways(6, noise=0.0, seed=3, spots=0).volumes[:, 0][~near] == 0).all()


def test_noise_has_its_deviation() -> None:
    plain, noisy = (make_airways(1, noise=noise, seed=5).volumes for noise in (0.0, 0.5))
    assert (noisy - plain).std().item() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"number": 0}, "^number=0 must be an integer of at least 1$"),
        ({"side": 7}, "^side=7 must be an integer of at least 8$"),
        ({"generations": 0}, "^generations=0 must be an integer of at least 1$"),
        ({"spots": -1}, "^spots=-1 must be an integer of at least 0$"),
        ({"noise": -0.1}, "^noise=-0.1 must be at least 0$"),
    ],
)
def test_bad_numbers_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_airways(**{"number": 1} | settings)
