"""Fisher information embedding, against loops, scikit-learn's mixtures, and identities of matrices."""

import importlib
import math

import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.nn import graphs
from convnn.ops.ragged import Lists

DOUBLE = torch.double


def random_edges(nodes: int, edges: int, seed: int = 0) -> Tensor:
    return torch.randint(nodes, (2, edges), generator=torch.Generator().manual_seed(seed))


def in_loops(layer: nn.Module, x: Tensor, edge_index: Tensor) -> Tensor:
    """The definition before the projection, node by node."""
    mu, b = layer.mixture.weight, layer.mixture.bias
    components, heads, width = mu.shape
    out = torch.empty(len(x), components, heads, width, dtype=x.dtype)
    for v in range(len(x)):
        neighbors = x[edge_index[0, edge_index[1] == v]]
        for c in range(heads):
            scores = (F.normalize(neighbors, dim=1) @ mu[:, c].T + b[:, c]) / layer.mixture.temperature
            weights = scores.softmax(1)
            weights = weights.exp() if layer.mixture.attention == "softmax" else weights
            means = (weights / weights.sum(0)).T @ neighbors
            out[v, :, c] = means - mu[:, c] if layer.mixture.subtract_mean else means
    return out.flatten(1)


@pytest.mark.parametrize("attention", ["softmax", "posterior"])
def test_it_is_its_definition(attention: str) -> None:
    layer = graphs.FisherEmbedding(4, 24, num_mixtures=3, num_heads=2, projection=None, attention=attention).double()
    nn.init.normal_(layer.mixture.bias)
    edges = random_edges(9, 20)
    edges = torch.cat([edges[:, edges[1] != 7], edges[:, :4]], dim=1)  # a node without neighbours, repeated edges
    x = torch.randn(9, 4, dtype=DOUBLE)
    x[0] = 0
    out = layer(x, edges)
    torch.testing.assert_close(out, in_loops(layer, x, edges), rtol=0, atol=1e-12)
    torch.testing.assert_close(out[7], -layer.mixture.weight.flatten())


def test_one_component_is_the_plain_mean() -> None:
    layer = graphs.FisherEmbedding(4, 4, num_mixtures=1, projection=None, subtract_mean=False).double()
    x, edges = torch.randn(6, 4, dtype=DOUBLE), random_edges(6, 15)
    for v in range(6):
        neighbors = x[edges[0, edges[1] == v]]
        mean = neighbors.mean(0) if len(neighbors) else torch.zeros(4, dtype=DOUBLE)
        torch.testing.assert_close(layer(x, edges)[v], mean, rtol=0, atol=1e-15)


def mixture_of_scikit(centres: Tensor) -> GaussianMixture:
    """Spherical components of variance D and equal weight, as its initial state has them."""
    count, width = centres.shape
    found = GaussianMixture(count, covariance_type="spherical", reg_covar=0)
    found.weights_ = torch.full((count,), 1 / count, dtype=DOUBLE).numpy()
    found.means_ = centres.numpy()
    found.covariances_ = torch.full((count,), float(width), dtype=DOUBLE).numpy()
    found.precisions_cholesky_ = found.covariances_**-0.5
    return found


def test_the_posterior_is_that_of_a_mixture_and_a_step_that_of_expectation_maximisation() -> None:
    layer = graphs.FisherEmbedding(4, 12, num_mixtures=3, projection=None, subtract_mean=False, attention="posterior")
    layer.double().mixture.reset_parameters()  # of length one in double precision
    rows = F.normalize(torch.randn(12, 4, dtype=DOUBLE), dim=1)
    scikit = mixture_of_scikit(layer.mixture.weight[:, 0].detach())
    posterior = torch.from_numpy(scikit.predict_proba(rows.numpy()))
    torch.testing.assert_close(layer.mixture.posterior(rows)[..., 0], posterior, rtol=0, atol=1e-12)
    scikit._m_step(rows.numpy(), posterior.log().numpy())
    everyone = torch.stack([torch.arange(12), torch.zeros(12, dtype=torch.long)])
    step = layer((rows, rows[:1]), everyone).view(3, 4)
    torch.testing.assert_close(step, torch.from_numpy(scikit.means_), rtol=0, atol=1e-12)
    published = graphs.FisherEmbedding(4, 12, num_mixtures=3, projection=None, subtract_mean=False).double()
    published.load_state_dict(layer.state_dict())
    weak = published((rows, rows[:1]), everyone).view(3, 4)
    mean = rows.mean(0)
    assert (weak - mean).abs().max() < (step - mean).abs().max()


