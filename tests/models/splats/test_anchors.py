"""Gaussians of voxels: against the definition slot by slot, and what gets a gradient."""

import math
import re

import pytest
import torch

from convnn.errors import InputError
from convnn.models.splats.anchors import neighbor_distance
from convnn.tasks.surface.splats import AnchorGaussians, FreeGaussians, voxel_anchors

POINTS = torch.rand(9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
CENTRE = torch.tensor([2.0, -1, 0.5], dtype=torch.float64)


def _model(**settings) -> AnchorGaussians:
    torch.manual_seed(1)
    model = AnchorGaussians(POINTS, channels=8, slots=3, **settings)
    for parameter in (model.features, model.offsets, model.log_scales):
        torch.nn.init.normal_(parameter, std=0.5)
    return model


@pytest.mark.parametrize("settings", [{}, {"bank": True, "distance": True}], ids=["plain", "bank"])
@torch.no_grad()
def test_slots_are_those_of_the_definition(settings: dict[str, bool]) -> None:
    model = _model(**settings)
    found = model(CENTRE)
    row = 0
    for v in range(9):
        length = (POINTS[v] - CENTRE).norm()
        direction = (POINTS[v] - CENTRE) / length
        feature = model.features[v]
        if settings:
            b = model.bank(torch.cat([direction, length[None]])).softmax(0)
            feature = torch.stack(
                [b[0] * feature[4 * (i % 2)] + b[1] * feature[2 * (i % 4)] + b[2] * feature[i] for i in range(8)]
            )
        read = torch.cat([feature, direction, *([length[None]] if settings else [])])
        for k in range(3):
            strength = model.opacity(read)[k].tanh()
            assert found.strengths[3 * v + k].item() == pytest.approx(strength.item(), rel=1e-12)
            assert found.shown[3 * v + k] == (strength > 0)
            if strength <= 0:
                continue
            shape, scale = model.shape(read)[7 * k : 7 * k + 7], model.log_scales[v].exp()
            mean = POINTS[v] + model.offsets[v, k] * scale[:3]
            torch.testing.assert_close(found.gaussians.means[row], mean)
            torch.testing.assert_close(found.gaussians.scales[row], scale[3:] * shape[:3].sigmoid())
            torch.testing.assert_close(found.gaussians.rotations[row], shape[3:] / shape[3:].norm())
            torch.testing.assert_close(found.colors[row], model.color(read)[3 * k : 3 * k + 3].sigmoid())
            row += 1
    assert 0 < row == len(found.colors) < 27


def test_slots_that_are_not_shown_get_no_gradient() -> None:
    model = _model()
    found = model(CENTRE)
    found.gaussians.means.sum().backward()
    reached = (model.offsets.grad != 0).any(-1).flatten()
    assert torch.equal(reached, found.shown)


def test_voxels_and_their_distances() -> None:
    points = torch.tensor([[0.25, 0, 0], [0.3, 0.1, 0], [-0.8, 1.5, 0], [0.75, 0, 0]], dtype=torch.float64)
    anchors = voxel_anchors(points, 0.5)  # halves go to the even side: 0.25 to 0, 0.75 to 1
    assert torch.allclose(anchors, torch.tensor([[-1, 1.5, 0], [0, 0, 0], [0.5, 0, 0], [1, 0, 0]]).double())
    far = [sorted((p - q).norm().item() for q in POINTS)[1:4] for p in POINTS]
    wanted = [math.sqrt(sum(d * d for d in row) / 3) for row in far]
    assert neighbor_distance(POINTS).tolist() == pytest.approx(wanted)
    start = AnchorGaussians(POINTS, channels=4, slots=2)
    assert start.log_scales[:, 5].exp().tolist() == pytest.approx(wanted)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match=r"^channels=6 must be divisible by 4 for a bank"):
        AnchorGaussians(POINTS, channels=6, bank=True)
    with pytest.raises(InputError, match=r"^slots=0 must be an integer of at least 1$"):
        AnchorGaussians(POINTS, slots=0)
    with pytest.raises(InputError, match=r"^side=0 must be a positive number$"):
        voxel_anchors(POINTS, 0)
    with pytest.raises(InputError, match=re.escape("points of shape (0, 3) must be (N, 3), at least one, and finite")):
        voxel_anchors(POINTS[:0], 1.0)
    with pytest.raises(InputError, match=re.escape("points of shape (3, 3) must be at least 4")):
        AnchorGaussians(POINTS[:3])
    with pytest.raises(InputError, match=r"^opacity=1 must be between 0 and 1$"):
        FreeGaussians(POINTS, opacity=1)
    with pytest.raises(InputError, match=re.escape("centre of shape (4,) must be (3,)")):
        _model()(torch.zeros(4))
