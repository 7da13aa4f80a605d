"""Mixtures of Gaussians: values, convolution on a grid, the tree of the reduction, the fit of the ReLU, and EM."""

import re
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch.autograd import gradcheck
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from convnn.errors import InputError
from convnn.ops import mixtures
from convnn.ops.mixtures import Mixture
from convnn.ops.mixtures.fit import pixel_places


def drawn(*shape: int, dims: int = 2, seed: int = 0, spread: float = 1.0, positive: bool = False) -> Mixture:
    """Draw mixtures (B, C, N) in float64, with weights of both signs and constants."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator, dtype=torch.double)
    mean = spread * torch.randn(*shape, dims, generator=generator, dtype=torch.double)
    root = 0.4 * torch.randn(*shape, dims, dims, generator=generator, dtype=torch.double)
    cov = root @ root.mT + 0.3 * torch.eye(dims, dtype=torch.double)
    constant = torch.randn(shape[:2], generator=generator, dtype=torch.double)
    return Mixture(weight.abs() if positive else weight, mean, cov, constant)


def scaled(mixture: Mixture, scale: float) -> Mixture:
    """Scale the space of mixtures, without their constants."""
    return Mixture(mixture.weight, scale * mixture.mean, scale**2 * mixture.cov)


def moments(mixture: Mixture) -> tuple[Tensor, Tensor, Tensor]:
    """Return the integrals of v - c, x (v - c) and x x^T (v - c)."""
    weight, mean = mixture.weight, mixture.mean
    second = mixture.cov + mean.unsqueeze(-1) * mean.unsqueeze(-2)
    return weight.sum(2), torch.einsum("bcn,bcni->bci", weight, mean), torch.einsum("bcn,bcnij->bcij", weight, second)


@pytest.mark.parametrize("dims", [2, 3])
def test_values_are_those_of_torch_distributions(dims: int) -> None:
    mixture = drawn(2, 3, 5, dims=dims, positive=True)
    points = torch.randn(7, dims, dtype=torch.double, generator=torch.Generator().manual_seed(1))
    theirs = MixtureSameFamily(Categorical(mixture.weight), MultivariateNormal(mixture.mean, mixture.cov))
    density = theirs.log_prob(points[:, None, None].expand(7, 2, 3, dims)).exp().permute(1, 2, 0)
    expected = mixture.constant.unsqueeze(2) + mixture.weight.sum(2, keepdim=True) * density
    torch.testing.assert_close(mixtures.evaluate(mixture, points), expected)
    each = points.expand(2, 3, 7, dims) + mixture.mean[:, :, :1]
    alone = [[mixtures.evaluate(mixture, each[b, c])[b, c] for c in range(3)] for b in range(2)]
    torch.testing.assert_close(mixtures.evaluate(mixture, each), torch.stack([torch.stack(row) for row in alone]))


@pytest.mark.parametrize(("dims", "side", "step"), [(2, 81, 0.15), (3, 41, 0.3)])
def test_convolution_is_that_of_the_fields_on_a_grid(dims: int, side: int, step: float) -> None:
    both = drawn(1, 2, 3, dims=dims, spread=0.5), drawn(1, 2, 2, dims=dims, seed=1, spread=0.5)
    data, kernel = (scaled(one, 0.6) for one in both)
    axis = step * (torch.arange(side, dtype=torch.double) - side // 2)
    points = torch.cartesian_prod(*[axis] * dims)
    fields = [mixtures.evaluate(one, points).reshape(2, *[side] * dims).numpy() for one in (data, kernel)]
    expected = sum(fftconvolve(*pair, mode="same") for pair in zip(*fields, strict=True)) * step**dims
    found = mixtures.evaluate(mixtures.convolve(data, kernel), points).reshape(expected.shape).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("dims", [2, 3])
def test_moments_of_a_convolution(dims: int) -> None:
    data, kernel = drawn(3, 1, 4, dims=dims), drawn(2, 1, 5, dims=dims, seed=1)
    kernel = Mixture(kernel.weight, kernel.mean, kernel.cov)
    found = mixtures.convolve(data, kernel)
    (mass, first, second), (of_data, of_kernel) = moments(found), (moments(data), moments(kernel))
    x, y = (
        [one[:, 0] / parts[0].reshape(-1, *[1] * (one.dim() - 2)) for one in parts[1:]]
        for parts in (of_data, of_kernel)
    )
    torch.testing.assert_close(mass, of_data[0] @ of_kernel[0].T)
    torch.testing.assert_close(first / mass[..., None], x[0][:, None] + y[0][None])
    both = x[0][:, None, :, None] * y[0][None, :, None]
    torch.testing.assert_close(second / mass[..., None, None], x[1][:, None] + y[1][None] + both + both.mT)
    torch.testing.assert_close(found.constant, data.constant @ of_kernel[0].T)


def test_a_narrow_kernel_of_one_component_is_the_identity() -> None:
    data = drawn(2, 3, 4)
    kernel = Mixture(
        torch.eye(3).double().unsqueeze(2),
        torch.zeros(3, 3, 1, 2).double(),
        1e-30 * torch.eye(2).double().expand(3, 3, 1, 2, 2),
    )
    found = mixtures.convolve(data, kernel)
    index = torch.arange(12).reshape(3, 4).expand(2, 3, 4)  # of the own channel
    torch.testing.assert_close(found.take(index).packed, data.packed, rtol=0, atol=0)
    assert found.weight.abs().sum() == data.weight.abs().sum()
    torch.testing.assert_close(found.constant, data.constant)


def tree_by_hand(mixture: Mixture, b: int, c: int, components: int) -> list[int]:
    """Group the components of one mixture by text: keys are strings of zeros and ones, and lists of them are halved."""
    weight, mean = mixture.weight[b, c].tolist(), mixture.mean[b, c].tolist()
    sides = [(min(axis), max(axis)) for axis in zip(*mean, strict=True)]

    def key(n: int) -> str:
        cells = []
        for x, (low, high) in zip(mean[n], sides, strict=True):
            cells.append(0 if high == low else min(1023, int(1024 * (x - low) / (high - low))))
        cells += [0] * (3 - len(cells))
        return ("1" if weight[n] > 0 else "0") + "".join(
            "".join(bits) for bits in zip(*(f"{q:010b}" for q in cells), strict=True)
        )

    order = sorted(range(len(weight)), key=lambda n: (key(n), n))
    keys = {n: key(n) + f"{place:032b}" for place, n in enumerate(order)}
    chosen = [order]
    while len(chosen) < components and any(len(node) > 1 for node in chosen):
        sums = [abs(sum(weight[n] for n in node)) if len(node) > 1 else -1.0 for node in chosen]
        at = sums.index(max(sums))
        node = chosen[at]
        bit = next(i for i in range(64) if keys[node[0]][i] != keys[node[-1]][i])
        chosen[at] = [n for n in node if keys[n][bit] == "0"]
        chosen.append([n for n in node if keys[n][bit] == "1"])
    return [next(slot for slot, node in enumerate(chosen) if n in node) for n in range(len(weight))]


def with_ties() -> Mixture:
    """Repeat places, put all on a line, and let weights be 0, so that the tree has what is equal."""
    one = drawn(1, 2, 6)
    mean = one.mean.repeat(1, 1, 2, 1)
    mean[..., 1] = 0.5
    weight = torch.cat([one.weight, torch.zeros(1, 2, 6)], 2)
    return Mixture(weight, mean, one.cov.repeat(1, 1, 2, 1, 1))


GROUPED = {
    "plane": lambda: drawn(2, 3, 17),
    "space": lambda: drawn(1, 2, 23, dims=3, seed=3),
    "positive": lambda: drawn(1, 1, 9, positive=True),
    "ties": with_ties,
    "one": lambda: drawn(1, 2, 1),
}


@pytest.mark.parametrize("components", [1, 2, 5, 40])
@pytest.mark.parametrize("name", GROUPED)
def test_groups_are_those_of_a_tree_of_texts(name: str, components: int) -> None:
    mixture = GROUPED[name]()
    found = mixtures.group(mixture, components)
    batch, channels, _ = mixture.weight.shape
    by_hand = [[tree_by_hand(mixture, b, c, components) for c in range(channels)] for b in range(batch)]
    assert found.tolist() == by_hand


@pytest.mark.parametrize("components", [1, 3, 8, 30])
def test_reduction_keeps_moments(components: int) -> None:
    mixture = drawn(2, 3, 20, dims=3, seed=4)
    reduced = mixtures.reduce(mixture, components)
    for ours, theirs in zip(moments(reduced), moments(mixture), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(reduced.constant, mixture.constant)
    if components > 1:
        assert (torch.linalg.eigvalsh(reduced.cov) > 0).all()
    if components == 30:  # a permutation, and empty ones
        assert (reduced.weight[..., 20:] == 0).all()
        assert torch.equal(reduced.cov[..., 20:, :, :], torch.eye(3).double().expand(2, 3, 10, 3, 3))
        order = mixtures.group(mixture, components)
        torch.testing.assert_close(reduced.take(order).packed, mixture.packed)


def test_the_fit_of_the_relu_is_the_formula_in_loops() -> None:
    mixture = drawn(2, 2, 4, dims=3)
    mixture.constant[0, 0], mixture.constant[1, 1] = 0.4, -0.3
    found = mixtures.rectify(mixture)
    for b, c in np.ndindex(2, 2):
        weight, mean, k = mixture.weight[b, c], mixture.mean[b, c], mixture.constant[b, c]
        density = torch.stack(
            [MultivariateNormal(mean[m], mixture.cov[b, c, m]).log_prob(mean).exp() for m in range(4)], 1
        )
        plus = max(k, 0 * k)
        start = torch.stack([w if w + k > 0 else -plus for w in weight]).abs() + 0.1
        wanted = (density @ weight + k).clamp(min=0) - plus
        torch.testing.assert_close(found.weight[b, c], start * (wanted + 0.05) / (density @ start + 0.05))
        assert found.constant[b, c] == plus


def test_the_fit_is_near_the_positive_part() -> None:
    mixture = drawn(20, 1, 6, spread=2.5, seed=5)
    mixture = Mixture(mixture.weight, mixture.mean, mixture.cov)
    points = torch.cartesian_prod(*[torch.linspace(-6, 6, 25, dtype=torch.double)] * 2)
    values = mixtures.evaluate(mixture, points)
    error = mixtures.evaluate(mixtures.rectify(mixture), points) - values.relu()
    assert error.square().sum() < 0.1 * (values - values.relu()).square().sum()


def test_one_component_absorbs_all() -> None:
    mixture = drawn(2, 3, 6, dims=3, spread=0.3, positive=True)
    mixture = scaled(Mixture(mixture.weight, mixture.mean, mixture.cov + 3 * torch.eye(3)), 0.01)
    torch.testing.assert_close(mixtures.absorb(mixture, 1).packed, mixtures.reduce(mixture, 1).packed)


def test_components_far_apart_absorb_nothing_and_the_largest_come_first() -> None:
    mixture = scaled(drawn(2, 1, 5, spread=100.0), 0.1)
    largest = mixtures.keep_largest(mixture, 9)
    assert torch.equal(largest.weight.abs(), mixture.weight.abs().sort(2, descending=True).values)
    torch.testing.assert_close(mixtures.absorb(mixture, 9).packed, largest.packed)
    assert torch.equal(mixtures.keep_largest(mixture, 2).packed, largest.packed[:, :, :2])


def test_what_is_absorbed_is_the_formula_in_loops() -> None:
    mixture = scaled(drawn(1, 1, 5, spread=0.7, seed=6), 0.3)
    kept = mixtures.keep_largest(mixture, 2)
    weight, large = mixture.weight[0, 0].abs(), kept.weight[0, 0].abs()
    norm = weight.sum()
    weight, large = weight / norm, large / large.sum()
    share = torch.zeros(5, 2, dtype=torch.double)
    for n, k in np.ndindex(5, 2):
        normal = MultivariateNormal(kept.mean[0, 0, k], kept.cov[0, 0, k])
        trace = torch.trace(torch.linalg.solve(kept.cov[0, 0, k], mixture.cov[0, 0, n]))
        share[n, k] = (normal.log_prob(mixture.mean[0, 0, n]).exp() * (-trace / 2).exp()) ** (20 * weight[n]) * large[k]
    assert share.sum(1).min() > 1e-5
    share = weight[:, None] * share / share.sum(1, keepdim=True)
    found = mixtures.absorb(mixture, 2)
    torch.testing.assert_close(found.weight[0, 0], share.sum(0) * kept.weight[0, 0].sign() * norm)
    for k in range(2):  # each is the merged mixture of its shares
        part = Mixture(share[:, k].view(1, 1, -1), mixture.mean, mixture.cov)
        one = mixtures.reduce(part, 1)
        torch.testing.assert_close(found.mean[0, 0, k], one.mean[0, 0, 0])
        torch.testing.assert_close(found.cov[0, 0, k], one.cov[0, 0, 0])


STEPS: dict[str, Callable[[Mixture], Mixture]] = {
    "reduce": lambda one: mixtures.reduce(one, 3),
    "rectify": mixtures.rectify,
    "convolve": lambda one: mixtures.convolve(one, Mixture(one.weight, one.mean, one.cov)),
    "largest": lambda one: mixtures.keep_largest(one, 2),
}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", STEPS)
def test_gradients(name: str, dims: int) -> None:
    mixture = drawn(2, 2, 5, dims=dims, seed=7)

    def run(*parts: Tensor) -> tuple[Tensor, Tensor]:
        weight, mean, cov, constant = parts
        found = STEPS[name](Mixture(weight, mean, (cov + cov.mT) / 2, constant))
        return found.packed, found.constant

    parts = (mixture.weight, mixture.mean, mixture.cov, mixture.constant)
    assert gradcheck(run, [one.clone().requires_grad_() for one in parts], fast_mode=True)


def test_em_is_that_of_scikit_learn_and_masses_are_repetitions() -> None:
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(0, 1, (40, 3)), rng.normal(2, 0.5, (30, 3))])
    means = points[[0, 20, 60]]
    theirs = GaussianMixture(
        3,
        max_iter=4,
        tol=0,
        reg_covar=1e-3,
        weights_init=np.ones(3) / 3,
        means_init=means,
        precisions_init=[np.eye(3)] * 3,
    )
    with pytest.warns(Warning, match="did not converge"):
        theirs.fit(points)
    start = Mixture(
        torch.ones(1, 1, 3).double(), torch.from_numpy(means)[None, None], torch.eye(3).double().expand(1, 1, 3, 3, 3)
    )
    settings = {"steps": 4, "variance": 1e-3, "start": start}
    found = mixtures.fit_points(torch.from_numpy(points), 3, **settings)
    for ours, wanted in (
        (found.weight, theirs.weights_),
        (found.mean, theirs.means_),
        (found.cov, theirs.covariances_),
    ):
        np.testing.assert_allclose(ours[0, 0], wanted, rtol=1e-9)
    mass = torch.from_numpy(rng.integers(0, 4, 70)).double()
    repeated = torch.from_numpy(points).repeat_interleave(mass.long(), 0)
    weighted = mixtures.fit_points(torch.from_numpy(points), 3, mass=mass[None], **settings)
    same = mixtures.fit_points(repeated, 3, **settings)
    torch.testing.assert_close(weighted.mean, same.mean)
    torch.testing.assert_close(weighted.weight, same.weight * mass.sum())


def test_images_become_mixtures_with_their_sums_and_moments() -> None:
    images = torch.rand(3, 2, 7, 5, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    images[1, 0] = 0
    found = mixtures.fit_images(images, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(found.weight.sum(2), images.sum((2, 3)))
    mass, first, second = moments(found)
    places = pixel_places(images)
    assert places[0].tolist() == [-2, -3]
    assert places[1].tolist() == [-1, -3]
    torch.testing.assert_close(first, images.flatten(2) @ places)
    squares = torch.einsum("bcp,pi,pj->bcij", images.flatten(2), places, places)
    torch.testing.assert_close(second, squares + mass[..., None, None] * torch.eye(2).double() / 12)
    again = mixtures.fit_images(images, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(found.packed, again.packed)
    assert mixtures.fit_images(images[:, :, :1, :1], 3, steps=1).packed.isfinite().all()  # fewer pixels than components


def test_more_components_are_nearer_to_an_image() -> None:
    y, x = torch.meshgrid(torch.linspace(-2, 2, 12), torch.linspace(-2, 2, 12), indexing="ij")
    image = (-((x.square() + y.square()).sqrt() - 1.2).square() / 0.08).exp().double()[None, None]  # a ring
    errors = []
    for components in (1, 4, 12):
        found = mixtures.fit_images(image, components, generator=torch.Generator().manual_seed(0))
        values = mixtures.evaluate(found, pixel_places(image)).view_as(image)
        errors.append(((values - image).norm() / image.norm()).item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.2


GOOD = drawn(1, 2, 3)
PACKED = torch.zeros(1, 2, 3, 7)
BAD: dict[str, tuple[Callable[[], object], str]] = {
    "last axis": (lambda: Mixture.from_packed(torch.zeros(1, 2, 3, 8)), "packed of shape (1, 2, 3, 8) must be"),
    "weight": (lambda: Mixture(GOOD.weight[0], GOOD.mean, GOOD.cov), "weight of shape (2, 3)"),
    "mean": (lambda: Mixture(GOOD.weight, GOOD.mean[..., :1], GOOD.cov), "mean of shape (1, 2, 3, 1)"),
    "cov": (
        lambda: Mixture(GOOD.weight, GOOD.mean, GOOD.cov[..., 0]),
        "cov of shape (1, 2, 3, 2) must be (1, 2, 3, 2, 2)",
    ),
    "constant": (lambda: Mixture(GOOD.weight, GOOD.mean, GOOD.cov, torch.zeros(2, 1)), "constant of shape (2, 1)"),
    "flat": (lambda: mixtures.rectify(Mixture.from_packed(PACKED)), "cov[0, 0, 0] = [[0.0, 0.0], [0.0, 0.0]] must be"),
    "negative": (lambda: mixtures.evaluate(Mixture(GOOD.weight, GOOD.mean, -GOOD.cov), GOOD.mean), "positive definite"),
    "points": (lambda: mixtures.evaluate(GOOD, torch.zeros(4, 3)), "points of shape (4, 3) must be (M, 2)"),
    "none": (lambda: mixtures.reduce(GOOD, 0), "components=0 must be an integer of at least 1"),
    "keep": (lambda: mixtures.keep_largest(GOOD, 0), "components=0 must be"),
    "groups": (lambda: mixtures.merge(GOOD, torch.zeros(1, 3).long(), 1), "groups of shape (1, 3) must be (1, 2, 3)"),
    "channels": (lambda: mixtures.convolve(GOOD, Mixture.from_packed(PACKED[:, :1])), "kernel of 1 channels in 2"),
    "constants": (lambda: mixtures.convolve(GOOD, GOOD), "kernel has a constant"),
    "image": (lambda: mixtures.fit_images(torch.full((1, 1, 2, 2), -1.0), 1), "images of shape (1, 1, 2, 2)"),
    "mass": (lambda: mixtures.fit_points(torch.zeros(4, 2), 1, mass=torch.zeros(1, 4)), "mass of shape (1, 4)"),
    "variance": (lambda: mixtures.fit_points(torch.zeros(4, 2), 1, variance=0), "variance=0 must be a positive"),
    "start": (
        lambda: mixtures.fit_points(torch.zeros(4, 2), 1, start=GOOD),
        "start of shape (1, 2, 3) must be (1, 1, 1)",
    ),
    "cloud": (lambda: mixtures.fit_points(torch.zeros(4, 4), 1), "points of shape (1, 4, 4)"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name: str) -> None:
    call, message = BAD[name]
    with pytest.raises(InputError, match=re.escape(message)):
        call()
