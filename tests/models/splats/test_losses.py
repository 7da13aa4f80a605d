"""Losses of renderings: against scipy's filters, planes whose normals are known, loops, and differences."""

import re

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from convnn.errors import InputError
from convnn.models.splats.losses import depth_normals, edge_weights, splat_loss, structural_similarity
from convnn.ops.projection import look_at, pinhole
from convnn.ops.splatting import Splats

POSE = look_at(torch.tensor([[2.0, 1, 0.5]]).double(), torch.zeros(3).double(), torch.tensor([0, 0, 1.0]).double())
RIG = pinhole(POSE, 9.0, (6, 7))


def _draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_similarity_is_that_of_gaussian_moments() -> None:
    x, y = _draw(1, 2, 13, 9), _draw(1, 2, 13, 9, seed=1)
    blur = lambda z: gaussian_filter(z, 1.5, radius=5, mode="constant")  # noqa: E731
    values = []
    for a, b in zip(x[0].numpy(), y[0].numpy(), strict=True):
        ma, mb = blur(a), blur(b)
        va, vb, vab = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
        values.append((2 * ma * mb + 1e-4) * (2 * vab + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4)))
    assert structural_similarity(x, y).item() == pytest.approx(np.mean(values), rel=1e-9)
    assert structural_similarity(x, x).item() == pytest.approx(1)


def test_depths_of_a_plane_have_its_normal() -> None:
    """A plane at distance 1.5 from the camera: the depth of each ray is where it meets the plane."""
    normal = torch.nn.functional.normalize(torch.tensor([0.8, 0.5, 0.4], dtype=torch.float64), dim=0)
    turn = POSE[0, :3, :3]
    y, x = torch.meshgrid(torch.arange(6) + 0.5, torch.arange(7) + 0.5, indexing="ij")
    rays = torch.stack([(x - 3.5) / 9, (y - 3) / 9, torch.ones(6, 7)], -1).double()
    depths = -1.5 / (rays @ (turn @ normal))
    found = depth_normals(depths[None], RIG)[0]
    torch.testing.assert_close(found[:, 1:-1, 1:-1], normal[:, None, None].expand(3, 4, 5))
    assert found[:, 0].abs().sum() == found[:, :, -1].abs().sum() == 0


def test_edges_weigh_less() -> None:
    images = _draw(2, 3, 5, 4)
    found = edge_weights(images)
    for n, row, column in np.ndindex(2, 5, 4):
        around = [(row + a, column + b) for a, b in ((-1, 0), (1, 0), (0, -1), (0, 1))]
        inside = 0 < row < 4 and 0 < column < 3
        changes = [(images[n, :, row, column] - images[n, :, r, c]).abs().mean().item() for r, c in around if inside]
        assert found[n, row, column].item() == pytest.approx(np.exp(-max(changes)) if inside else 0)


def _seen(*parts: torch.Tensor) -> Splats:
    return Splats(parts[0], parts[1], parts[2], torch.ones(1, 6, 7).double(), parts[3])


def test_gradients_and_parts_that_are_left_out() -> None:
    parts = [_draw(1, 3, 6, 7), _draw(1, 3, 6, 7, seed=1) - 0.5, 1 + _draw(1, 6, 7), _draw(1, 6, 7), _draw(4, 3)]
    images = _draw(1, 3, 6, 7, seed=2)
    leaves = [part.requires_grad_() for part in parts]
    total = lambda *p: splat_loss(_seen(*p), images, p[4], RIG).total  # noqa: E731
    assert torch.autograd.gradcheck(total, leaves, fast_mode=True)
    early = splat_loss(_seen(*parts), images, parts[4], RIG, distortion=0, normals=0, volume=0, dissimilarity=0)
    assert early.total.item() == early.distance.item() == (parts[0] - images).abs().mean().item()
    assert early.distortion == early.normals == early.volume == 0


def test_other_sizes_are_refused() -> None:
    seen = _seen(_draw(1, 3, 6, 7), _draw(1, 3, 6, 7), _draw(1, 6, 7), _draw(1, 6, 7))
    with pytest.raises(InputError, match=re.escape("depths of shape (1, 7, 6) must be (1, 6, 7)")):
        depth_normals(torch.ones(1, 7, 6), RIG)
    with pytest.raises(InputError, match=re.escape("must both be (n, C, H, W)")):
        structural_similarity(torch.ones(3, 7, 6), torch.ones(3, 7, 6))
    with pytest.raises(InputError, match=re.escape("images of shape (1, 3, 7, 6) must be (1, 3, 6, 7)")):
        splat_loss(seen, torch.ones(1, 3, 7, 6), torch.ones(1, 3), RIG)
