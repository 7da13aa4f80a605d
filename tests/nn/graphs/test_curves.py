"""Curves of skeletons against loops, plain temporal convolution and SciPy; dilated kernels against networkx."""

import networkx
import pytest
import torch
from scipy.spatial import cKDTree
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.data.skeletons import make_points
from convnn.errors import InputError
from convnn.nn import graphs
from convnn.nn.graphs.temporal.joints import NTU_BONES, NTU_JOINTS

TREE = ((1, 0), (2, 1), (3, 1), (4, 3), (5, 0), (6, 5))
"""Bones of seven joints."""


def values(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def far_apart(frames: int) -> tuple[Tensor, Tensor]:
    """Return values (2, 3, T, 5) of joints that hardly move, and the same in another order in every frame."""
    generator = torch.Generator().manual_seed(2)
    x = 100.0 * torch.randn(2, 3, 1, 5, generator=generator, dtype=torch.double) + values(2, 3, frames, 5)
    return x, torch.rand(2, 1, frames, 5, generator=generator).argsort(3)


def along_in_loops(x: Tensor, b: int, t: int, v: int, step: int, count: int) -> list[tuple[int, int]]:
    """Return frame and joint of the curve after 1 to `count` steps one way, as far as there are frames."""
    found = []
    while len(found) < count and 0 <= t + step < x.shape[2]:
        distances = [(x[b, :, t, v] - x[b, :, t + step, u]).square().sum().item() for u in range(x.shape[3])]
        t, v = t + step, distances.index(min(distances))
        found.append((t, v))
    return found


def curve_in_loops(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    half, out = weight.shape[2] // 2, []
    for b in range(x.shape[0]):
        for t in range(x.shape[2]):
            for v in range(x.shape[3]):
                y = bias + weight[:, :, half, 0] @ x[b, :, t, v]
                for step in (1, -1):
                    for i, (frame, joint) in enumerate(along_in_loops(x, b, t, v, step, half), 1):
                        y = y + weight[:, :, half + step * i, 0] @ x[b, :, frame, joint]
                out.append(y)
    return torch.stack(out).unflatten(0, (x.shape[0], x.shape[2], x.shape[3])).movedim(3, 1)


def conv(kernel_size: int = 3, **settings) -> nn.Module:
    torch.manual_seed(0)
    return graphs.CurveConv(3, 4, kernel_size, **settings).double()


def test_links_are_those_of_scipy() -> None:
    x = values(2, 3, 4, 6)
    ahead, behind = graphs.temporal_links(x)
    frames = x.movedim(1, -1).numpy()
    for b in range(2):
        for t in range(3):
            one, other = frames[b, t], frames[b, t + 1]
            assert ahead[b, t].tolist() == cKDTree(other).query(one)[1].tolist()
            assert behind[b, t].tolist() == cKDTree(one).query(other)[1].tolist()


def test_of_equal_distances_the_lowest_joint_is_chosen() -> None:
    ahead, behind = graphs.temporal_links(torch.zeros(1, 2, 3, 4))
    assert torch.equal(ahead, torch.zeros(1, 2, 4, dtype=torch.long))
    assert torch.equal(behind, ahead)


@pytest.mark.parametrize(("kernel_size", "frames"), [(3, 4), (5, 4), (7, 3), (5, 1), (1, 3)])
def test_ours_is_the_definition_in_loops(kernel_size: int, frames: int) -> None:
    ours, x = conv(kernel_size), values(2, 3, frames, 5).requires_grad_()
    leaves = [x, ours.weight, ours.bias]
    outs = ours(x), curve_in_loops(x, ours.weight, ours.bias)
    torch.testing.assert_close(*outs, rtol=0, atol=1e-14)
    grads = [torch.autograd.grad(out, leaves, values(2, 4, frames, 5)) for out in outs]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)
    unused = [k for k in range(kernel_size) if abs(k - kernel_size // 2) >= frames]
    assert torch.equal(grads[0][1][:, :, unused], torch.zeros(4, 3, len(unused), 1, dtype=torch.double))


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_joints_that_stay_near_give_a_plain_temporal_convolution(kernel_size: int) -> None:
    ours, (x, order) = conv(kernel_size), far_apart(6)
    ahead, behind = graphs.temporal_links(x)
    assert torch.equal(ahead, torch.arange(5).expand(2, 5, 5))
    assert torch.equal(behind, ahead)
    plain = F.conv2d(x, ours.weight, ours.bias, padding=(kernel_size // 2, 0))
    torch.testing.assert_close(ours(x), plain, rtol=0, atol=1e-12)
    shuffled = ours(x.gather(3, order.expand_as(x)))
    torch.testing.assert_close(shuffled, plain.gather(3, order.expand_as(plain)), rtol=0, atol=1e-12)


def test_it_starts_as_a_convolution_of_torch_and_may_have_no_bias() -> None:
    ours, theirs = (make for make in (graphs.CurveConv(300, 4, 3), nn.Conv2d(300, 4, (3, 1))))
    assert ours.weight.shape == theirs.weight.shape
    assert sum(p.numel() for p in ours.parameters()) == 3 * 300 * 4 + 4
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert one.abs().max() <= 1 / 30
        assert abs(one.std() - other.std()) < 0.02
    without = conv(bias=False)
    assert without.bias is None
    assert torch.equal(without(torch.zeros(1, 3, 2, 2).double()), torch.zeros(1, 4, 2, 2).double())


def test_it_trains() -> None:
    torch.manual_seed(0)
    x, labels = make_points(100)
    ours, head = graphs.CurveConv(4, 16, 3), nn.Linear(16, 2)
    optimizer = torch.optim.Adam([*ours.parameters(), *head.parameters()], 0.02)
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(head(ours(x).relu().mean((2, 3))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5


# Dilated kernels


def dilated_in_loops(adjacency: Tensor, dilation: int, window: bool) -> Tensor:
    """Return which joints are so far away, by networkx, in each subset that is not the identity."""
    out = torch.zeros_like(adjacency)
    for s, subset in enumerate(adjacency):
        if torch.equal(subset, torch.eye(len(subset), dtype=subset.dtype)):
            out[s] = subset
            continue
        graph = networkx.DiGraph(subset.T.numpy())  # from joint j to joint i
        for j, distances in networkx.all_pairs_shortest_path_length(graph):
            for i, distance in distances.items():
                out[s, i, j] = float(1 <= distance <= dilation if window else distance == dilation)
    return out


def conv_in_loops(ours: nn.Module, x: Tensor, reached: Tensor) -> Tensor:
    rows = []
    for i in range(x.shape[3]):
        y = torch.zeros(x.shape[0], ours.out_channels, x.shape[2], dtype=x.dtype)
        for s in range(reached.shape[0]):
            for j in range(x.shape[3]):
                if reached[s, i, j]:
                    mapped = torch.einsum("oc,bct->bot", ours.weight[s], x[..., j]) + ours.bias[s].view(-1, 1)
                    y = y + mapped / reached[s, :, j].sum()
        rows.append(y)
    return torch.stack(rows, 3)


CYCLE = torch.stack(
    [torch.eye(5), torch.zeros(5, 5).index_put((torch.tensor([1, 2, 0]), torch.arange(3)), torch.ones(3))]
)
SKELETONS = {"tree": graphs.skeleton_subsets(TREE, 7).double(), "cycle and isolated": CYCLE.double()}


@pytest.mark.parametrize("window", [False, True])
@pytest.mark.parametrize("dilation", [1, 2, 3, 9])
@pytest.mark.parametrize("name", SKELETONS)
def test_dilated_is_what_networkx_says(name: str, dilation: int, window: bool) -> None:
    adjacency = SKELETONS[name]
    expected = dilated_in_loops(adjacency, dilation, window)
    assert torch.equal(graphs.dilate_adjacency(adjacency, dilation, window=window), expected)
    torch.manual_seed(0)
    ours = graphs.DilatedGraphConv(3, 2, adjacency.shape[0]).double()
    x = values(2, 3, 2, adjacency.shape[1]).requires_grad_()
    leaves = [x, ours.weight, ours.bias]
    outs = ours(x, adjacency, dilation, window=window), conv_in_loops(ours, x, expected)
    torch.testing.assert_close(*outs, rtol=0, atol=1e-14)
    grads = [torch.autograd.grad(out, leaves, values(*out.shape)) for out in outs]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


def test_dilation_1_is_the_ordinary_convolution_of_skeletons() -> None:
    adjacency, ours = SKELETONS["tree"], graphs.DilatedGraphConv(3, 2).double()
    x = values(2, 3, 4, 7)
    total = adjacency.sum(1, keepdim=True)
    shares = torch.where(total > 0, adjacency / total, 0.0)
    mapped = [F.conv2d(x, w[..., None, None], b) for w, b in zip(ours.weight, ours.bias, strict=True)]
    expected = sum(y @ share.T for y, share in zip(mapped, shares, strict=True))
    torch.testing.assert_close(ours(x, adjacency), expected, rtol=0, atol=1e-14)
    assert sum(p.numel() for p in ours.parameters()) == 3 * (3 * 2 + 2)


@pytest.mark.parametrize(
    ("stack", "joints"),
    [((1,), 2.92), ((2,), 2.60), ((3,), 2.28), ((4,), 1.96), ((1, 1), 5.24), ((1, 2), 6.36)],
)
def test_joints_that_layers_read(stack: tuple[int, ...], joints: float) -> None:
    adjacency = graphs.skeleton_subsets(NTU_BONES, NTU_JOINTS)
    x, y = values(1, 1, 1, NTU_JOINTS).requires_grad_(), None
    for dilation in stack:
        layer = graphs.DilatedGraphConv(1, 1).double()
        layer.weight.data.uniform_(1, 2)
        y = layer(x if y is None else y, adjacency, dilation)
    read = torch.stack([torch.autograd.grad(y[0, 0, 0, v], x, retain_graph=True)[0][0, 0, 0] for v in range(25)])
    assert (read != 0).double().sum(1).mean().item() == pytest.approx(joints)


def test_a_skeleton_in_three_parts() -> None:
    itself, inwards, outwards = SKELETONS["tree"]
    assert torch.equal(itself, torch.eye(7, dtype=torch.double))
    assert torch.equal(inwards, outwards.T)
    assert sorted(map(tuple, outwards.nonzero().tolist())) == sorted(TREE)


CURVE, DILATED = graphs.CurveConv(3, 4), graphs.DilatedGraphConv(3, 4)
X, A = torch.ones(2, 3, 4, 7), graphs.skeleton_subsets(TREE, 7)
WRONG = {
    "axes": (lambda: CURVE(X[0]), r"^x of shape \(3, 4, 7\) .* must be floating and \(B, 3, T, V\)"),
    "channels": (lambda: CURVE(X[:, :2]), r"^x of shape \(2, 2, 4, 7\) .* must be floating and \(B, 3, T, V\)"),
    "integers": (lambda: CURVE(X.long()), r"^x of shape \(2, 3, 4, 7\) and torch.int64 must be floating"),
    "nan": (lambda: CURVE(torch.full_like(X, torch.nan)), "^x has NaN, from which no joint is nearest$"),
    "links": (lambda: graphs.temporal_links(X[0]), r"^x of shape \(3, 4, 7\)"),
    "even": (lambda: graphs.CurveConv(3, 4, 2), "^kernel_size=2 must be odd"),
    "no kernel": (lambda: graphs.CurveConv(3, 4, 0), "^kernel_size=0 must be an integer of at least 1$"),
    "even curves": (lambda: graphs.curves(graphs.temporal_links(X), 4), "^kernel_size=4 must be odd"),
    "out": (lambda: graphs.CurveConv(3, 0), "^out_channels=0 must be an integer of at least 1$"),
    "joints": (lambda: DILATED(X[..., :5], A), r"^adjacency of shape \(3, 7, 7\) must be \(S, 5, 5\)"),
    "square": (lambda: graphs.dilate_adjacency(A[:, 1:], 1), r"^adjacency of shape \(3, 6, 7\) must be \(S, V, V\)"),
    "subsets": (lambda: DILATED(X, A[:2]), "^adjacency has 2 subsets; it must have 3$"),
    "values": (lambda: DILATED(X, A / 2), "^adjacency must have entries 0 and 1 alone$"),
    "dilation": (lambda: DILATED(X, A, 0), "^dilation=0 must be an integer of at least 1$"),
    "half a step": (lambda: DILATED(X, A, 1.5), r"^dilation=1\.5 must be an integer of at least 1$"),
    "no subsets": (lambda: graphs.DilatedGraphConv(3, 4, 0), "^num_subsets=0 must be an integer of at least 1$"),
    "bone": (lambda: graphs.skeleton_subsets([(7, 0)], 7), r"^bones has \(7, 0\); joints must lie between 0 and 6$"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_without_pytorch_geometric_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch_geometric", None)
    assert graphs.CurveConv(3, 4)(X).shape == (2, 4, 4, 7)
