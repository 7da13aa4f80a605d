"""Skeletons made on the spot: shapes, labels, and what tells the classes apart."""

import pytest
import torch
from torch import Tensor

from convnn.data.skeletons import BODY_BONES, BODY_JOINTS, make_limbs, make_points
from convnn.errors import InputError


@pytest.mark.parametrize(("make", "shape"), [(make_points, (4, 5, 6)), (make_limbs, (2, 5, 14))])
def test_they_depend_on_their_arguments_alone(make, shape: tuple[int, ...]) -> None:
    values, labels = make(40, frames=5, seed=3)
    assert values.shape == (40, *shape)
    assert values.dtype == torch.float32
    assert labels.unique().tolist() == [0, 1]
    torch.rand(1)
    assert torch.equal(make(40, frames=5, seed=3).values, values)
    assert not torch.equal(make(40, frames=5, seed=4).values, values)
    with pytest.raises(InputError, match=r"^number=0 must be an integer of at least 1$"):
        make(0)
    with pytest.raises(InputError, match=r"^frames=0 must be an integer of at least 1$"):
        make(1, frames=0)


def test_a_point_keeps_its_sign_or_flips_it_wherever_it_stands() -> None:
    values, labels = make_points(60, noise=0.0)
    first = values[..., :1, :]  # of which every later frame is another order
    same = torch.cdist(values[:, :3].permute(0, 2, 3, 1), first[:, :3].permute(0, 2, 3, 1)).argmin(3)
    turned = values[:, 3] * first[:, 3, 0].unsqueeze(1).expand(-1, 8, -1).gather(2, same)
    flips = 1 - 2 * labels.view(-1, 1) * (torch.arange(8) % 2)
    assert torch.equal(turned, flips.unsqueeze(2).expand(-1, -1, 6).float())
    assert not torch.equal(same, torch.arange(6).expand(60, 8, 6))
    assert torch.equal(values[:, :3].sum((2, 3)).std(0) < 1e-4, torch.ones(3, dtype=torch.bool))


def angles(values: Tensor, outer: int, inner: int) -> Tensor:
    """Return the angle of a bone in every frame, less its mean."""
    x, y = (values[:, :, :, outer] - values[:, :, :, inner]).unbind(1)
    angle = torch.atan2(x.abs(), -y)
    return angle - angle.mean(1, keepdim=True)


def test_bones_keep_their_lengths_and_arms_swing_together_or_against_each_other() -> None:
    values, labels = make_limbs(60, frames=200, noise=0.0)
    ends, starts = zip(*BODY_BONES, strict=True)
    assert sorted(ends) == list(range(1, BODY_JOINTS))
    lengths = (values[..., list(ends)] - values[..., list(starts)]).norm(dim=1)
    torch.testing.assert_close(lengths, lengths[:1, :1].expand_as(lengths), rtol=0, atol=1e-5)
    left, right = angles(values, 2, 1), angles(values, 5, 1)
    together = (left * right).mean(1) > 0
    assert torch.equal(together, labels == 0)
