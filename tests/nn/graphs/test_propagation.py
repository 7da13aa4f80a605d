"""SGC and LGC against dense matrices, loops and PyTorch Geometric, and the spectrum of what they propagate by."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError

geometric = pytest.importorskip("torch_geometric.nn")
from torch_geometric.utils import add_self_loops  # noqa: E402

from convnn.nn import graphs  # noqa: E402
from small_graphs import directed, features, undirected  # noqa: E402

NODES = 8


def propagated(x: Tensor, *graph: Tensor | None, hops: int = 2, loops: float = 1.0) -> Tensor:
    *_, last = graphs.propagations(x, *graph, hops=hops, loops=loops)
    return last


def matrix(edge_index: Tensor, edge_weight: Tensor | None, loops: float) -> Tensor:
    """Compute S in loops over the edges."""
    weights = torch.ones(edge_index.shape[1]) if edge_weight is None else edge_weight
    adjacency = loops * torch.eye(NODES, dtype=torch.double)
    for (source, target), weight in zip(edge_index.T.tolist(), weights, strict=True):
        adjacency[target, source] += weight
    degrees = adjacency.sum(1)
    return torch.tensor(
        [
            [
                (adjacency[i, j] / (degrees[i] * degrees[j]).sqrt()).item() if degrees[i] * degrees[j] else 0.0
                for j in range(NODES)
            ]
            for i in range(NODES)
        ],
        dtype=torch.double,
    )


GRAPHS = {
    "undirected": (undirected(NODES, 12), None),
    "directed, with loops and repetitions": (directed(NODES, 24), None),
    "weighted": (directed(NODES, 24), torch.rand(24, dtype=torch.double)),
    "without edges": (torch.empty(2, 0, dtype=torch.long), None),
}


@pytest.mark.parametrize("loops", [0.0, 1.0])
@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_propagation_is_a_product_with_the_matrix(graph: tuple[Tensor, Tensor | None], loops: float) -> None:
    x, S = features(NODES, 3), matrix(*graph, loops)
    depths = list(graphs.propagations(x, *graph, hops=3, loops=loops))
    for k, depth in enumerate(depths):
        torch.testing.assert_close(depth, torch.linalg.matrix_power(S, k) @ x, rtol=0, atol=1e-14)
    sgc, lgc = graphs.SGC(3, 4, hops=3).double(), graphs.LGC(3, 4, hops=3).double()
    mean = torch.stack([torch.linalg.matrix_power(S, k) @ x for k in range(4)]).mean(0)
    if loops:
        torch.testing.assert_close(sgc(x, *graph), sgc.lin(depths[-1]))
    else:
        torch.testing.assert_close(lgc(x, *graph), lgc.lin(mean))


@pytest.mark.parametrize("loops", [0.0, 1.0])
def test_gradients_of_features_and_weights(loops: float) -> None:
    edges = directed(NODES, 12)
    x, weights = features(NODES, 2).requires_grad_(), torch.rand(12, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: propagated(x, edges, w, loops=loops), (x, weights), fast_mode=True)


@pytest.mark.parametrize("hops", [0, 1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_sgc_is_that_of_torch_geometric_without_loops_in_the_graph(hops: int, weighted: bool) -> None:
    edges = undirected(NODES, 12) if not weighted else _without_loops(directed(NODES, 30))
    weights = torch.rand(edges.shape[1], dtype=torch.double) if weighted else None
    ours, theirs = graphs.SGC(3, 4, hops=hops).double(), geometric.SGConv(3, 4, K=hops).double()
    theirs.lin.load_state_dict(ours.lin.state_dict())
    x = features(NODES, 3).requires_grad_()
    outs = [layer(x, edges, weights) for layer in (ours, theirs)]
    torch.testing.assert_close(*outs, rtol=0, atol=1e-14)
    upstream = features(NODES, 4, seed=2)
    grads = [
        torch.autograd.grad(out, [x, *layer.parameters()], upstream)
        for out, layer in zip(outs, (ours, theirs), strict=True)
    ]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-13)


def test_a_loop_in_the_graph_counts_besides_the_added_one() -> None:
    edges = directed(NODES, 24)  # has loops
    ours, theirs = graphs.SGC(3, 4).double(), geometric.SGConv(3, 4, K=2, add_self_loops=False).double()
    theirs.lin.load_state_dict(ours.lin.state_dict())
    x = features(NODES, 3)
    torch.testing.assert_close(ours(x, edges), theirs(x, add_self_loops(edges, num_nodes=NODES)[0]), rtol=0, atol=1e-14)
    theirs.add_self_loops = True  # only where there is none
    assert (ours(x, edges) - theirs(x, edges)).abs().max() > 0.01


def test_propagations_are_calls_of_lgconv() -> None:
    x, edges, lgconv = features(NODES, 3), undirected(NODES, 12), geometric.LGConv()
    looped = add_self_loops(edges, num_nodes=NODES)[0]
    torch.testing.assert_close(propagated(x, edges, hops=1, loops=0.0), lgconv(x, edges), rtol=0, atol=1e-14)
    torch.testing.assert_close(propagated(x, edges), lgconv(lgconv(x, looped), looped), rtol=0, atol=1e-14)


def test_loops_make_a_low_pass() -> None:
    edges, units = undirected(30, 60), torch.eye(30, dtype=torch.double)
    with_loops, without = (torch.linalg.eigvalsh(propagated(units, edges, hops=1, loops=loops)) for loops in (1.0, 0.0))
    torch.testing.assert_close(with_loops[-1].item(), 1.0)
    assert with_loops[0] > without[0]
    assert without[0] < -0.5


def test_isolated_nodes() -> None:
    x, edges = features(3, 2), torch.tensor([[0, 1], [1, 0]])
    assert torch.equal(propagated(x, edges, hops=5)[2], x[2])
    lgc = graphs.LGC(2, 2, hops=4, bias=False).double()
    torch.testing.assert_close(lgc(x, edges)[2], lgc.lin(x[2] / 5))
    assert graphs.SGC(2, 4).double()(x[:0], edges[:, :0]).shape == (0, 4)
    weights = torch.zeros(2, dtype=torch.double, requires_grad=True)  # every degree is 0
    (grad,) = torch.autograd.grad(propagated(x, edges, weights, hops=1, loops=0.0).sum(), weights)
    assert torch.equal(grad, torch.zeros(2, dtype=torch.double))


def test_training_is_logistic_regression_on_what_was_propagated_once() -> None:
    """By L-BFGS, through the layer and by hand: the gradient of the mean cross entropy is softmax minus one-hot."""
    x, edges = features(NODES, 3), undirected(NODES, 12)
    layer = graphs.SGC(3, 3).double()
    by_hand = nn.Linear(3, 3).double()
    by_hand.load_state_dict(layer.lin.state_dict())
    H = matrix(edges, None, 1.0) @ (matrix(edges, None, 1.0) @ x)
    labels = (H @ torch.randn(3, 3, dtype=torch.double)).argmax(1)

    def loss() -> Tensor:
        optimizers[0].zero_grad()
        value = F.cross_entropy(layer(x, edges), labels)
        value.backward()
        return value

    @torch.no_grad()
    def loss_by_hand() -> Tensor:
        logits = H @ by_hand.weight.T + by_hand.bias
        difference = (logits.softmax(1) - F.one_hot(labels, 3)) / NODES
        by_hand.weight.grad, by_hand.bias.grad = difference.T @ H, difference.sum(0)
        return -logits.log_softmax(1)[torch.arange(NODES), labels].mean()

    optimizers = [torch.optim.LBFGS(one.parameters()) for one in (layer, by_hand)]
    start = loss().item()
    for _ in range(2):
        optimizers[0].step(loss)
        optimizers[1].step(loss_by_hand)
    torch.testing.assert_close(layer.lin.weight, by_hand.weight, rtol=0, atol=1e-9)
    torch.testing.assert_close(layer.lin.bias, by_hand.bias, rtol=0, atol=1e-9)
    assert loss().item() < start / 2


def _without_loops(edges: Tensor) -> Tensor:
    return edges[:, edges[0] != edges[1]]


E = undirected(NODES, 12)
WRONG = {
    "hops": (lambda: graphs.SGC(3, 4, hops=-1), "^hops=-1 must be an integer of at least 0$"),
    "half a hop": (lambda: graphs.LGC(3, 4, hops=1.5), r"^hops=1\.5 must be an integer of at least 0$"),
    "channels": (lambda: graphs.SGC(0, 4), "^in_channels=0 must be an integer of at least 1$"),
    "x": (
        lambda: graphs.SGC(3, 4)(torch.ones(8, 2), E),
        r"^x of shape \(8, 2\) and torch.float32 must be floating and",
    ),
    "integers": (lambda: graphs.LGC(3, 4)(torch.ones(8, 3).long(), E), r"^x of shape \(8, 3\) and torch.int64 must be"),
    "no matrix": (lambda: propagated(torch.ones(8), E), r"^x of shape \(8,\) .* must be floating and \(N, C\)"),
    "edges": (
        lambda: graphs.SGC(3, 4)(torch.ones(8, 3), E[0]),
        r"^edge_index of shape \(24,\) and torch.int64 must be",
    ),
    "type": (lambda: graphs.SGC(3, 4)(torch.ones(8, 3), E.int()), r"torch.int32 must be \(2, E\) int64$"),
    "node": (lambda: graphs.SGC(3, 4)(torch.ones(7, 3), E), "^edge_index has sources from 0 to 7; they must lie betwe"),
    "length": (
        lambda: graphs.SGC(3, 4)(torch.ones(8, 3), E, torch.ones(23)),
        r"^edge_weight of shape \(23,\) and torch.float32 must be floating and \(24,\), one for each edge$",
    ),
    "negative": (
        lambda: graphs.LGC(3, 4)(torch.ones(8, 3), E, -torch.ones(24)),
        r"^edge_weight has -1.0; weights must not be negative or NaN",
    ),
    "nan": (
        lambda: graphs.SGC(3, 4)(torch.ones(8, 3), E, torch.full((24,), torch.nan)),
        "^edge_weight has nan; weights",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
