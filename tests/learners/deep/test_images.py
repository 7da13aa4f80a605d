"""Tests of convolutional deep kernel machines: loops over taps, explicit features, wide random convolutions, digits."""

import math
from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import check_estimator
from torch import Tensor, nn

from convnn.errors import InputError
from convnn.learners import ConvDKMClassifier
from convnn.learners.deep.gram import Gram
from convnn.learners.deep.gram_layer import GramLayer, start
from convnn.learners.deep.images import residual_network
from convnn.learners.deep.inputs import FeatureGram, PatchGram, draw_patches
from convnn.learners.deep.kernels import KernelLayer
from convnn.learners.deep.mixing import FlattenPool, GramConv2d, MeanPool, NystromPool
from convnn.learners.deep.norm import GramNorm, GramSkip
from convnn.learners.kernels import Gaussian


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed + sum(shape)), dtype=torch.double)


def maps(inducing: int, *shape: int, width: int = 9) -> tuple[Gram, Tensor, Tensor]:
    """Return a triple of maps, or of points, with its features of inducing points and of pixels."""
    z, x = normal(inducing, width), normal(*shape, width, seed=3)
    return Gram(z @ z.T, x @ z.T, x.square().sum(-1), torch.tensor(0.5).double()), z, x


@pytest.mark.parametrize(("side", "stride", "shape"), [(3, 1, (4, 5)), (3, 2, (5, 6)), (5, 2, (4, 3)), (1, 2, (3, 3))])
def test_convolution_by_loops_over_taps(side: int, stride: int, shape: tuple[int, int]) -> None:
    (gram, _, _), ours = maps(3, 2, *shape), GramConv2d(3, 2, side, stride).double()
    found, C, half = ours(gram), ours.mixture / math.sqrt(3), side // 2
    places = [range(0, extent, stride) for extent in shape]
    assert found.t.shape == (2, *map(len, places))
    expected = sum(C[:, :, i, j] @ gram.ii @ C[:, :, i, j].T for i, j in product(range(side), repeat=2)) / side**2
    torch.testing.assert_close(found.ii, expected)
    for (row, y), (column, x) in product(enumerate(places[0]), enumerate(places[1])):
        taps = [(y + i - half, x + j - half, C[:, :, i, j]) for i, j in product(range(side), repeat=2)]
        taps = [(v, u, tap) for v, u, tap in taps if 0 <= v < shape[0] and 0 <= u < shape[1]]
        torch.testing.assert_close(
            found.ti[:, row, column], sum(gram.ti[:, v, u] @ tap.T for v, u, tap in taps) / side**2
        )
        torch.testing.assert_close(found.t[:, row, column], sum(gram.t[:, v, u] for v, u, _ in taps) / len(taps))


def test_convolution_is_the_limit_of_random_channels() -> None:
    (gram, z, x), ours, width = maps(3, 1, 4, 4, width=2), GramConv2d(3, 2).double(), 100_000
    weights = normal(width, 2, 3, 3) / 3  # each of its values counts as variance 1 / k^2
    units = F.conv2d(x.movedim(-1, 1), weights, padding=1).flatten(2)[0]
    mixed = torch.einsum("opyx,pn->onyx", ours.mixture / math.sqrt(3), z)  # an image of one window, for each output
    inducing = torch.einsum("onyx,wnyx->ow", mixed, weights)
    found = ours(gram)
    torch.testing.assert_close(inducing @ inducing.T / width, found.ii, rtol=0.03, atol=0.1)
    torch.testing.assert_close((units.T @ inducing.T / width).view(1, 4, 4, 2), found.ti, rtol=0.03, atol=0.1)
    inside = (units.square().mean(0)).view(1, 4, 4)[:, 1:-1, 1:-1]
    torch.testing.assert_close(inside, found.t[:, 1:-1, 1:-1], rtol=0.03, atol=0.1)


def test_patches_of_one_pixel_are_features_and_others_are_unfolded() -> None:
    z, x = normal(4, 3), normal(2, 3)
    of_patches, of_features = PatchGram(z[..., None, None])(x[..., None, None]), FeatureGram(z)(x)
    for ours, theirs in zip(of_patches, of_features, strict=True):
        torch.testing.assert_close(ours.reshape(theirs.shape), theirs, rtol=0, atol=1e-14)
    patches, images = normal(4, 2, 3, 3), normal(2, 2, 4, 5)
    found, columns = PatchGram(patches)(images), F.unfold(images, 3, padding=1)
    torch.testing.assert_close(found.ti.flatten(1, 2).mT, patches.flatten(1) @ columns / 18)
    counted = F.unfold(torch.ones_like(images), 3, padding=1).sum(1)
    torch.testing.assert_close(found.t.flatten(1), columns.square().sum(1) / counted)
    drawn = draw_patches(images, 6, 3, torch.Generator().manual_seed(0)).flatten(1)
    assert all((columns.mT.flatten(0, 1) == one).all(1).any() for one in drawn)


