"""Features by random walks: dense inverses and exponentials, identities, and what is refused."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import linalg, sparse
from scipy.sparse.csgraph import laplacian
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from torch import Tensor, nn

from convnn.errors import InputError, UnsupportedError
from convnn.graphs.random_features import (
    MODULATIONS,
    GraphRandomFeatures,
    deconvolved,
    diffusion,
    estimator,
    random_walk,
    regularized,
    walking,
)
from convnn.graphs.random_features.modulations import coefficients
from convnn.ops.walks import Stream

EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "regularized_1": lambda u: linalg.inv(np.eye(len(u)) - u),
    "regularized_2": lambda u: linalg.inv((np.eye(len(u)) - u) @ (np.eye(len(u)) - u)),
    "random_walk_2": lambda u: (np.eye(len(u)) + u) @ (np.eye(len(u)) + u),
    "diffusion": linalg.expm,
    "cosine": lambda u: linalg.sinm(u) + linalg.cosm(u),
}


def weights() -> Tensor:
    """Return a weighted graph (6, 6) of a triangle with a tail, and a node without edges."""
    found = torch.zeros(6, 6, dtype=torch.float64)
    for i, j, weight in ((0, 1, 1.0), (1, 2, 2.0), (0, 2, 0.5), (2, 3, 1.5), (3, 4, 3.0)):
        found[i, j] = found[j, i] = weight
    return found


def copies(graph: Tensor, count: int) -> sparse.csr_array:
    return sparse.csr_array(sparse.kron(sparse.eye_array(count), graph.numpy()))


def mean_block(matrix: sparse.csr_array, size: int = 6) -> np.ndarray:
    """Return the mean of the blocks on the diagonal of a sparse matrix; nothing else may be there."""
    found, copied = matrix.tocoo(), matrix.shape[0] // size
    rows, columns = found.coords
    assert (rows // size == columns // size).all()
    return sparse.coo_array((found.data, (rows % size, columns % size)), shape=(size, size)).toarray() / copied


@pytest.mark.parametrize("normalization", ["laplacian", "adjacency", None])
@pytest.mark.parametrize("antithetic", [False, True])
def test_means_of_many_estimates_are_the_kernels(normalization: str | None, antithetic: bool) -> None:
    graph = weights() if normalization else weights() / 8
    model = GraphRandomFeatures(
        walks=4,
        p_halt=0.3,
        normalization=normalization,
        sigma2=0.5,
        antithetic=antithetic,
        output="scipy",
        random_state=4,
    ).fit(copies(graph, 800))
    u = model.matrix_[:6, :6].toarray()
    for name, exact in EXACT.items():
        model.set_params(modulation=name)
        found = mean_block(model.transform() @ model._sparse(model._second(True), "scipy").T)
        assert linalg.norm(found - exact(u)) < 0.03 * linalg.norm(exact(u))
    b = torch.arange(6.0).repeat(800)
    solved = model.solve(b).view(800, 6).mean(0).numpy()
    assert solved == pytest.approx(linalg.solve(np.eye(6) - u, np.arange(6.0)), rel=0.03, abs=0.03)


def test_the_diagonal_of_one_set_of_walks_is_biased() -> None:
    """And nothing else, by the variance; the features of two sets have no bias on it."""
    model = GraphRandomFeatures("diffusion", walks=2, p_halt=0.5, output="scipy").fit(copies(weights(), 8000))
    exact = linalg.expm(model.matrix_[:6, :6].toarray())
    features = model.transform()
    off = mean_block(features @ features.T) - exact
    assert (off.diagonal()[:5] > 0.015).all()
    assert np.abs(off - np.diag(off.diagonal())).max() < 0.01


def test_the_scaled_matrix_is_that_of_the_laplacian() -> None:
    connected = weights()[:5, :5]
    u = GraphRandomFeatures(walks=1, sigma2=0.7).fit(connected).matrix_.toarray()
    expected = np.eye(5) + 0.7 * laplacian(connected.numpy(), normed=True)
    assert 1.7 * (np.eye(5) - u) == pytest.approx(expected, abs=1e-14)
    adjacency = GraphRandomFeatures(walks=1, sigma2=0.7, normalization="adjacency").fit(connected).matrix_
    assert adjacency.toarray() / 0.7 == pytest.approx(u * 1.7 / 0.7, abs=1e-14)
    loops = connected + torch.diag(torch.arange(5.0))
    assert (GraphRandomFeatures(walks=1, sigma2=0.7).fit(loops).matrix_.toarray() == u).all()
    kept = GraphRandomFeatures(walks=1, normalization=None).fit(loops).matrix_
    assert (kept.toarray() == loops.numpy()).all()


def test_a_node_without_edges_is_itself() -> None:
    model = GraphRandomFeatures(sigma2=3.0, walks=3).fit(weights())
    assert model.transform().to_dense()[5].tolist() == [0, 0, 0, 0, 0, 1]
    kernel = model.laplacian_kernel(3)
    assert kernel[5, 5].item() == pytest.approx(4**-3)
    assert kernel[5, :5].count_nonzero() == kernel[:5, 5].count_nonzero() == 0


def test_the_kernel_of_the_laplacian() -> None:
    model = GraphRandomFeatures("diffusion", alpha=None, walks=4000, p_halt=0.3, sigma2=0.5, random_state=2).fit(
        weights()[:5, :5]
    )
    inverse = linalg.inv(np.eye(5) + 0.5 * laplacian(weights()[:5, :5].numpy(), normed=True))
    for d in (1, 2, 3):
        exact = np.linalg.matrix_power(inverse, d)
        assert linalg.norm(model.laplacian_kernel(d).numpy() - exact) < 0.04 * linalg.norm(exact)
    assert model.modulation == "diffusion"


def test_features_are_the_sum_of_their_stack() -> None:
    model = GraphRandomFeatures("diffusion", walks=5, p_halt=0.3, random_state=3).fit(weights())
    stack = [one.to_dense() for one in model.features_by_length()]
    assert len(stack) == model.loads_.length > 3
    f = coefficients("diffusion", None, len(stack))
    torch.testing.assert_close(sum(f[t] * one for t, one in enumerate(stack)), model.transform().to_dense())
    torch.testing.assert_close(stack[0], torch.eye(6, dtype=torch.float64))
    model.set_params(modulation=[1.0])
    assert model.transform().to_dense().equal(torch.eye(6, dtype=torch.float64))
    model.set_params(modulation="regularized_2")
    torch.testing.assert_close(model.transform().to_dense(), sum(stack))


@pytest.mark.parametrize("name", MODULATIONS)
def test_modulations_convolve_to_their_series(name: str) -> None:
    """The kernel of a number as a matrix (1, 1) is the series of that number."""
    f = coefficients(name, None, 60).numpy()
    series = np.convolve(f, f)[:60]
    for u in (-0.3, 0.2):
        summed = series @ u ** np.arange(len(series))
        assert summed == pytest.approx(EXACT[name](np.array([[u]])).item(), rel=1e-12)


@pytest.mark.parametrize(
    ("modulation", "function"),
    [
        (regularized(3.5), lambda u: (1 - u) ** -3.5),
        (diffusion(-2.5), lambda u: math.exp(-2.5 * u)),
        (random_walk(3, 1.5), lambda u: (1.5 + u) ** 3),
        (random_walk(4, 2.0), lambda u: (2 + u) ** 4),
    ],
)
def test_families_of_modulations(modulation: Callable[[int], float], function: Callable[[float], float]) -> None:
    f = coefficients(modulation, None, 80).numpy()
    for u in (-0.4, 0.3):
        assert (f @ u ** np.arange(len(f))) ** 2 == pytest.approx(function(u), rel=1e-12)
    assert math.isfinite(regularized(1)(400))
    assert len(coefficients(random_walk(4, 2.0), None, 80)) == 3  # then they are 0, and cost nothing


def test_coefficients_are_deconvolved() -> None:
    alpha = torch.tensor([2.0, 0.5, -0.3, 0.1], dtype=torch.float64, requires_grad=True)
    f = deconvolved(alpha, 9)
    series = np.convolve(f.detach(), f.detach())[:9]
    assert series == pytest.approx([2.0, 0.5, -0.3, 0.1, 0, 0, 0, 0, 0], abs=1e-14)
    assert torch.autograd.gradcheck(lambda a: deconvolved(a, 6), alpha, fast_mode=True)
    model = GraphRandomFeatures(alpha=lambda k: k + 1, walks=4, random_state=1).fit(weights())
    plain = model.transform().to_dense()
    torch.testing.assert_close(plain, model.set_params(alpha=None).transform().to_dense())
    ours = model.set_params(alpha=[1, 1 / 2, 1 / 8]).kernel()  # a list, of the square of a truncated series
    torch.testing.assert_close(ours, model.set_params(alpha=torch.tensor([1, 1 / 2, 1 / 8, 0, 0])).kernel())


def test_gradients_reach_the_modulation() -> None:
    model = GraphRandomFeatures(walks=3, p_halt=0.3, random_state=5).fit(weights())
    f = torch.rand(4, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y = torch.arange(12.0).view(6, 2)

    def results(f: Tensor) -> tuple[Tensor, ...]:
        model.set_params(modulation=f)
        product = model.kernel_product(y)
        return model.transform().to_dense(), model.kernel(), model.kernel(independent=False), product

    assert torch.autograd.gradcheck(results, f, fast_mode=True)
    scale = nn.Parameter(torch.tensor(0.4))
    model.set_params(modulation=lambda k: scale**k).kernel().sum().backward()
    assert scale.grad.abs() > 0.1


def test_a_modulation_learns() -> None:
    free = nn.Parameter(torch.ones(6, dtype=torch.float64))
    u = torch.from_numpy(GraphRandomFeatures(walks=1).fit(weights()).matrix_.toarray())
    optimizer, target = torch.optim.Adam([free], 0.05), torch.linalg.matrix_exp(u)
    losses = []
    for seed in range(40):
        drawn = GraphRandomFeatures(free, walks=8, p_halt=0.3, random_state=seed).fit(weights())
        loss = (drawn.kernel() - target).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:5])


def test_parts_of_the_kernel_are_parts() -> None:
    model = GraphRandomFeatures(walks=6, random_state=9).fit(weights())
    kernel, rows, columns = model.kernel(), torch.tensor([4, 0, 0]), torch.tensor([2, 5])
    assert kernel.equal(model.kernel())  # the other walks are made once
    torch.testing.assert_close(model.kernel(rows, columns), kernel[rows][:, columns])
    assert model.transform(rows).to_dense().equal(model.transform().to_dense()[rows])
    y = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model.kernel_product(y), kernel @ y)
    torch.testing.assert_close(model.kernel_product(y[:, 0].float()), kernel @ y[:, 0].float().double())
    torch.testing.assert_close(model.kernel(symmetrize=True), (kernel + kernel.T) / 2)
    same = model.kernel(independent=False)
    torch.testing.assert_close(same, same.T)
    assert torch.linalg.eigvalsh(same).min() > -1e-12
    assert not kernel.allclose(kernel.T)


def test_graphs_of_any_form_have_the_same_walks() -> None:
    graph, settings = weights(), {"walks": 3, "random_state": 8}
    edges = graph.nonzero().T.contiguous()
    expected = GraphRandomFeatures(**settings).fit(edges, graph[edges[0], edges[1]], 6).transform().to_dense()
    forms = (graph, graph.float(), graph.numpy(), sparse.csr_array(graph.numpy()), sparse.coo_matrix(graph.numpy()))
    for form in (*forms, graph.to_sparse_coo()):
        assert GraphRandomFeatures(**settings).fit_transform(form).to_dense().equal(expected)
    twice = torch.cat([edges, edges], 1)
    halves = (graph[edges[0], edges[1]] / 2).repeat(2)
    assert GraphRandomFeatures(**settings).fit_transform(twice, halves, 6).to_dense().equal(expected)
    assert GraphRandomFeatures(**settings, output="scipy").fit_transform(graph).toarray() == pytest.approx(
        expected.numpy()
    )


@pytest.mark.parametrize("antithetic", [False, True])
def test_bits_do_not_depend_on_how_many_walk_at_once(antithetic: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"walks": 4, "antithetic": antithetic, "random_state": 1}
    whole = GraphRandomFeatures(**settings).fit(weights())
    monkeypatch.setattr(walking, "WALKS", 8)
    run = GraphRandomFeatures(**settings).begin(weights())
    assert not run._parts
    while not run.is_over:
        tensors, places = run.state()
        model = GraphRandomFeatures(**settings)
        run = model.begin(weights())
        run.restore(tensors, places)
        run.advance()
    assert run.done == run.total == 6
    model.finish(run)
    for one, other in zip(model.loads_, whole.loads_, strict=True):
        assert one.equal(other)
    with pytest.raises(InputError, match="counts of 3 nodes"):
        run.restore({"counts": torch.zeros(2)}, {"done": 3})
    with pytest.raises(InputError, match="run has done 0 of 6 nodes"):
        model.finish(model.begin(weights()))


def test_it_is_an_estimator_of_scikit_learn() -> None:
    two = torch.block_diag(torch.ones(6, 6), torch.ones(5, 5))
    model = GraphRandomFeatures(output="scipy", walks=32, random_state=3)
    labels = make_pipeline(model, KMeans(2, n_init=3, random_state=0)).fit(two)[-1].labels_
    assert len(set(labels[:6])) == len(set(labels[6:])) == 1
    assert labels[0] != labels[6]
    again = clone(model)
    assert again.get_params() == model.get_params()
    assert "walks=32" in repr(again)
    with pytest.raises(NotFittedError):
        again.transform()
    with pytest.raises(NotFittedError):
        again.kernel()
    numbers = Stream(3)
    first = again.set_params(random_state=numbers, output="torch").fit_transform(two).to_dense()
    assert not first.equal(again.fit_transform(two).to_dense())  # a stream goes on


NEGATIVE, UNEVEN = -weights(), weights()
UNEVEN[0, 1] = 2.0


@pytest.mark.parametrize(
    ("settings", "graph", "message"),
    [
        ({"walks": 0}, weights(), "walks=0 must be an integer of at least 1"),
        ({"walks": 3, "antithetic": True}, weights(), "walks=3 must be even"),
        ({"p_halt": 1.0}, weights(), "p_halt=1.0 must be above 0 and below 1"),
        ({"sigma2": 0.0}, weights(), "sigma2=0.0 must be a positive number"),
        ({"normalization": "row"}, weights(), "normalization='row' is not one of laplacian, adjacency"),
        ({"modulation": "difusion"}, weights(), "did you mean 'diffusion'"),
        ({"modulation": lambda k: math.nan}, weights(), "modulation must be finite"),
        ({"modulation": torch.ones(2, 2)}, weights(), r"modulation of shape \(2, 2\)"),
        ({"modulation": []}, weights(), r"modulation of shape \(0,\)"),
        ({"alpha": [0.0, 1.0]}, weights(), "alpha must begin with a positive coefficient, and begins with 0.0"),
        ({"output": "numpy"}, weights(), "output='numpy'"),
        ({"random_state": -1}, weights(), "random_state=-1"),
        ({"max_length": -1}, weights(), "max_length=-1"),
        ({"reinforcement": lambda k: -1}, weights(), r"reinforcement\(0\) is -1.0, and must be positive"),
        ({}, NEGATIVE, "edge_weight has -3.0, and must be at least 0 unless normalization is None"),
        ({}, UNEVEN, "graph must be symmetric"),
        ({}, weights()[:3], r"graph of shape \(3, 6\) must be \(N, N\)"),
        ({}, torch.full((2, 2), math.nan), "graph must be finite"),
        ({}, np.array([[0, 1, 1], [1, 0, 0]]), r"graph of shape \(2, 3\) must .*; edges must be a tensor of int64"),
        ({}, torch.tensor([[0, 1], [1, 2]]), "edge_index with edge_weight, where each edge is there both ways, must"),
        ({}, torch.zeros(2, 0, dtype=torch.long), "graph must have at least one node"),
        ({}, torch.zeros(3, 4, dtype=torch.long), r"edge_index of shape \(3, 4\)"),
    ],
)
def test_what_cannot_be_fitted(settings: dict, graph: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GraphRandomFeatures(**settings).fit(graph)


def test_other_mistakes() -> None:
    edges, model = torch.tensor([[0, 1], [1, 0]]), GraphRandomFeatures(walks=1)
    with pytest.raises(InputError, match=r"edge_weight of shape \(3,\)"):
        model.fit(edges, torch.ones(3))
    with pytest.raises(InputError, match="edge_weight must be finite"):
        model.fit(edges, torch.tensor([1.0, math.nan]))
    with pytest.raises(InputError, match="num_nodes must be None for a matrix"):
        model.fit(weights(), num_nodes=6)
    model.fit(edges)
    with pytest.raises(InputError, match="nodes must be one list of int64"):
        model.transform(weights())
    with pytest.raises(InputError, match="nodes must be one list of int64"):
        model.kernel([0])
    with pytest.raises(InputError, match="y of type ndarray must be a tensor"):
        model.kernel_product(np.ones(2))
    with pytest.raises(InputError, match="nodes must lie between 0 and 1"):
        model.kernel(torch.tensor([2]))
    with pytest.raises(InputError, match=r"b of shape \(3,\) must be \(2,\)"):
        model.solve(torch.ones(3))
    with pytest.raises(InputError, match="symmetrize=True needs"):
        model.kernel(torch.tensor([0]), symmetrize=True)
    with pytest.raises(InputError, match="alpha must be finite"):
        model.set_params(alpha=[1.0, math.inf]).transform()
    model.set_params(alpha=None, normalization="adjacency").fit(edges)
    with pytest.raises(InputError, match=r"'regularized_2' needs sigma2=1.0 below 1"):
        model.transform()
    with pytest.raises(InputError, match=r"solve needs sigma2=1.0 below 1"):
        model.solve(torch.ones(2))
    with pytest.raises(InputError, match="must be 'laplacian'"):
        model.laplacian_kernel()


def test_a_kernel_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimator, "DENSE", 5)
    model = GraphRandomFeatures(walks=1).fit(weights())
    with pytest.raises(UnsupportedError, match="give rows and columns of at most 5, or take kernel_product"):
        model.kernel()
    assert model.kernel(torch.arange(2), torch.arange(3)).shape == (2, 3)