def test_degrees_count_the_edges_that_leave() -> None:
    x, edges = torch.randn(6, 4, dtype=DOUBLE), random_edges(6, 15)
    plain = graphs.FisherEmbedding(4, 5, num_mixtures=2).double()
    layer = graphs.FisherEmbedding(4, 5, num_mixtures=2, use_degree=True).double()
    layer.load_state_dict(plain.state_dict())
    leaving = torch.tensor([(edges[0] == v).sum() for v in range(6)], dtype=DOUBLE)
    torch.testing.assert_close(layer(x, edges), plain(x, edges) * (1 + leaving).log().unsqueeze(1))


def test_pooling_embeds_the_nodes_of_each_graph() -> None:
    pool = graphs.FisherPooling(4, 6, num_mixtures=3).double()
    x, batch = torch.randn(9, 4, dtype=DOUBLE), torch.tensor([0, 2, 0, 0, 2, 2, 0, 2, 0])
    out = pool(x, batch)
    assert out.shape == (3, 6)
    for graph in (0, 2):
        torch.testing.assert_close(out[graph], pool(x[batch == graph])[0])
    nodes = torch.arange(9)
    embedding = pool.mixture(x, Lists.of_edges(torch.stack([nodes, batch]), (9, 3))[0])
    torch.testing.assert_close(out, pool.projection(embedding))


@pytest.mark.parametrize("projection", ["kernel", "relu", None])
def test_gradients(projection: str | None) -> None:
    layer = graphs.FisherEmbedding(3, 3 if projection else 6, num_mixtures=2, projection=projection).double()
    edges, parameters = random_edges(5, 12), [p for p in layer.parameters() if p.dim() != 1]
    x = torch.randn(5, 3, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *_: layer(x, edges), (x, *parameters), fast_mode=True)


def test_the_inverse_square_root_is_that_of_a_matrix_and_is_differentiated_where_eigenvalues_are_equal() -> None:
    root = importlib.import_module("convnn.nn.graphs.multisets.kernel_projection").inverse_square_root
    half = torch.randn(5, 5, dtype=DOUBLE)
    matrix = half @ half.T
    back = torch.linalg.inv(root(matrix)) - 0.01 * torch.eye(5, dtype=DOUBLE)
    torch.testing.assert_close(back @ back, matrix)
    even = torch.eye(4, dtype=DOUBLE).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: root((m + m.T) / 2), even, fast_mode=True)


def test_more_anchors_than_channels_have_finite_gradients() -> None:
    """The matrix of a linear kernel is singular then; along its null space nothing moves."""
    layer = graphs.KernelProjection(2, 4, kernel="linear").double()
    z = torch.randn(5, 2, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z, _: layer(z), (z, layer.weight), fast_mode=True)


def test_products_of_projections_are_the_kernel_where_anchors_span_it() -> None:
    """Of anchors themselves they are their kernel, up to what is added to the square roots."""
    layer = graphs.KernelProjection(3, 5, sigma=0.7).double()
    anchors = layer.anchors()
    kappa = ((anchors @ anchors.T - 1) / 0.49).exp()
    projected = layer(2 * anchors)
    torch.testing.assert_close(projected @ projected.T, 4 * kappa, rtol=0, atol=0.3)
    torch.testing.assert_close(layer(torch.zeros(1, 3, dtype=DOUBLE)), torch.zeros(1, 5, dtype=DOUBLE))
    layer.eval()
    with torch.no_grad():
        before = layer(anchors)
        layer.weight.copy_(torch.randn_like(layer.weight))
        assert (layer(anchors) - before).abs().max() > 0.1, "nothing is kept from before the anchors moved"