def test_pooling() -> None:
    gram, z, x = maps(9, 2, 3, 2)  # as many inducing points as features: they explain all
    found, middle = NystromPool(9)(gram), x.flatten(1, 2).mean(1)
    torch.testing.assert_close(found.ti, middle @ z.T)
    torch.testing.assert_close(found.t, middle.square().sum(1))
    few, z, x = maps(2, 2, 3, 2)
    project = z.T @ torch.linalg.inv(z @ z.T) @ z
    parts, rest = x.flatten(1, 2) @ project, x.flatten(1, 2) @ (torch.eye(9) - project)
    expected = parts.mean(1).square().sum(1) + rest.square().sum((1, 2)) / 36
    torch.testing.assert_close(NystromPool(2)(few).t, expected)
    mixing = NystromPool(2, 3).double()
    mixed, A = mixing(few), mixing.mixture / math.sqrt(2)
    torch.testing.assert_close(mixed.ii, A @ few.ii @ A.T)
    torch.testing.assert_close(mixed.ti, few.ti.mean((1, 2)) @ A.T)
    torch.testing.assert_close(mixed.t, expected)
    torch.testing.assert_close(MeanPool()(few).t, few.t.mean((1, 2)))
    flat = FlattenPool(2, 4, 6).double()
    found, C = flat(few), flat.mixture / math.sqrt(2)
    torch.testing.assert_close(found.ii, sum(C[:, s] @ few.ii @ C[:, s].T for s in range(6)) / 6)
    torch.testing.assert_close(found.ti, sum(few.ti.flatten(1, 2)[:, s] @ C[:, s].T for s in range(6)) / 6)


@pytest.mark.parametrize("points", ["none", "global", "local", "location", "image"])
@pytest.mark.parametrize("shape", [(2, 3, 4), (5,)], ids=str)
def test_norms_scale_features(points: str, shape: tuple[int, ...]) -> None:
    (gram, z, x), ours = maps(3, *shape), GramNorm("local", points, "local", "global", count=3).double()
    with torch.no_grad():
        ours.inducing_scale.copy_(normal(3))
        ours.point_scale.fill_(0.3)
    found = ours(gram)
    dims = {"global": tuple(range(len(shape))), "location": (0,), "image": tuple(range(1, len(shape)))}
    squares = x.square().sum(-1)
    size = squares if points == "local" or not (over := dims.get(points)) else squares.mean(over, keepdim=True)
    x = math.exp(0.3) * x / (1 if points == "none" else size.sqrt().unsqueeze(-1))
    z = ours.inducing_scale.exp()[:, None] * z / z.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found.ii, z @ z.T)
    torch.testing.assert_close(found.ti, x @ z.T)
    torch.testing.assert_close(found.t, x.square().sum(-1))


def test_skips_average_and_add_what_branches_cost() -> None:
    gram, layers = maps(3, 2, 2, 2)[0], [GramLayer(3, 0.5).double(), GramLayer(3, 2.0).double()]
    found, parts = GramSkip(layers, (3, 1))(gram), [layer(gram) for layer in layers]
    for name in ("ii", "ti", "t"):
        torch.testing.assert_close(getattr(found, name), (3 * getattr(parts[0], name) + getattr(parts[1], name)) / 4)
    torch.testing.assert_close(found.cost, sum(part.cost for part in parts) - 0.5)  # it came in with 0.5
    same = GramSkip([nn.Sequential(), nn.Sequential()])(gram)
    torch.testing.assert_close(same.ii, gram.ii)


def test_the_network_learns_nothing_before_it_starts_and_has_gradients() -> None:
    images = normal(2, 1, 5, 4)
    deep = residual_network(normal(3, 1, 3, 3), 2, (3, 4), 1, norm="location").double()
    start(deep, images)
    gram = deep[:-1](images)
    assert gram.ti.shape == (2, 4)
    assert abs(gram.cost.item()) < 1e-12
    learned = sum(isinstance(layer, GramLayer) for layer in deep.modules())
    assert learned == 5  # one at first, and two in each block
    assert not any(isinstance(m, GramLayer) for m in residual_network(normal(3, 1, 3, 3), 2, dof=math.inf).modules())
    small = nn.Sequential(KernelLayer(Gaussian()), GramConv2d(3, 2, stride=2), GramLayer(2), GramNorm(), NystromPool(2))
    small.double()
    x, z = images.requires_grad_(), normal(3, 1, 3, 3).requires_grad_()

    def run(x: Tensor, z: Tensor) -> tuple[Tensor, ...]:
        return tuple(small(torch.func.functional_call(first, {"patches": z}, (x,))))

    first = PatchGram(z)
    assert torch.autograd.gradcheck(run, (x, z), fast_mode=True)


