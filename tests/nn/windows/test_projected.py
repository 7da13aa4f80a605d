"""Attention to projected windows: against PyTorch's attention on gathered windows, identities, what it refuses."""

import re
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.nn import ProjectedAttention2d, WindowCrossAttention
from convnn.ops import Neighbors
from convnn.ops.projection import Rig, ground_points
from convnn.ops.surround import surround_rig


def _given(batch: int = 2, cameras: int = 4, channels: int = 3, size: tuple[int, int] = (4, 3)) -> dict[str, Any]:
    torch.manual_seed(0)
    return {
        "x": torch.randn(batch, 8, *size),
        "features": torch.randn(batch, cameras, channels, 6, 10),
        "rig": surround_rig(cameras),
        "points": ground_points(size, (12.0, 12.0)),
    }


def test_attention_is_that_of_pytorch_on_gathered_windows() -> None:
    torch.manual_seed(0)
    batch, n, cells, T, k, heads, width = 2, 3, 5, 7, 4, 2, 3
    layer = WindowCrossAttention(6, heads, width).double()
    given = [torch.randn(batch, n, size, 6, dtype=torch.double, requires_grad=True) for size in (cells, T, T)]
    local = torch.randint(T, (batch, cells, n, k))
    absent = (torch.rand(batch, cells, n, 1) < 0.5).expand(-1, -1, -1, k)
    absent = absent.clone()
    absent[0, 0] = True  # a cell that no camera sees
    table = Neighbors((local + T * torch.arange(n).view(-1, 1)).flatten(2), absent=absent.flatten(2))

    def dense() -> torch.Tensor:
        q, key, v = (f(x).unflatten(3, (heads, width)) for f, x in zip(_parts(layer), given, strict=True))
        out = torch.zeros(batch, cells, heads, width, dtype=torch.double)
        for b in range(batch):
            for i in range(cells):
                for h in range(heads):
                    # A query for each camera: blocks of one long query, of which each key meets its own.
                    query = q[b, :, i, h].reshape(1, -1) * (not absent[b, i].all())  # unseen: all scores equal
                    keys = torch.cat(
                        [F.pad(key[b, j, local[b, i, j], h], (j * width, (n - 1 - j) * width)) for j in range(n)]
                    )
                    values = torch.cat([v[b, j, local[b, i, j], h] for j in range(n)])
                    mask = torch.where(absent[b, i].reshape(1, -1), -1e9, 0.0).double()
                    out[b, i, h] = F.scaled_dot_product_attention(query, keys, values, mask, scale=width**-0.5)[0]
        return layer.output(out.flatten(2))

    found, wanted = layer(*given, table), dense()
    torch.testing.assert_close(found, wanted)
    upstream = torch.randn_like(found)
    leaves = [*given, *layer.parameters()]
    ours = torch.autograd.grad(found, leaves, upstream)
    theirs = torch.autograd.grad(wanted, leaves, upstream)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-7)


def _parts(layer: WindowCrossAttention) -> tuple[Any, Any, Any]:
    return layer.query, layer.key, layer.value


@pytest.mark.parametrize(("channels", "count"), [(32, 150_176), (112, 251_696)])
def test_the_number_of_parameters_is_the_published(channels: int, count: int) -> None:
    layer = ProjectedAttention2d(128, channels, kernel_conv=(1, 7))
    assert sum(one.numel() for one in layer.parameters()) == count


@pytest.mark.parametrize("kernel_conv", [None, (1, 7)])
def test_a_look_up_table_changes_nothing(kernel_conv: tuple[int, int] | None) -> None:
    given = _given()
    layer = ProjectedAttention2d(8, 3, heads=2, dim_head=4, kernel_conv=kernel_conv)
    table = layer.table(given["points"], given["rig"], (6, 10))
    assert torch.equal(layer(**given), layer(**given, table=table))


def test_rigs_of_samples_are_their_own() -> None:
    given = _given()
    layer = ProjectedAttention2d(8, 3, kernel_size=(3, 3), heads=2, dim_head=4)
    first, second = given["rig"], surround_rig(4, height=1.0, pitch=10.0)
    both = Rig(*(torch.cat([a, b]) for a, b in zip(first[:2], second[:2], strict=True)), first.image_size)
    together = layer(**given | {"rig": both})
    for i, rig in enumerate((first, second)):
        alone = layer(given["x"][i : i + 1], given["features"][i : i + 1], rig, given["points"])
        torch.testing.assert_close(together[i : i + 1], alone)
    assert not torch.allclose(together[1], layer(**given)[1])


def test_one_camera_and_one_position_leave_no_choice() -> None:
    given = _given(cameras=1)
    layer = ProjectedAttention2d(8, 3, kernel_size=(1, 1), heads=2, dim_head=4)
    layer(**given).square().sum().backward()
    for part in (layer.attention.query, layer.attention.key, layer.key, layer.ray):
        assert all(one.grad is None or one.grad.abs().max() < 1e-6 for one in part.parameters())


def test_without_image_features_keys_are_the_rays_alone() -> None:
    layer = ProjectedAttention2d(8, 3, heads=2, dim_head=4, image_features=False, skip=False)
    given = _given()
    assert layer.key is None
    assert layer(**given).shape == (2, 8, 4, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.ones(2, 7, 4, 3)}, "x of shape (2, 7, 4, 3) must be (B, 8, H, W)"),
        ({"features": torch.ones(2, 4, 2, 6, 10)}, "features of shape (2, 4, 2, 6, 10) must be (2, cameras, 3, h, w)"),
        ({"features": torch.ones(2, 3, 3, 6, 10)}, "must be of the 3 cameras of features"),
        ({"features": torch.ones(2, 4, 3, 1, 10)}, "map_size=(1, 10) must be at least (2, 2)"),
        ({"points": torch.ones(3, 4, 4)}, "points of shape (3, 4, 4) must be (3, 4, 3) as x is"),
        ({"rig": surround_rig(4)._replace(intrinsics=torch.zeros(1, 4, 3, 3))}, "must be a finite matrix that has an"),
        ({"table": Neighbors(torch.zeros(2, 12, 5, dtype=torch.long))}, "table.indices of shape (2, 12, 5) must be"),
    ],
    ids=range(7),
)
def test_bad_input_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        ProjectedAttention2d(8, 3, heads=2, dim_head=4)(**_given() | change)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": (0, 1)}, "kernel_size[0]=0 must be an integer of at least 1"),
        ({"kernel_conv": (2, 3)}, "kernel_conv=(2, 3) must be odd along both axes, so that the map stays"),
        ({"heads": 0}, "heads=0 must be an integer of at least 1"),
    ],
    ids=range(3),
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        ProjectedAttention2d(8, 3, **settings)