def test_clustering_finds_directions() -> None:
    directions = torch.eye(4, dtype=DOUBLE)
    lengths = 1 + torch.rand(80, 1, dtype=DOUBLE)
    rows = lengths * (directions.repeat(20, 1) + 0.05 * torch.randn(80, 4, dtype=DOUBLE))
    centres = graphs.spherical_kmeans(rows, 4, start=torch.arange(4))
    truth = F.normalize(F.normalize(rows, dim=1).view(20, 4, 4).mean(0), dim=1)
    torch.testing.assert_close(centres, truth)
    drawn = [graphs.spherical_kmeans(rows, 4, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*drawn)


def test_clusters_without_rows_take_the_rows_that_are_furthest() -> None:
    rows = torch.tensor([[1.0, 0], [1, 0], [1, 0], [0, 1], [-1, 0.1]], dtype=DOUBLE)
    once = graphs.spherical_kmeans(rows, 3, start=torch.arange(3), rounds=1)
    torch.testing.assert_close(once[1], F.normalize(rows[4], dim=0))
    torch.testing.assert_close(once[2], rows[3])


def test_a_network_without_labels_tells_apart_what_a_mean_does_not() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 2
    signs = torch.tensor([1.0, -1]).repeat(60, 5)
    x = 0.3 * torch.randn(60, 10, 4, generator=generator)
    x[torch.arange(60), :, labels] += signs
    x = torch.cat([torch.zeros(60, 4), x.flatten(0, 1)])
    edges = torch.stack([torch.arange(600) + 60, torch.arange(60).repeat_interleave(10)])
    layer = graphs.FisherEmbedding(4, 16, num_mixtures=4, projection=None)
    layer.fit_anchors(x, edges, generator)
    torch.testing.assert_close(layer.mixture.weight.norm(dim=-1), torch.ones(4, 1))
    out = layer(x, edges)[:60].detach()
    half = torch.cat([out[:30], torch.ones(30, 1)], dim=1)
    fit = torch.linalg.lstsq(half, 2.0 * labels[:30] - 1).solution
    right = ((torch.cat([out[30:], torch.ones(30, 1)], dim=1) @ fit > 0).long() == labels[30:]).double().mean()
    assert right > 0.9


def test_the_network_without_labels_is_fitted_part_by_part() -> None:
    x, edges = torch.randn(50, 6), random_edges(50, 200)
    network = graphs.FIENet(6, 8, num_layers=2, num_mixtures=3)
    before = network(x, edges)
    assert before.shape == (50, 8 + 8 + 24)
    network.fit(x, edges, torch.Generator().manual_seed(0), samples=40)
    after = network(x, edges)
    assert (after - before).abs().max() > 1e-2
    last = graphs.FIENet(6, 8, num_layers=2, num_mixtures=3, concat=False)
    last.load_state_dict(network.state_dict())
    torch.testing.assert_close(last(x, edges), after[:, 16:])


@pytest.mark.parametrize("projection", ["kernel", "relu"])
def test_classifiers_train(projection: str) -> None:
    x, edges, batch = torch.randn(24, 5), random_edges(12, 40), torch.arange(24) // 12
    edges = torch.cat([edges, edges + 12], dim=1)
    network = graphs.SupFIENet(
        5, 2, hidden=8, num_layers=2, num_mixtures=3, projection=projection, sigma=1.0, dropout=0.1
    )
    assert network(x, edges).shape == (24, 2)
    optimizer, losses = torch.optim.Adam(network.parameters(), 0.02), []
    for _ in range(40):
        loss = F.cross_entropy(network(x, edges, batch), torch.tensor([0, 1]))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] / 2
    assert all(math.isfinite(loss) for loss in losses)


def one(**settings: object) -> nn.Module:
    return graphs.FisherEmbedding(3, 4, **settings)


X, EDGES = torch.zeros(5, 3), torch.tensor([[0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: one(num_mixtures=0), r"num_mixtures=0 must be an integer of at least 1"),
        (lambda: one(num_heads=0), r"num_heads=0 must be an integer of at least 1"),
        (lambda: one(sigma=0.0), r"sigma=0.0 must be a positive number"),
        (lambda: one(projection="linear"), r"projection='linear' is not one of kernel, relu"),
        (lambda: one(kernel="poly"), r"kernel='poly' is not one of exp, linear"),
        (lambda: one(attention="sum"), r"attention='sum' is not one of softmax, posterior"),
        (lambda: one(projection=None), r"out_channels=4 must be 24 without a projection"),
        (
            lambda: one()(torch.zeros(5, 2), EDGES),
            r"x of shape \(5, 2\) and torch.float32 must be floating and \(N, 3\), .*",
        ),
        (lambda: one()(X, EDGES - 1), r"edge_index has sources from -1 to 0; .*"),
        (lambda: one(use_degree=True)((X, X), EDGES), r"use_degree=True must be False for sources and targets .*"),
        (
            lambda: graphs.spherical_kmeans(X, 6),
            r"rows of shape \(5, 3\) must be at least 6, one for each cluster",
        ),
        (
            lambda: graphs.spherical_kmeans(X, 2, start=torch.zeros(3, dtype=torch.long)),
            r"start of shape \(3,\) must be \(2,\), a row for each cluster",
        ),
        (lambda: graphs.SupFIENet(3, 2, num_layers=0), r"num_layers=0 must be an integer of at least 1"),
        (lambda: graphs.SupFIENet(3, 2, dropout=2), r"dropout=2 must lie between 0 and 1"),
    ],
)
def test_bad_input_is_one_sentence(wrong, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}$"):
        wrong()
