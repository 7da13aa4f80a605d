"""CTGCN: core diffusion against loops and GINConv, its cores against peeling, and its networks over snapshots."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.graphs.embed import undirected_lists
from convnn.nn import graphs
from convnn.objectives.snapshots import connective_loss, structural_loss
from convnn.ops.cores import core_numbers
from convnn.ops.edges import propagate
from small_graphs import features, undirected

CLIQUE_AND_PATH = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 5], [1, 2, 3, 4, 2, 3, 4, 3, 4, 4, 5, 6]])
"""A clique of five nodes, a path of two from it, and node 7 alone: cores 4 and 1."""
NODES = 8


def peeled(pairs: list[tuple[int, int]], nodes: int) -> list[int]:
    """Return core numbers: the nodes of least degree are taken away one by one."""
    left, core, numbers = set(range(nodes)), 0, [0] * nodes
    while left:
        degrees = {v: sum(v in pair and set(pair) <= left for pair in pairs) for v in left}
        node = min(left, key=degrees.__getitem__)
        core = max(core, degrees[node])
        numbers[node] = core
        left.remove(node)
    return numbers


def matrices_in_loops(edge_index: Tensor, weight: Tensor, nodes: int, most: int | None) -> list[list[list[float]]]:
    """Return the matrices of the cores, from the densest, as the definition says."""
    A = [[0.0] * nodes for _ in range(nodes)]
    for (u, v), w in zip(edge_index.T.tolist(), weight.tolist(), strict=True):
        if u != v:
            A[u][v] = A[v][u] = w
    pairs = [(u, v) for u in range(nodes) for v in range(u) if A[u][v]]
    core = peeled(pairs, nodes)
    found: list[list[list[float]]] = []
    for k in range(min(max(core), most or nodes), 0, -1):
        one = [[A[u][v] if min(core[u], core[v]) >= k else 0.0 for v in range(nodes)] for u in range(nodes)]
        if not found or sum(map(sum, one)) != sum(map(sum, found[-1])):
            found.append(one)
    return found


def cell_in_loops(rnn: nn.Module, sequence: list[Tensor]) -> list[Tensor]:
    """Return the states of a GRU or LSTM by its equations, from zeros."""
    width = rnn.hidden_size
    h = c = sequence[0].new_zeros(sequence[0].shape[0], width)
    states = []
    for x in sequence:
        of_x = (x @ rnn.weight_ih_l0.T + rnn.bias_ih_l0).split(width, 1)
        of_h = (h @ rnn.weight_hh_l0.T + rnn.bias_hh_l0).split(width, 1)
        if isinstance(rnn, nn.GRU):
            r, z = ((a + b).sigmoid() for a, b in zip(of_x[:2], of_h[:2], strict=True))
            h = (1 - z) * (of_x[2] + r * of_h[2]).tanh() + z * h
        else:
            i, f, g, o = (a + b for a, b in zip(of_x, of_h, strict=True))
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        states.append(h)
    return states


def in_loops(ours: nn.Module, x: Tensor, edge_index: Tensor, weight: Tensor, most: int | None = None) -> Tensor:
    """Core diffusion as the definition says."""
    cores = matrices_in_loops(edge_index, weight, x.shape[0], most)
    sums = [x]
    for core in cores:
        added = [sum(w * x[v] for v, w in enumerate(row)) for row in core]
        sums.append(sums[-1] + torch.stack([row if isinstance(row, Tensor) else x[0] * 0 for row in added]))
    out = sum(cell_in_loops(ours.rnn, [one.relu() for one in sums[1:] or sums]))
    out = (out - out.mean(1, keepdim=True)) / (out.var(1, correction=0, keepdim=True) + 1e-5).sqrt()
    return out * ours.norm.weight + ours.norm.bias


def layer(in_channels: int = 3, out_channels: int = 4, **settings) -> nn.Module:
    torch.manual_seed(0)
    return graphs.CoreDiffusion(in_channels, out_channels, **settings).double()


GRAPHS = {
    "clique and path": (CLIQUE_AND_PATH, NODES),
    "random": (undirected(12, 24), 12),
    "a cycle": (torch.tensor([[0, 1, 2, 3], [1, 2, 3, 0]]), 4),
    "loops and repetitions": (torch.tensor([[0, 1, 1, 2, 0, 0, 2], [1, 0, 1, 0, 2, 1, 1]]), 5),
}


@pytest.mark.parametrize("most", [None, 1, 2])
@pytest.mark.parametrize("rnn", ["gru", "lstm"])
@pytest.mark.parametrize("name", GRAPHS)
def test_ours_is_the_definition_in_loops(name: str, rnn: str, most: int | None) -> None:
    (edges, nodes), ours = GRAPHS[name], layer(rnn=rnn, max_cores=most)
    weight, x = torch.rand(edges.shape[1], dtype=torch.double) + 0.5, features(nodes, 3).requires_grad_()
    if name == "random":
        weight = weight[:24].repeat(2)  # of every edge both ways
    leaves = [x, *ours.parameters()]
    outs = ours(x, edges, weight), in_loops(ours, x, edges, weight, most)
    torch.testing.assert_close(*outs, rtol=0, atol=1e-13)
    grads = [torch.autograd.grad(out, leaves, features(nodes, 4, seed=2)) for out in outs]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", GRAPHS)
def test_core_numbers_are_those_of_peeling(name: str) -> None:
    edges, nodes = GRAPHS[name]
    pairs = sorted({tuple(sorted(pair)) for pair in edges.T.tolist() if pair[0] != pair[1]})
    numbers = peeled(pairs, nodes)
    there = torch.tensor(pairs).T
    lists, _ = undirected_lists(torch.cat([there, there.flip(0)], 1), nodes)
    assert core_numbers(lists).tolist() == numbers


def test_weights_have_gradients() -> None:
    ours, x = layer(), features(NODES, 3)
    weight = (torch.rand(12, dtype=torch.double) + 0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda w: ours(x, CLIQUE_AND_PATH, w), (weight,))


def test_one_core_is_the_sum_of_gin() -> None:
    geometric = pytest.importorskip("torch_geometric.nn")
    edges, nodes = GRAPHS["a cycle"]
    ((both, _),) = graphs.k_core_adjacencies(edges, None, nodes)
    x = features(nodes, 3)
    theirs = geometric.GINConv(nn.Identity(), eps=0.0)(x, both)
    torch.testing.assert_close(x + propagate(x, both), theirs, rtol=0, atol=1e-15)
    ours = layer()
    of_theirs = ours.norm(ours.rnn(theirs.relu().unsqueeze(0))[0][0])
    torch.testing.assert_close(ours(x, edges), of_theirs, rtol=0, atol=1e-14)


def test_cores_are_nested_and_those_that_add_nothing_are_left_out() -> None:
    cores = graphs.k_core_adjacencies(CLIQUE_AND_PATH, None, NODES)
    assert [edges.shape[1] for edges, _ in cores] == [20, 24]
    assert torch.equal(cores[1][0][:, :20], cores[0][0])
    weight = torch.ones(12)
    weight[10:] = 0  # of the path
    assert len(graphs.k_core_adjacencies(CLIQUE_AND_PATH, weight, NODES)) == 1
    ((edges, _),) = graphs.k_core_adjacencies(CLIQUE_AND_PATH, None, NODES, max_cores=1)
    assert edges.shape[1] == 24


def test_the_order_of_nodes_changes_nothing_and_that_of_cores_does() -> None:
    ours, x = layer(), features(NODES, 3)
    order = torch.randperm(NODES)
    moved = torch.empty_like(x).index_copy_(0, order, x)
    torch.testing.assert_close(ours(moved, order[CLIQUE_AND_PATH])[order], ours(x, CLIQUE_AND_PATH), rtol=0, atol=1e-13)
    (dense, _), (whole, _) = graphs.k_core_adjacencies(CLIQUE_AND_PATH, None, NODES)
    first = x + propagate(x, dense)
    second = first + propagate(x, whole)
    forward, back = (
        ours.norm(ours.rnn(torch.stack(one).relu())[0].sum(0)) for one in ((first, second), (second, first))
    )
    torch.testing.assert_close(ours(x, CLIQUE_AND_PATH), forward, rtol=0, atol=1e-13)
    assert (forward - back).abs().max() > 0.1


def test_isolated_nodes_change_nothing_for_others_and_read_themselves_in_every_step() -> None:
    ours, x = layer(), features(NODES, 3)
    torch.testing.assert_close(ours(x, CLIQUE_AND_PATH)[:7], ours(x[:7], CLIQUE_AND_PATH), rtol=0, atol=1e-14)
    alone = ours.norm(ours.rnn(x[7:].relu().expand(2, 1, 3))[0].sum(0))
    torch.testing.assert_close(ours(x, CLIQUE_AND_PATH)[7:], alone, rtol=0, atol=1e-14)


def test_without_edges_there_is_one_step() -> None:
    ours, x, none = layer(), features(4, 3), torch.empty(2, 0, dtype=torch.long)
    expected = ours.norm(ours.rnn(x.relu().unsqueeze(0))[0][0])
    torch.testing.assert_close(ours(x, none), expected, rtol=0, atol=0)
    torch.testing.assert_close(ours(x, torch.tensor([[1], [1]])), expected, rtol=0, atol=0)


def test_edges_that_changed_in_place_are_read_anew() -> None:
    ours, x, edges = layer(), features(NODES, 3), CLIQUE_AND_PATH.clone()
    before = ours(x, edges)
    edges[1, -1] = 7
    assert not torch.equal(ours(x, edges), before)
    torch.testing.assert_close(ours(x, edges), ours(x, edges.clone()), rtol=0, atol=0)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x, edges), ours(x, edges.clone()), rtol=0, atol=0)


@pytest.mark.parametrize(("rnn", "gates"), [("gru", 3), ("lstm", 4)])
def test_numbers_of_parameters(rnn: str, gates: int) -> None:
    def count(module: nn.Module) -> int:
        return sum(one.numel() for one in module.parameters())

    F_, H, T = 5, 4, 3
    of_layer = gates * (F_ * H + H * H + 2 * H) + 2 * H
    assert count(layer(F_, H, rnn=rnn)) == of_layer
    one = graphs.CGCN(7, H, hidden_channels=F_, rnn=rnn, core_layers=1)
    assert count(one) == 7 * F_ + F_ + of_layer
    over_time = gates * (2 * H * H + 2 * H) + 2 * H
    assert count(graphs.CTGCN(7, H, T, hidden_channels=F_, rnn=rnn, core_layers=1)) == T * count(one) + over_time


SNAPSHOTS = [CLIQUE_AND_PATH[:, :3], CLIQUE_AND_PATH, CLIQUE_AND_PATH[:, :0]]


@pytest.mark.parametrize("form", ["connective", "structural"])
def test_networks_are_written_out(form: str) -> None:
    settings = {"hidden_channels": 5, "form": form, "linear_layers": 2, "core_layers": 2, "activation": "selu"}
    torch.manual_seed(0)
    ours, x = graphs.CTGCN(3, 4, 3, rnn="lstm", **settings).double(), torch.randn(3, NODES, 3, dtype=torch.double)
    mapped, of_each = [], []
    for t, edges in enumerate(SNAPSHOTS):
        first, _, second, _ = ours.snapshots[t].linear
        mapped.append(F.selu(second(F.selu(first(x[t])))))
        one, two = ours.snapshots[t].cores.layers
        of_each.append(two(one(mapped[t], edges), edges))
    y = ours.norm(ours.rnn(torch.stack(of_each))[0])
    found = ours(x, SNAPSHOTS) if form == "structural" else (ours(x, SNAPSHOTS), torch.stack(mapped))
    torch.testing.assert_close(found[0], y, rtol=0, atol=0)
    torch.testing.assert_close(found[1], torch.stack(mapped), rtol=0, atol=0)
    assert mapped[0].shape[1] == {"connective": 5, "structural": 4}[form]


def test_every_snapshot_has_its_own_cores() -> None:
    """In the published code, the first decides how many of the others' are read."""
    ours, x = graphs.CTGCN(3, 4, 2, core_layers=1, hidden_channels=3).double(), features(2 * NODES, 3).view(2, NODES, 3)
    path = torch.tensor([[0, 1, 2], [1, 2, 3]])
    ours.rnn = nn.Identity()  # an output for each step, as a pair, whose first is read
    ours.norm = nn.Identity()
    ours.rnn.forward = lambda y: (y, None)
    one = ours.snapshots[1]
    torch.testing.assert_close(ours(x, [path, CLIQUE_AND_PATH])[1], one(x[1], CLIQUE_AND_PATH), rtol=0, atol=0)


