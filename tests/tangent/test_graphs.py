import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge
from torch import Tensor, nn
from torch_geometric.nn import GCNConv, TAGConv

from convnn.errors import InputError, UnsupportedError
from convnn.learners import NNGP, Matrix, STKClassifier
from convnn.tangent import gntk, gntk_of_graphs
from small_graphs import features, matrix, random_directed, undirected

EDGES = undirected(7, 10)
WEIGHTS = features(EDGES.shape[1], 1, seed=4).abs()[:, 0]
A = matrix(EDGES, 7)
X, X2 = features(7, 3), features(7, 3, seed=2)


def identity(u: Tensor) -> Tensor:
    return u


def adjacency(edge_index: Tensor, edge_weight: Tensor | None, nodes: int) -> Tensor:
    """Return what node i reads in row i."""
    return matrix(edge_index.flip(0), nodes, edge_weight)


@pytest.mark.parametrize("taps", [(0,), (1,), (0, 1), [2, 0, 2], (3, 1)], ids=str)
def test_a_linear_network_has_a_closed_form(taps) -> None:
    edges = random_directed(7, 0.3)
    weights = features(edges.shape[1], 1, seed=3).abs()[:, 0]
    S = adjacency(edges, weights, 7).numpy() / 7
    powers = [np.linalg.matrix_power(S, k) for k in set(taps)]
    expected = X.numpy() @ X2.numpy().T / 3
    for layer in range(1, 4):
        expected = sum(power @ expected @ power.T for power in powers)
        settings = {"edge_weight": weights, "layers": layer, "taps": taps, "activation": identity}
        found = gntk(edges, X, X2, return_nngp=True, **settings)
        assert np.allclose(found.features, expected)
        assert np.allclose(found.tangent, (layer + 1) * expected)  # each layer of weights adds the same


class Network(nn.Module):
    """Layers of PyTorch Geometric, and a number for each node."""

    def __init__(self, make, channels: int, width: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(make(channels if i == 0 else width, width) for i in range(layers))
        self.readout = nn.Linear(width, 1, bias=False)
        for weight in self.parameters():
            nn.init.normal_(weight, std=weight.shape[1] ** -0.5)

    def forward(self, x: Tensor, *graph: Tensor) -> Tensor:
        for layer in self.layers:
            x = 2**0.5 * layer(x, *graph).relu()
        return self.readout(x)[:, 0]


def empirical(network: Network, x: Tensor, *graph: Tensor) -> Tensor:
    """Return the tangent kernel (n, n) by weights that are standard normal and scaled afterwards."""
    weights = list(network.parameters())
    kernel = x.new_zeros(x.shape[0], x.shape[0])
    slopes = [torch.autograd.grad(value, weights, retain_graph=True) for value in network(x, *graph)]
    for each, weight in zip(zip(*slopes, strict=True), weights, strict=True):
        rows = torch.stack(each).flatten(1)
        kernel += rows @ rows.T / weight.shape[1]
    return kernel


def distance(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).norm() / expected.norm()).item()


GCN = (
    lambda i, o: GCNConv(i, o, bias=False),
    (EDGES, WEIGHTS),
    {"edge_weight": WEIGHTS, "taps": (1,), "normalization": "sym"},
)
TAG = (
    lambda i, o: TAGConv(i, o, K=1, bias=False, normalize=False),
    (EDGES, WEIGHTS / 7),
    {"edge_weight": WEIGHTS},
)


@pytest.mark.parametrize("case", [GCN, TAG], ids=["GCNConv", "TAGConv"])
def test_wide_networks_of_torch_geometric_have_this_kernel(case) -> None:
    make, graph, settings = case
    expected = gntk(EDGES, X, **settings)
    torch.manual_seed(0)
    found = [empirical(Network(make, 3, 512, 2).double(), X, *graph) for _ in range(4)]
    assert distance(torch.stack(found).mean(0), expected) < 0.08
    assert distance(expected.diagonal().diag(), expected) > 0.3


@pytest.mark.long
def test_wider_networks_are_nearer() -> None:
    make, graph, settings = TAG
    expected = gntk(EDGES, X, **settings)
    torch.manual_seed(0)
    errors = [
        np.mean([distance(empirical(Network(make, 3, width, 2).double(), X, *graph), expected) for _ in range(16)])
        for width in (32, 128, 512)
    ]
    slope = np.polyfit(np.log([32, 128, 512]), np.log(errors), 1)[0]
    assert -0.65 < slope < -0.35


