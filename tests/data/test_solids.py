"""Points on solids: how far they are from the middle, which no rotation changes."""

import pytest
import torch

from convnn.data.solids import SOLIDS, make_solids
from convnn.errors import InputError

DISTANCES = {"sphere": (1, 1), "cube": (1, 3**0.5), "torus": (0.4, 1), "cylinder": (1, 2**0.5)}


def test_each_solid_is_a_surface() -> None:
    points, labels = make_solids(40, points=400, stretch=0, noise=0)
    length = points.norm(dim=2)
    for label, name in enumerate(SOLIDS):
        least, most = DISTANCES[name]
        of_class = length[labels == label]
        torch.testing.assert_close(
            torch.stack([of_class.min(), of_class.max()]), torch.tensor([float(least), most]), rtol=0, atol=0.02
        )
    cube = points[labels == 1][0]
    second = cube.T @ cube / 400
    torch.testing.assert_close(second, 5 / 9 * torch.eye(3), rtol=0, atol=0.08)  # (2 + 4 x 1/3) / 6 along each axis


def test_they_are_drawn_by_their_seed() -> None:
    first, again, other = make_solids(5, seed=1), make_solids(5, seed=1), make_solids(5, seed=2)
    assert torch.equal(first.points, again.points)
    assert torch.equal(first.labels, again.labels)
    assert not torch.equal(first.points, other.points)
    assert first.points.shape == (5, 256, 3)


@pytest.mark.parametrize(("name", "value"), [("number", 0), ("points", 0), ("stretch", 2.0), ("noise", -1.0)])
def test_bad_input_is_one_sentence(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name}={value} must"):
        make_solids(**{"number": 2} | {name: value})