def test_losses_in_loops() -> None:
    e = torch.randn(2, 6, 3, dtype=torch.double)
    u, v, n = (torch.randint(6, (2, count)) for count in (7, 7, 4))
    expected = 0.0
    for t in range(2):
        for a, b in zip(u[t].tolist(), v[t].tolist(), strict=True):
            near, far = e[t, a] @ e[t, b], sum(e[t, a] @ e[t, c] for c in n[t].tolist())
            expected = expected + ((1 + (-near).exp()).log() + 20 * (1 + far.exp()).log()) / 7
    torch.testing.assert_close(connective_loss(e, u, v, n), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(connective_loss(list(e), list(u), list(v), list(n)), expected, rtol=0, atol=1e-12)
    z = torch.randn_like(e)
    torch.testing.assert_close(structural_loss(e, z), 2 * (e - z).square().mean(), rtol=0, atol=1e-14)


def test_it_trains() -> None:
    torch.manual_seed(0)
    x = torch.eye(NODES).expand(3, NODES, NODES)
    ours = graphs.CTGCN(NODES, 4, 3, hidden_channels=6, core_layers=1)
    optimizer = torch.optim.Adam(ours.parameters(), 0.02)
    pairs, negatives = CLIQUE_AND_PATH.unsqueeze(1).expand(2, 3, 12), torch.tensor([[7]] * 3)
    losses = []
    for _ in range(30):
        loss = connective_loss(ours(x, SNAPSHOTS), *pairs, negatives, negative_weight=1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


X = torch.ones(NODES, 3)
CONV, NETWORK = graphs.CoreDiffusion(3, 4), graphs.CTGCN(3, 4, 2, hidden_channels=5)
BOTH = [CLIQUE_AND_PATH] * 2
WRONG = {
    "channels": (lambda: graphs.CoreDiffusion(0, 4), "^in_channels=0 must be an integer of at least 1$"),
    "rnn": (lambda: graphs.CoreDiffusion(3, 4, rnn="rnn"), "^rnn='rnn' is not one of gru, lstm"),
    "cores": (lambda: graphs.CoreDiffusion(3, 4, max_cores=0), "^max_cores=0 must be an integer of at least 1$"),
    "cores of edges": (
        lambda: graphs.k_core_adjacencies(CLIQUE_AND_PATH, None, NODES, 0),
        "^max_cores=0 must be an integer of at least 1$",
    ),
    "x": (lambda: CONV(X[:, :2], CLIQUE_AND_PATH), r"^x of shape \(8, 2\) .* must be floating and \(N, 3\)"),
    "node": (
        lambda: CONV(X[:5], CLIQUE_AND_PATH),
        "^edge_index has sources from 0 to 5; they must lie between 0 and 4$",
    ),
    "negative node": (lambda: CONV(X, CLIQUE_AND_PATH - 1), "^edge_index has sources from -1 to 4; they must lie"),
    "weights": (lambda: CONV(X, CLIQUE_AND_PATH, torch.ones(3)), r"^edge_weight of shape \(3,\)"),
    "form": (lambda: graphs.CTGCN(3, 4, 2, form="C"), "^form='C' is not one of connective, structural"),
    "activation": (lambda: graphs.CGCN(3, 4, activation="relu"), "^activation='relu' is not one of none, selu"),
    "layers": (lambda: graphs.CGCN(3, 4, core_layers=0), "^core_layers=0 must be an integer of at least 1$"),
    "no snapshots": (lambda: graphs.CTGCN(3, 4, 0), "^snapshots=0 must be an integer of at least 1$"),
    "rnn of snapshots": (lambda: graphs.CTGCN(3, 4, 2, rnn="RNN"), "^rnn='RNN' is not one of gru, lstm"),
    "snapshots": (lambda: NETWORK(X.expand(3, NODES, 3), BOTH), "^x has 3 snapshots; it must have 2, for each"),
    "edges": (lambda: NETWORK(X.expand(2, NODES, 3), BOTH[:1]), "^edge_indices has 1 snapshot; it must have 2"),
    "weights of snapshots": (lambda: NETWORK(X.expand(2, NODES, 3), BOTH, []), "^edge_weights has 0 snapshots; it"),
    "pairs": (
        lambda: connective_loss([X], [torch.tensor([0])], [torch.tensor([0, 1])], [torch.tensor([1])]),
        r"^nodes and positives of snapshot 0 have shapes \(1,\) and \(2,\); both must be \(P,\), with P at least 1$",
    ),
    "counts": (lambda: structural_loss([X], [X, X]), "^all must have the same number of snapshots, .* mapped 2$"),
    "shapes": (
        lambda: structural_loss([X], [X[:2]]),
        r"^mapped of snapshot 0 has shape \(2, 3\); it must be \(8, 3\)$",
    ),
    "weight": (
        lambda: connective_loss([X], [X], [X], [X], negative_weight=-1.0),
        r"^negative_weight=-1\.0 must be at least 0$",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
