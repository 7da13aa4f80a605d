"""Hyper-GCN's layers: loops, HypergraphConv of PyTorch Geometric, HGNN, and plain convolutions as special cases."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.nn import graphs
from convnn.objectives.skeletons import virtual_divergence_loss

CHAIN = ((1, 0), (2, 1), (3, 2), (4, 3))
JOINTS, SUBSETS = 5, 2


def values(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.double)


def layer(in_channels: int = 4, out_channels: int = 6, virtual: int = 2, k: int = 3, **settings) -> nn.Module:
    """Return a layer whose parameters are all random, in evaluation, with statistics of its own."""
    torch.manual_seed(0)
    adjacency = graphs.with_virtual_joints(CHAIN, JOINTS, virtual, SUBSETS)
    ours = graphs.AdaptiveHyperGraphConv(in_channels, out_channels, adjacency, virtual, k=k, reduction=1, **settings)
    for parameter in ours.parameters():
        nn.init.uniform_(parameter, -1, 1)
    nn.init.constant_(ours.alpha, 0.7)
    return ours.double().eval()


def hyperedges_in_loops(ours: nn.Module, means: list[list[float]], s: int) -> tuple[list[list[float]], list[float]]:
    """Return incidence and weights of a subset, of the means of all channels at each vertex."""
    count, width = len(means), ours.in_channels // SUBSETS
    hidden = ours.to_points.out_channels // SUBSETS

    def mapped(conv: nn.Conv1d, subset: int, u: int) -> list[float]:
        rows = range(subset * hidden, (subset + 1) * hidden)
        own = means[u][subset * width : (subset + 1) * width]
        return [
            sum(w * m for w, m in zip(conv.weight[o, :, 0].tolist(), own, strict=True)) + conv.bias[o].item()
            for o in rows
        ]

    incidence = [[0.0] * count for _ in range(count)]
    for u in range(count):
        q = mapped(ours.to_points, s, u)
        distances = [math.dist(q, mapped(ours.to_points, s, v)) for v in range(count)]
        nearest = sorted(range(count), key=lambda v: (v != u, distances[v]))[: ours.k]
        total = sum(math.exp(-distances[v]) for v in nearest)
        for v in nearest:
            incidence[u][v] = math.exp(-distances[v]) / total
    first, _, last = ours.to_weights
    weights = []
    for v in range(count):
        inner = [max(a, 0.01 * a) for subset in range(SUBSETS) for a in mapped(first, subset, v)]
        outer = sum(w * a for w, a in zip(last.weight[s, :, 0].tolist(), inner, strict=True)) + last.bias[s].item()
        weights.append(math.tanh(outer))
    return incidence, weights


def operator_in_loops(H: list[list[float]], w: list[float]) -> list[list[float]]:
    vertices, edges = range(len(H)), range(len(w))
    b = [sum(abs(H[u][e]) for u in vertices) + 1e-8 for e in edges]
    d = [sum(abs(H[u][e] * w[e]) for e in edges) + 1e-8 for u in vertices]
    return [[sum(H[u][e] * w[e] / d[u] * w[e] / b[e] * H[v][e] for e in edges) for v in vertices] for u in vertices]


def in_loops(ours: nn.Module, x: Tensor) -> Tensor:
    """Hypergraph convolution in evaluation as the definition says."""
    out = torch.empty(x.shape[0], ours.out_channels, x.shape[2], JOINTS, dtype=x.dtype)
    width, of_out = ours.in_channels // SUBSETS, ours.out_channels // SUBSETS
    for n in range(x.shape[0]):
        joints = torch.cat([x[n], ours.virtual.T.unsqueeze(1).expand(-1, x.shape[2], -1)], 2)
        means = joints.mean(1).T.tolist()
        for s in range(SUBSETS):
            bones = ours.importance[s] * ours.adjacency[s]
            A = bones / (bones.abs().sum(1, keepdim=True) + 1e-8)
            A = A + ours.alpha.relu() * torch.tensor(
                operator_in_loops(*hyperedges_in_loops(ours, means, s)), dtype=A.dtype
            )
            mine = slice(s * of_out, (s + 1) * of_out)
            z = torch.einsum("oc,ctu->otu", ours.conv.weight[mine, :, 0, 0], joints[s * width : (s + 1) * width])
            z = z + ours.conv.bias[mine].view(-1, 1, 1)
            for u in range(JOINTS):
                out[n, mine, :, u] = sum(A[u, v] * z[..., v] for v in range(A.shape[0]))
    return (ours.norm(out) + ours.shortcut(x)).relu()


@pytest.mark.parametrize(
    ("out_channels", "virtual", "k", "frames"), [(6, 2, 3, 3), (4, 1, 6, 1), (6, 0, 2, 2), (4, 3, 1, 2)]
)
def test_ours_is_the_definition_in_loops(out_channels: int, virtual: int, k: int, frames: int) -> None:
    ours, x = layer(4, out_channels, virtual, k), values(2, 4, frames, JOINTS)
    torch.testing.assert_close(ours(x), in_loops(ours, x), rtol=0, atol=1e-13)


def test_gradients() -> None:
    ours, x = layer(k=4), values(1, 4, 2, JOINTS).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: ours(x), (x,))
    ours(x).sum().backward()
    assert all(one.grad is not None and one.grad.isfinite().all() for one in ours.parameters())
    assert ours.virtual.grad.abs().min() > 0


def test_equal_points_have_finite_gradients() -> None:
    points = torch.zeros(1, 4, 2, dtype=torch.double, requires_grad=True)
    incidence = graphs.nearest_incidence(points, 3)
    incidence[0, 0, 1].backward()
    assert points.grad.isfinite().all()
    nearest = [[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 3]]  # itself, then the lowest
    assert [row.nonzero().flatten().tolist() for row in incidence[0]] == nearest


def test_rows_add_up_to_1() -> None:
    H = graphs.nearest_incidence(values(3, 2, 7, 3), 4)
    torch.testing.assert_close(H.sum(-1), torch.ones(3, 2, 7, dtype=torch.double), rtol=0, atol=1e-14)
    assert ((H > 0).sum(-1) == 4).all()
    ones = torch.ones(3, 2, 7, dtype=torch.double)
    torch.testing.assert_close(graphs.hypergraph_operator(H, ones).sum(-1), ones, rtol=0, atol=1e-6)
    weights = torch.linspace(0.5, 1.5, 7, dtype=torch.double).expand(3, 2, 7)
    assert (graphs.hypergraph_operator(H, weights).sum(-1) - 1).abs().max() > 0.1


def binary() -> Tensor:
    H = torch.zeros(7, 7, dtype=torch.double)
    H[torch.arange(7), torch.arange(7)] = 1
    H[[0, 2, 3, 6, 6], [1, 1, 5, 5, 0]] = 1
    return H


def test_binary_hyperedges_of_weight_1_are_those_of_torch_geometric_and_of_hgnn() -> None:
    geometric = pytest.importorskip("torch_geometric.nn")
    H, x = binary(), values(7, 3)
    G = graphs.hypergraph_operator(H, torch.ones(7, dtype=torch.double))
    theirs = geometric.HypergraphConv(3, 3, bias=False).double()
    theirs.lin.weight.data = torch.eye(3, dtype=torch.double)
    torch.testing.assert_close(G @ x, theirs(x, H.nonzero().T), rtol=0, atol=1e-7)  # of the 1e-8 in our degrees
    roots = H.sum(1, keepdim=True).sqrt()
    of_hgnn = graphs.propagate_hyperedges(roots * x, H.nonzero().T) / roots
    torch.testing.assert_close(G @ x, of_hgnn, rtol=0, atol=1e-7)
    assert (G @ x - graphs.propagate_hyperedges(x, H.nonzero().T)).abs().max() > 0.01


@pytest.mark.parametrize("alpha", [0.0, -0.5])
def test_without_hyperedges_it_is_a_convolution_of_a_learned_graph(alpha: float) -> None:
    ours, x = layer(), values(2, 4, 3, JOINTS)
    nn.init.constant_(ours.alpha, alpha)
    joints = torch.cat([x, ours.virtual.T.view(1, 4, 1, 2).expand(2, 4, 3, 2)], 3)
    of_subsets = zip(ours.conv.weight.chunk(2), ours.conv.bias.chunk(2), joints.chunk(2, 1), ours.bones, strict=True)
    y = torch.cat([F.conv2d(part, w, b) @ A.T for w, b, part, A in of_subsets], 1)[..., :JOINTS]
    torch.testing.assert_close(ours(x), (ours.norm(y) + ours.shortcut(x)).relu(), rtol=0, atol=1e-14)
    ours(x).sum().backward()
    assert ours.alpha.grad == 0
    assert ours.to_points.weight.grad.abs().max() == 0


def test_weights_of_0_leave_the_row_0() -> None:
    G = graphs.hypergraph_operator(binary(), torch.tensor([0.0] * 6 + [1.0]).double())
    assert torch.equal(G[:6], torch.zeros(6, 7, dtype=torch.double))
    assert G.isfinite().all()


def test_it_starts_as_its_shortcut_with_the_published_number_of_parameters() -> None:
    from convnn.nn.graphs.temporal.joints import NTU_BONES, NTU_JOINTS

    def of(C: int, O: int, P: int = 3, S: int = 8) -> nn.Module:  # noqa: E741 (as in the definition)
        return graphs.AdaptiveHyperGraphConv(C, O, graphs.with_virtual_joints(NTU_BONES, NTU_JOINTS, P, S), P)

    def count(module: nn.Module) -> int:
        return sum(one.numel() for one in module.parameters())

    ours = of(32, 32)
    assert (count(ours), ours.importance.numel()) == (6_745, 6_272)
    C, O, P, S, U, h = 64, 96, 2, 4, 27, 4  # noqa: E741
    formula = S * U**2 + P * C + 1 + (C // S + 1) * S * h * 2 + (S * h + 1) * S + (C // S + 1) * O + 2 * O
    assert count(of(C, O, P, S)) == formula + C * O + O + 2 * O
    x = torch.randn(2, 32, 4, NTU_JOINTS)
    torch.testing.assert_close(ours(x), x.relu(), rtol=0, atol=1e-4)
    assert torch.equal(ours.virtual, ours.virtual[:1].expand(3, -1))
    assert ours.alpha.item() == 1
    assert ours.virtual.std() > 0.5


def test_virtual_joints_are_connected_to_all_joints_but_not_to_each_other() -> None:
    A = graphs.with_virtual_joints(CHAIN, JOINTS, 2, 3)
    assert A.shape == (3, 7, 7)
    assert torch.equal(A[0], A[2])
    bones = [(i, j) for i in range(7) for j in range(7) if A[0, i, j]]
    joined = {(i, i) for i in range(7)} | {(i, j) for i in range(5) for j in range(5) if abs(i - j) == 1}
    assert set(bones) == joined | {(i, j) for i in range(5) for j in (5, 6)} | {
        (j, i) for i in range(5) for j in (5, 6)
    }


def test_loss_of_virtual_joints() -> None:
    e = [values(3, 4), values(2, 6)]
    expected = sum(
        sum(max(0.0, F.cosine_similarity(a, b, 0).item()) for a in one for b in one) - len(one) for one in e[:1]
    ) / (3 * 2)
    torch.testing.assert_close(virtual_divergence_loss(e[:1]).item(), expected, rtol=0, atol=1e-7)
    both = (virtual_divergence_loss(e[:1]) + virtual_divergence_loss(e[1:])) / 2
    torch.testing.assert_close(virtual_divergence_loss(e), both)
    assert virtual_divergence_loss([torch.ones(3, 4)]).item() == pytest.approx(1.0)
    assert virtual_divergence_loss([torch.eye(3)]).item() == pytest.approx(0.0, abs=1e-6)


# Temporal convolution


@pytest.mark.parametrize(("stride", "frames"), [(1, 7), (2, 7), (2, 8), (1, 1)])
def test_scales_of_time_in_loops(stride: int, frames: int) -> None:
    torch.manual_seed(0)
    ours = graphs.MultiScaleTemporalConv(4, 8, stride=stride, dilations=(1, 3), residual=True).double().eval()
    x = values(2, 4, frames, 3)
    starts = range(0, frames, stride)
    parts = []
    for branch, dilation in zip(ours.branches[:2], (1, 3), strict=True):
        *first, temporal = branch
        h = nn.Sequential(*first)(x)
        taps = [h[:, :, [min(max(t + dilation * (k - 2), 0), frames - 1) for t in starts]] for k in range(5)]
        weight, bias = temporal.conv.weight, temporal.conv.bias
        y = sum(torch.einsum("oc,bctv->botv", weight[:, :, k, 0], taps[k]) for k in range(5))
        parts.append(temporal.norm(y + bias.view(-1, 1, 1)))
    *first, _, norm = ours.branches[2]
    h = nn.Sequential(*first)(x)
    largest = [h[:, :, max(t - 1, 0) : t + 2].amax(2) for t in starts]
    parts += [norm(torch.stack(largest, 2)), ours.branches[3](x)]
    shortcut = ours.shortcut.norm(F.conv2d(x[:, :, ::stride], ours.shortcut.conv.weight, ours.shortcut.conv.bias))
    torch.testing.assert_close(ours(x), torch.cat(parts, 1) + shortcut, rtol=0, atol=1e-13)


def test_the_shortcut_of_time_is_the_identity_where_nothing_changes() -> None:
    with_it = graphs.MultiScaleTemporalConv(8, 8, residual=True).eval()
    without = graphs.MultiScaleTemporalConv(8, 8).eval()
    without.load_state_dict(with_it.state_dict())
    x = torch.randn(2, 8, 5, 3)
    torch.testing.assert_close(with_it(x), without(x) + x)


def test_it_trains() -> None:
    """Two active joints at a distance, of which only hyperedges know each other: equal signs, or opposite ones?"""
    torch.manual_seed(0)
    x = 0.1 * torch.randn(32, 4, 2, JOINTS)
    labels = torch.arange(32) % 2
    x[:, 0, :, [0, 4]] += 3
    x[:, 1, :, 0] += 1
    x[:, 1, :, 4] += 1 - 2.0 * labels.view(-1, 1)
    ours = graphs.AdaptiveHyperGraphConv(4, 8, graphs.with_virtual_joints(CHAIN, JOINTS, 1, 2), 1, k=3, reduction=1)
    nn.init.ones_(ours.norm.weight)
    head = nn.Linear(8, 2)
    optimizer = torch.optim.Adam([*ours.parameters(), *head.parameters()], 0.03)
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(head(ours(x).mean((2, 3))), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4


A, X = graphs.with_virtual_joints(CHAIN, JOINTS, 2, SUBSETS), torch.ones(2, 4, 3, JOINTS)
CONV = graphs.AdaptiveHyperGraphConv(4, 6, A, 2, k=3, reduction=1)


def built(in_channels: int = 4, out_channels: int = 6, adjacency: Tensor = A, virtual: int = 2, k: int = 3, r: int = 1):
    return graphs.AdaptiveHyperGraphConv(in_channels, out_channels, adjacency, virtual, k=k, reduction=r)


WRONG = {
    "adjacency": (lambda: built(adjacency=A[:, 1:]), r"^adjacency of shape \(2, 6, 7\) must be \(S, V, V\)"),
    "virtual": (lambda: built(virtual=7), "^num_virtual=7 must be less than 7, all vertices of the adjacency$"),
    "negative": (lambda: built(virtual=-1), "^num_virtual=-1 must be an integer of at least 0$"),
    "in": (lambda: built(5), "^in_channels=5 must be a multiple of 2, the subsets of the adjacency$"),
    "out": (lambda: built(4, 5), "^out_channels=5 must be a multiple of 2, the subsets of the adjacency$"),
    "reduction": (lambda: built(r=3), "^reduction=3 must be at most 2, the channels of a subset$"),
    "k": (lambda: built(k=8), "^k=8 must lie between 1 and 7, the number of joints with the virtual ones$"),
    "no k": (lambda: built(k=0), "^k=0 must lie between 1 and 7, the number of joints with the virtual ones$"),
    "joints": (lambda: CONV(X[..., :4]), r"^x of shape \(2, 4, 3, 4\) .* must be floating and \(B, 4, T, 5\)"),
    "channels": (lambda: CONV(X[:, :3]), r"^x of shape \(2, 3, 3, 5\) .* must be floating and \(B, 4, T, 5\)"),
    "weights": (
        lambda: graphs.hypergraph_operator(torch.ones(3, 4), torch.ones(3)),
        r"^weight of shape \(3,\) must be \(\.\.\., E\), .* of incidence of shape \(3, 4\)$",
    ),
    "points": (lambda: graphs.nearest_incidence(torch.ones(1, 3, 2), 4), "^K=4 must lie between 1 and 3"),
    "one virtual": (
        lambda: virtual_divergence_loss([torch.ones(1, 4)]),
        r"^virtual has joints of shape \(1, 4\); they must be \(P, C\), with P at least 2$",
    ),
    "no layer": (lambda: virtual_divergence_loss([]), "^virtual must have the virtual joints of at least one layer$"),
    "branches": (
        lambda: graphs.MultiScaleTemporalConv(4, 6),
        "^out_channels=6 must be a multiple of 4, the number of branches$",
    ),
    "even": (lambda: graphs.MultiScaleTemporalConv(4, 8, kernel_size=4), "^kernel_size=4 must be odd"),
    "stride": (lambda: graphs.MultiScaleTemporalConv(4, 8, stride=0), "^stride=0 must be an integer of at least 1$"),
    "dilation": (
        lambda: graphs.MultiScaleTemporalConv(4, 8, dilations=(1, 0)),
        "^dilation=0 must be an integer of at least 1$",
    ),
    "time": (lambda: graphs.MultiScaleTemporalConv(4, 8)(X[0]), r"^x of shape \(4, 3, 5\)"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
