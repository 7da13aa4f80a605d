"""Graph layers on the voxels around: as convolutions, on matrices, and by what is refused."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.nn import GraphOnGrid1d, GraphOnGrid2d, GraphOnGrid3d, GraphOnMap3d
from convnn.nn.graphs import GraphConvNN

pytest.importorskip("torch_geometric")
SIZE = (3, 4, 5)


def rows(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def sage(in_channels: int, out_channels: int) -> nn.Module:
    from convnn.nn.graphs import SAGE

    return SAGE(in_channels, out_channels).double()


def gradients(out: Tensor, x: Tensor, conv: nn.Module) -> tuple[Tensor, ...]:
    return torch.autograd.grad((out * rows(*out.shape, seed=9)).sum(), [x, *conv.parameters()])


def test_the_periodic_graph_is_a_circular_convolution() -> None:
    conv, x = sage(4, 6), rows(2, 4, *SIZE).requires_grad_()
    taps = (conv.lin_l.weight / 27)[..., None, None, None].expand(-1, -1, 3, 3, 3)
    centre = torch.zeros(3, 3, 3, dtype=torch.double)
    centre[1, 1, 1] = 1
    kernel = taps + conv.lin_r.weight[..., None, None, None] * centre
    wanted = F.conv3d(F.pad(x, [1] * 6, mode="circular"), kernel, conv.lin_l.bias)
    found = GraphOnGrid3d(conv, periodic=True)(x)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradients(found, x, conv), gradients(wanted, x, conv))


@pytest.mark.parametrize(("reach", "faces"), [(1, False), (2, False), (1, True)])
def test_the_clipped_graph_is_a_mean_of_the_box(reach: int, faces: bool) -> None:
    conv, x = sage(4, 6), rows(2, 4, *SIZE).requires_grad_()
    side = torch.arange(2 * reach + 1) - reach
    away = torch.stack(torch.meshgrid(side, side, side, indexing="ij")).ne(0).sum(0)
    box = (away <= (1 if faces else 3)).double()[None, None]
    sums = F.conv3d(x.flatten(0, 1).unsqueeze(1), box, padding=reach).view(x.shape)
    mean = sums / F.conv3d(torch.ones_like(x[:1, :1]), box, padding=reach)
    channels_last = torch.einsum("bcdhw,oc->bodhw", mean, conv.lin_l.weight)
    wanted = channels_last + torch.einsum("bcdhw,oc->bodhw", x, conv.lin_r.weight)
    wanted = wanted + conv.lin_l.bias.view(-1, 1, 1, 1)
    found = GraphOnGrid3d(conv, reach=reach, faces=faces)(x)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(gradients(found, x, conv), gradients(wanted, x, conv))


def test_with_everybody_around_the_search_is_that_of_the_map() -> None:
    conv, x = sage(4, 6), rows(2, 4, *SIZE)
    near, everywhere = GraphOnGrid3d(conv, reach=4, K=7), GraphOnMap3d(conv, K=7, metric="euclidean")
    torch.testing.assert_close(near(x), everywhere(x))
    assert torch.equal(near.neighbors(x).indices, everywhere.neighbors(x).indices)
    assert not torch.equal(GraphOnGrid3d(conv, reach=1, K=7)(x), near(x))


def test_other_numbers_of_axes_and_single_maps() -> None:
    for wrapper, size in ((GraphOnGrid1d, (7,)), (GraphOnGrid2d, (1, 4)), (GraphOnGrid3d, (1, 1, 1))):
        layer, x = wrapper(GraphConvNN(4, 5, K=27)).double(), rows(2, 4, *size)
        torch.testing.assert_close(layer(x)[1], layer(x[1]))
        assert layer(x).shape == (2, 5, *size)
    window, x = GraphConvNN(2, 3, K=9).double(), rows(1, 2, 5, 6)
    inside = F.conv2d(x, window.weight.unflatten(2, (3, 3)), window.bias)  # the slots are places
    torch.testing.assert_close(GraphOnGrid2d(window)(x)[..., 1:-1, 1:-1], inside)


def test_it_prints_what_differs() -> None:
    layer = GraphOnGrid3d(GraphConvNN(2, 3), reach=2, K=5, metric="cosine")
    assert layer.extra_repr() == "2, 3, reach=2, K=5, metric='cosine'"
    assert GraphOnGrid3d(GraphConvNN(2, 3)).extra_repr() == "2, 3"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"reach": 0}, "^reach=0 must be an integer of at least 1$"),
        ({"K": 0}, "^K=0 must be an integer of at least 1$"),
        ({"K": 3, "periodic": True}, "^K=3 must be -1 with periodic=True"),
        ({"metric": "l1"}, "^metric='l1' is not one of"),
        ({"backend": "gpu"}, "backend='gpu'"),
        ({"k": 3}, "^GraphOnGrid3d has no setting k=3; write K=3$"),
    ],
)
def test_bad_settings_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GraphOnGrid3d(GraphConvNN(2, 3), **settings)


def test_bad_layers_and_volumes_are_named() -> None:
    with pytest.raises(InputError, match=r"^in_channels=None must be given for Identity, which does not tell it$"):
        GraphOnGrid3d(nn.Identity())
    cached = GraphConvNN(2, 3)
    cached.cached = True
    with pytest.raises(InputError, match=r"^cached=True of GraphConvNN must be False"):
        GraphOnGrid3d(cached)
    with pytest.raises(InputError, match=r"^K=9 must lie between 1 and 8, the positions of the shortest list"):
        GraphOnGrid3d(GraphConvNN(2, 3), K=9)(torch.ones(1, 2, 3, 3, 3))
    with pytest.raises(InputError, match=r"^input of shape \(1, 3, 3, 3, 3\) must be \(B, 2, D, H, W\)"):
        GraphOnGrid3d(GraphConvNN(2, 3))(torch.ones(1, 3, 3, 3, 3))