@pytest.mark.parametrize(("activation", "layers"), [("relu", 1), ("relu", 3), ("erf", 1)])
def test_without_neighbors_it_is_a_network_on_points(activation: str, layers: int) -> None:
    found = gntk(A, X, X2, layers=layers, taps=(0,), activation=activation, return_nngp=True)
    kernel = NNGP(activation, layers, sigma_w=2**0.5 if activation == "relu" else 1)
    one = torch.ones(1, 1, dtype=torch.float64)
    expected = kernel.block(X / 3**0.5, X2 / 3**0.5) / kernel.block(one, one)
    assert torch.allclose(found.features, expected)


@pytest.mark.parametrize("normalization", ["graphon", "sym", "row", None])
def test_edges_adjacencies_and_sparse_ones_agree_and_are_weighed_as_said(normalization: str | None) -> None:
    edges = random_directed(7, 0.3)
    weights = features(edges.shape[1], 1, seed=3).abs()[:, 0]
    dense = adjacency(edges, weights, 7)
    looped = dense + torch.eye(7)
    degrees = looped.sum(1)
    S = {
        "graphon": dense / 7,
        "sym": looped / (degrees[:, None] * degrees).sqrt(),
        "row": looped / degrees[:, None],
        None: dense,
    }[normalization]
    expected = gntk(S, X, taps=(1, 2), normalization=None)
    settings = {"taps": (1, 2), "normalization": normalization}
    assert torch.allclose(gntk(edges, X, edge_weight=weights, **settings), expected)
    for graph in (dense, dense.to_sparse(), dense.float()):
        assert distance(gntk(graph, X, **settings), expected) < 1e-6


def test_numbering_does_not_matter_and_one_signal_is_a_pair_of_the_same() -> None:
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0))
    expected = gntk(A, X)
    assert torch.allclose(gntk(A[order][:, order], X[order]), expected[order][:, order])
    assert torch.allclose(gntk(A, X, X), expected)
    assert torch.allclose(gntk(A, X, X2), gntk(A, X2, X).T)
    assert torch.linalg.eigvalsh(expected)[0] > -1e-12


def test_gradients_also_of_equal_and_of_isolated_nodes() -> None:
    x = X.clone()
    x[1] = x[0]
    alone = A.clone()
    alone[2], alone[:, 2] = 0, 0
    found = gntk(alone, x, taps=(1,), layers=3)
    assert bool((found[2] == 0).all())
    assert bool(found.isfinite().all())
    weights = A.clone().requires_grad_()
    slopes = torch.autograd.grad(gntk(weights * (alone > 0), x.requires_grad_(), taps=(1,)).sum(), (x, weights))
    assert all(bool(each.isfinite().all()) for each in slopes)
    assert torch.autograd.gradcheck(gntk, (A + 0.1, X2.clone().requires_grad_(), X), fast_mode=True)


def test_kernel_of_graphs_is_a_sum_over_nodes() -> None:
    roots = 3**0.5 * X
    found = [gntk(A, roots, taps=(1,), layers=layers, normalization="row").sum() for layers in (1, 2)]
    assert torch.allclose(gntk_of_graphs(A, X, layers=2), found[1])
    assert torch.allclose(gntk_of_graphs(EDGES, X, layers=2, jumping=True), (X @ X.T).sum() + sum(found))


@pytest.mark.parametrize("normalization", ["row", "sym", None])
def test_kernel_of_two_graphs_is_that_between_the_parts_of_their_union(normalization: str | None) -> None:
    edges, other = undirected(5, 6, seed=1), features(5, 3, seed=5)
    weights = features(edges.shape[1], 1, seed=6).abs()[:, 0]
    union, nodes = torch.cat([EDGES, edges + 7], 1), 3**0.5 * torch.cat([X, other])
    both = torch.cat([torch.ones(EDGES.shape[1]).double(), weights])
    whole = gntk(union, nodes, edge_weight=both, taps=(1,), layers=3, normalization=normalization)
    settings = {"layers": 3, "normalization": normalization}
    found = gntk_of_graphs(A, X, edges, other, edge_weight2=weights, **settings)
    assert torch.allclose(found, whole[:7, 7:].sum())
    turned = gntk_of_graphs(edges, other, A, X, edge_weight=weights, **settings)
    assert torch.allclose(turned, found)


