"""Tests of the modules of deep kernel machines: explicit features, distributions of PyTorch, wide networks."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel
from torch import Tensor, nn
from torch.distributions import MultivariateNormal, kl_divergence

from convnn.errors import InputError, UnsupportedError
from convnn.learners import ArcCosine, Gaussian, Laplace, Linear
from convnn.learners.deep.gram import Gram, divergence, factor
from convnn.learners.deep.gram_layer import GramLayer, start
from convnn.learners.deep.inputs import FeatureGram
from convnn.learners.deep.kernels import KernelLayer, ReLUKernelLayer, kernel_layer
from convnn.learners.deep.output import (
    Functions,
    GaussianOutput,
    categorical_likelihood,
    condition,
    gaussian_likelihood,
    linear_optimum,
)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.double)


def positive(size: int, seed: int = 0) -> Tensor:
    root = normal(size, size + 2, seed=seed)
    return root @ root.T / size


def triple(inducing: int, points: int, width: int = 9) -> Gram:
    return FeatureGram(normal(inducing, width)).double()(normal(points, width, seed=5))


def zero_mean(covariance: Tensor) -> MultivariateNormal:
    return MultivariateNormal(covariance.new_zeros(covariance.shape[0]), covariance)


def test_divergence_is_that_of_normal_distributions() -> None:
    G, K = positive(5), positive(5, 1)
    found = divergence(factor(G, "G"), factor(K, "K"))
    torch.testing.assert_close(found, kl_divergence(zero_mean(G), zero_mean(K)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("points", [0, 1, 4])
def test_a_gram_layer_conditions_on_the_inducing_points(points: int) -> None:
    gram, layer = triple(5, points), GramLayer(5, 0.3).double()
    with torch.no_grad():
        layer.root.copy_(normal(5, 5))
        layer.log_scale.fill_(0.2)
    found = layer(gram)
    G = math.exp(0.2) * layer.root @ layer.root.T / 5
    inverse = torch.linalg.inv(gram.ii)
    for row in range(points):
        w = gram.ti[row] @ inverse
        torch.testing.assert_close(found.ti[row], w @ G)
        torch.testing.assert_close(found.t[row], gram.t[row] - w @ gram.ti[row] + w @ G @ w)
    torch.testing.assert_close(found.cost, 0.3 * kl_divergence(zero_mean(G), zero_mean(gram.ii)))


def test_layers_are_the_identity_at_the_start() -> None:
    kernels = [KernelLayer(Gaussian()), ReLUKernelLayer()]
    learned = [GramLayer(6, 0.5), GramLayer(6, 2.0)]
    first = FeatureGram(normal(6, 3))
    deep = nn.Sequential(first, kernels[0], learned[0], kernels[1], learned[1]).double()
    start(deep, normal(2, 3))
    found, expected = deep(normal(4, 3, seed=3)), nn.Sequential(first, *kernels)(normal(4, 3, seed=3))
    for ours, theirs in zip(found[:3], expected[:3], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert abs(found.cost.item()) < 1e-13


def test_kernels_of_triples_are_kernels_of_points() -> None:
    Z, X = normal(5, 3), normal(4, 3, seed=2)
    found = KernelLayer(Gaussian(), mult_eps=0.1, abs_eps=0.2)(FeatureGram(Z)(X))
    expected = torch.from_numpy(rbf_kernel(torch.cat([Z, X]), gamma=1 / 6))
    torch.testing.assert_close(found.ii, expected[:5, :5] + 0.3 * torch.eye(5))
    torch.testing.assert_close(found.ti, expected[5:, :5])
    torch.testing.assert_close(found.t, torch.full((4,), 1.3).double())


def test_relu_layers_are_a_wide_random_network() -> None:
    Z, X, width = normal(4, 3), normal(3, 3, seed=2), 5_000
    layers = [ReLUKernelLayer(0.8, 0.1, mult_eps=0, abs_eps=1e-12) for _ in range(2)]
    found = nn.Sequential(FeatureGram(Z), *layers).double()(X)
    units = torch.cat([Z, X]).float() / math.sqrt(3)
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        weights = torch.randn(units.shape[1], width, generator=generator)
        units = (2 * 0.8 / width) ** 0.5 * (units @ weights).relu()
        units = torch.cat([units, torch.full((7, 1), 0.1**0.5)], 1)
    expected = (units @ units.T).double()
    torch.testing.assert_close(found.ii, expected[:4, :4], rtol=0.1, atol=0.05)
    torch.testing.assert_close(found.ti, expected[4:, :4], rtol=0.1, atol=0.05)
    torch.testing.assert_close(found.t, expected.diagonal()[4:], rtol=0.1, atol=0.05)


@pytest.mark.parametrize("order", [1, 2])
def test_arc_cosine_has_its_slope_at_angle_0(order: int) -> None:
    gram = torch.tensor([[2.0, 2.0, -2.0], [2.0, 2.0, 1.9]], dtype=torch.double)
    slopes = []
    for shift in (0.0, 1e-7):
        xy = (gram * (1 - shift)).requires_grad_()
        ArcCosine(order).of_gram(xy, gram.new_full((2,), 2.0), gram.new_full((3,), 2.0)).sum().backward()
        slopes.append(xy.grad)
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=1e-3)
    X = normal(3, 2)
    torch.testing.assert_close(ArcCosine(order).diagonal(X), ArcCosine(order).block(X, X).diagonal())


@pytest.mark.parametrize("kernel", [Linear(), Laplace(2.0), ArcCosine(1), "relu"], ids=str)
def test_gradients(kernel) -> None:
    deep = nn.Sequential(
        kernel_layer(kernel, 1e-2), GramLayer(3, 0.4), kernel_layer(kernel, 1e-2), GaussianOutput(3, 2)
    )
    deep.double()
    with torch.no_grad():
        for p in deep.parameters():
            p.add_(0.1 * normal(*p.shape, seed=2))
    inputs = [normal(3, 4), normal(2, 4, seed=2)]

    def run(Z: Tensor, X: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        gram = Gram(Z @ Z.T / 4, X @ Z.T / 4, X.square().mean(1), X.new_zeros(()))
        named = dict(zip(dict(deep.named_parameters()), parameters, strict=True))
        return tuple(torch.func.functional_call(deep, named, (gram,)))

    leaves = [one.detach().clone().requires_grad_() for one in (*inputs, *deep.parameters())]
    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)


@pytest.mark.parametrize("how", ["mean", "sum"])
def test_output_is_a_process_given_its_inducing_points(how: str) -> None:
    gram, end = triple(4, 3), GaussianOutput(4, 2, output_kl=how).double()
    with torch.no_grad():
        end.mean.copy_(normal(4, 2))
        end.root.copy_(normal(4, 4))
    found, A = end(gram), end.root @ end.root.T / 4
    w = gram.ti @ torch.linalg.inv(gram.ii)
    torch.testing.assert_close(found.mean, w @ end.mean)
    torch.testing.assert_close(found.variance, gram.t + (w @ (A - gram.ii) @ w.T).diagonal())
    whole = sum(kl_divergence(MultivariateNormal(end.mean[:, o], A), zero_mean(gram.ii)) for o in range(2))
    torch.testing.assert_close(found.cost, whole if how == "sum" else whole / 2)


def test_the_objective_with_inducing_points_reaches_the_marginal_likelihood() -> None:
    """At the exact posterior, with all points as inducing points, the bound is tight."""
    X, Y, noise = normal(6, 3), normal(6, 2, seed=1), 0.3
    gram = KernelLayer(Gaussian(), mult_eps=0, abs_eps=0)(FeatureGram(X)(X))
    gain = gram.ii @ torch.linalg.inv(gram.ii + noise * torch.eye(6))
    end = GaussianOutput(6, 2, output_kl="sum").double()
    with torch.no_grad():
        end.mean.copy_(gain @ Y)
        end.root.copy_(math.sqrt(6) * torch.linalg.cholesky(gram.ii - gain @ gram.ii))
    found = end(gram)
    bound = 6 * gaussian_likelihood(found.mean, Y, noise, found.variance) - found.cost
    exact = MultivariateNormal(torch.zeros(6).double(), gram.ii + noise * torch.eye(6)).log_prob(Y.T).sum()
    torch.testing.assert_close(bound, exact)
    torch.testing.assert_close(condition(gram, Y, noise).likelihood, exact)


def test_likelihoods_of_samples() -> None:
    functions = Functions(normal(3, 2), torch.tensor([0.5, 0.0, 2.0]).double(), torch.zeros(()))
    noise = normal(20_000, 3, 2)
    samples = functions.samples(noise)
    y, classes = normal(3, 2, seed=4), torch.tensor([1, 0, 1])
    expected = gaussian_likelihood(functions.mean, y, 0.4, functions.variance)
    torch.testing.assert_close(gaussian_likelihood(samples, y, 0.4), expected, rtol=0.02, atol=0)
    torch.testing.assert_close(samples[..., 1].var(0), functions.variance, rtol=0.05, atol=1e-12)
    torch.testing.assert_close(functions.probabilities(noise), samples.exp().div(samples.exp().sum(-1, True)).mean(0))
    cross = nn.functional.cross_entropy(samples.flatten(0, 1), classes.repeat(20_000))
    torch.testing.assert_close(categorical_likelihood(samples, classes), -cross)


def test_linear_optimum_is_a_maximum_of_equal_steps() -> None:
    first, Y, layers = positive(4), normal(4, 4, seed=3), 3
    target = Y @ Y.T / 4
    grams = linear_optimum(first, target, layers)
    chain = [first, *grams, target]
    for before, here, after in zip(chain, chain[1:], chain[2:], strict=False):
        torch.testing.assert_close(here @ torch.linalg.inv(before) @ here, after)

    def objective(given: list[Tensor]) -> Tensor:
        costs = [divergence(factor(b, "b"), factor(a, "a")) for a, b in zip([first, *given], given, strict=False)]
        end = Gram(given[-1], first[:0], first[:0, 0], 4 * torch.stack(costs).sum())
        return condition(end, Y, 0.0).likelihood - end.cost

    leaves = [gram.clone().requires_grad_() for gram in grams]
    slopes = torch.autograd.grad(objective(leaves), leaves)
    assert max(float(slope.abs().max()) for slope in slopes) < 1e-8
    assert objective(grams) > objective([gram + 0.01 * torch.eye(4) for gram in grams])


def test_bad_input() -> None:
    gram = triple(3, 2)
    for call, message in (
        (lambda: GramLayer(3, 0), "dof=0 must be a positive number"),
        (lambda: GramLayer(3, math.inf), "dof=inf must be finite"),
        (lambda: GramLayer(0), "inducing=0 must be an integer of at least 1"),
        (lambda: GramLayer(2)(gram), "inducing=2 of GramLayer must be 3, as many as come in"),
        (lambda: KernelLayer(np.exp), "kernel=<ufunc 'exp'> must be a function of inner products"),
        (lambda: kernel_layer("rleu", 0.1), "kernel='rleu' is not one of .*did you mean 'relu'"),
        (lambda: kernel_layer("relu", -1), "jitter=-1 must be at least 0"),
        (lambda: ReLUKernelLayer(bias_variance=0), "weight_variance=1.0 and bias_variance=0 must be positive"),
        (lambda: FeatureGram(normal(3, 2))(normal(4, 3)), r"x of shape \(4, 3\) must be \(B, 2\)"),
        (lambda: GaussianOutput(3, 1, output_kl="max"), "output_kl='max' is not one of mean, sum"),
        (lambda: condition(gram, normal(3, 1), -0.5), "noise_variance=-0.5 must be at least 0"),
        (lambda: condition(gram, normal(4, 1), 0.5), "y has 4 rows, and must have 3"),
        (lambda: gaussian_likelihood(normal(3, 1), normal(3, 1), 0), "noise_variance=0 must be a positive number"),
        (lambda: categorical_likelihood(normal(1, 2, 3), torch.tensor([0, 3])), "classes have 0 to 3, and must be"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            call()
    flat = FeatureGram(normal(3, 2) * 0)(normal(1, 2))
    with pytest.raises(
        UnsupportedError, match=r"^the kernel before layer 7 is not positive definite in torch\.float64"
    ):
        GramLayer(3, name="layer 7").double()(flat)