def test_digits_are_told_apart() -> None:
    X, y = load_digits(n_class=2, return_X_y=True)
    images = (X / 8 - 1).reshape(-1, 1, 8, 8)
    ours = ConvDKMClassifier((16,), 0, max_iter=80, lr=0.05, n_samples=8, batch_size=30, random_state=0)
    ours.fit(images[:150], y[:150])
    assert ours.score(images[150:], y[150:]) > 0.95


def test_images_are_rows_of_a_shape_and_count_each_by_itself() -> None:
    X, y = normal(9, 2, 4, 3).numpy(), np.arange(9) % 3
    ours = ConvDKMClassifier((4,), 1, max_iter=2, n_samples=4, random_state=0)
    found = ours.fit(X, y).predict_proba(X)
    rows = ConvDKMClassifier(**ours.get_params() | {"shape": (2, 4, 3)}).fit(X.reshape(9, 24), y)
    np.testing.assert_allclose(rows.predict_proba(X), found, rtol=1e-9)
    np.testing.assert_allclose(rows.predict_proba(X.reshape(9, 24)[4:5]), found[4:5], rtol=1e-9)
    with pytest.raises(ValueError, match="X has 12 features, but ConvDKMClassifier is expecting 24 features"):
        ours.predict(X[:, :1])
    with pytest.raises(InputError, match=r"^X has images of shape \(2, 3, 4\), which must be \(2, 4, 3\)"):
        ours.predict(X.transpose(0, 1, 3, 2))


@pytest.mark.long
def test_scikit_learn_takes_it() -> None:
    check_estimator(ConvDKMClassifier((6,), 0, max_iter=60, lr=0.1, n_samples=4, batch_size=30), on_skip=None)


def test_bad_input() -> None:
    gram, images = maps(3, 2, 4, 4)[0], normal(6, 2, 4, 4)
    for call, message in (
        (lambda: PatchGram(normal(3, 2, 4, 4)), "the side of patches=4 must be odd"),
        (lambda: PatchGram(normal(3, 2, 3, 5)), r"patches of shape \(3, 2, 3, 5\) must be \(P, C, k, k\)"),
        (lambda: PatchGram(normal(0, 2, 3, 3)), r"patches of shape \(0, 2, 3, 3\) must be"),
        (lambda: PatchGram(normal(3, 1, 3, 3))(images), r"x of shape \(6, 2, 4, 4\) must be \(B, 1, H, W\)"),
        (lambda: GramConv2d(3, 2, 4), "kernel_size=4 must be odd"),
        (lambda: GramConv2d(3, 0), "out=0 must be an integer of at least 1"),
        (lambda: GramConv2d(2, 2)(gram), "inducing=2 of GramConv2d must be 3"),
        (lambda: NystromPool(4)(gram), "inducing=4 of NystromPool must be 3"),
        (lambda: FlattenPool(3, 2, 9)(gram), "positions=9 must be 16, the pixels of the map that comes in"),
        (lambda: GramNorm(points="batch"), "points='batch' is not one of none, global, local, location, image"),
        (lambda: GramNorm(inducing="image"), "inducing='image' is not one of none, global, local"),
        (lambda: GramNorm(point_scale="location"), r"size=None must be \(H, W\)"),
        (lambda: GramNorm(point_scale="location", size=(3, 4))(gram), r"size of the norm is \(3, 4\), but \(4, 4\)"),
        (lambda: GramSkip([nn.Sequential()], (0,)), r"weights=\(0,\) must be a positive number for each of 1 branches"),
        (
            lambda: GramSkip([nn.Sequential(), GramConv2d(3, 2).double()])(gram),
            "branches end in triples of different shapes, ",
        ),
        (lambda: residual_network(normal(3, 1, 3, 3), 2, ()), r"widths=\(\) must have the number of inducing points"),
        (lambda: residual_network(normal(3, 1, 3, 3), 2, dof=-1), "dof=-1 must be a positive number"),
        (lambda: ConvDKMClassifier(shape=(1, 4, 4)).fit(images.flatten(1), range(6)), r"shape=\(1, 4, 4\) must be"),
        (lambda: ConvDKMClassifier(shape=16).fit(images[:, 0].flatten(1), range(6)), "shape=16 must be"),
        (lambda: ConvDKMClassifier().fit(images[:, 0], range(6)), r"X of shape \(6, 4, 4\) must be \(N, C, H, W\)"),
        (lambda: ConvDKMClassifier(blocks=-1).fit(images, range(6)), "blocks=-1 must be an integer of at least 0"),
        (lambda: ConvDKMClassifier(widths=4).fit(images, range(6)), "widths=4 must be a sequence"),
        (lambda: ConvDKMClassifier(widths=()).fit(images, range(6)), r"widths=\(\) must have"),
    ):
        with pytest.raises(InputError, match=f"^{message}"):
            call()