def test_steps_without_neighbors_are_layers() -> None:
    empty = EDGES[:, :0]
    expected = gntk(empty, 3**0.5 * X, layers=6, taps=(0,)).sum()
    assert torch.allclose(gntk_of_graphs(empty, X, layers=2, steps=3), expected)


def test_a_learner_whose_points_are_nodes_learns_blocks() -> None:
    labels = torch.arange(60) % 3
    drawn = torch.rand(60, 60, generator=torch.Generator().manual_seed(0))
    is_edge = (drawn < torch.where(labels == labels[:, None], 0.4, 0.05)).triu(1)
    x = nn.functional.one_hot(labels, 3) + features(60, 3)
    K = gntk((is_edge | is_edge.T).double(), x, taps=(1,), normalization="sym")
    nodes, known = np.arange(60.0)[:, None], np.where(np.arange(60) < 30, labels, -1)
    ours = STKClassifier(Matrix(K), coef=(1,), beta=1e-3).fit(nodes, known)
    assert (ours.predict(nodes) == labels.numpy())[30:].mean() > 0.9
    targets = np.eye(3)[labels]
    ridge = KernelRidge(alpha=0.1, kernel="precomputed").fit(K[:30, :30], targets[:30])
    assert (ridge.predict(K[30:, :30]).argmax(1) == labels[30:].numpy()).mean() > 0.9


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gntk(A[:, :5], X), r"^graph of shape \(7, 5\) and .* must be a floating adjacency \(7, 7\)"),
        (lambda: gntk(A[:5, :5], X), r"^graph of shape \(5, 5\) and .* must be a floating adjacency \(7, 7\)"),
        (lambda: gntk(-A, X), "^graph has -1.0; weights must not be negative"),
        (lambda: gntk((-A).to_sparse(), X), "^graph has -1.0; weights must not be negative"),
        (lambda: gntk(A * torch.nan, X), "^graph has nan; weights must not be negative or NaN"),
        (lambda: gntk(A.long(), X), r"^graph of shape \(7, 7\) and torch.int64 must be a floating adjacency"),
        (lambda: gntk(EDGES, X[:5]), "^graph has sources from 0 to 6; they must lie between 0 and 4"),
        (lambda: gntk(EDGES, X, edge_weight=-WEIGHTS), "^edge_weight has -"),
        (lambda: gntk(EDGES, X, edge_weight=WEIGHTS[:3]), "^edge_weight of shape"),
        (lambda: gntk(A, X, edge_weight=WEIGHTS), "^edge_weight is for edges"),
        (lambda: gntk(A.numpy(), X), "^graph of type ndarray must be a tensor"),
        (lambda: gntk(A, X.numpy()), "^x of type ndarray must be a tensor"),
        (lambda: gntk(A, X[:, 0]), "^x of shape"),
        (lambda: gntk(A, X.long()), "^x of shape .* must be floating"),
        (lambda: gntk(A, X, X2[:, :2]), r"^x2 of shape \(7, 2\) must have the shape \(7, 3\) of x"),
        (lambda: gntk(A, X, layers=0), "^layers=0 must be"),
        (lambda: gntk(A, X, taps=()), r"^taps=\(\) must be"),
        (lambda: gntk(A, X, taps=(0, -1)), r"^taps=\(0, -1\) must be"),
        (lambda: gntk(A, X, taps=2), "^taps=2 must be"),
        (lambda: gntk(A, X, normalization="symm"), "did you mean 'sym'"),
        (lambda: gntk(A, X, activation="rely"), "did you mean 'relu'"),
        (lambda: gntk_of_graphs(A, X, A), "^graph2 and x2 must be given both or neither"),
        (lambda: gntk_of_graphs(A, X, A, X2[:, :2]), r"^x2 of shape \(7, 2\) must have the 3 features of x"),
        (lambda: gntk_of_graphs(A, X, steps=0), "^steps=0"),
        (lambda: gntk_of_graphs(A, X, layers=0), "^layers=0"),
    ],
)
def test_bad_input(make, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_an_activation_without_slope_is_refused() -> None:
    with pytest.raises(UnsupportedError, match=r"^activation='step' has a derivative of 0"):
        gntk(A, X, activation="step")
