"""Matching by regression: against scikit-learn and loops; refiners; draws."""

import math

import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from convnn.data.motions import smooth_maps
from convnn.errors import InputError
from convnn.nn.matches import KernelRegressionMatcher, WarpRefiner, nearest_places, refine
from convnn.ops.matches import cell_centers, local_correlation
from convnn.tasks.match import affine_flow, balanced_sample, draw_matches, share_right, warp_pair
from convnn.tasks.match.sampling import density, draw


def _maps(*shapes: tuple[int, ...]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=torch.double) for shape in shapes]


@pytest.mark.parametrize("basis", ["fourier", "linear"])
def test_mean_and_covariance_are_those_of_scikit_learn(basis: str) -> None:
    x, y = _maps((2, 4, 3, 4), (2, 4, 5, 2))
    matcher = KernelRegressionMatcher(6, 0.3, 0.05, basis, window=3).double()
    found = matcher(x, y).detach()
    assert found.shape == (2, 6 + 9, 3, 4)
    targets = matcher.places(y).flatten(2)[0].mT.detach().numpy()
    for i in range(2):
        query, support = (torch.nn.functional.normalize(one[i].flatten(1).mT).numpy() for one in (x, y))
        process = GaussianProcessRegressor(RBF(math.sqrt(0.3)), alpha=0.05, optimizer=None).fit(support, targets)
        mean, _ = process.predict(query, return_std=True)
        _, covariance = process.predict(query, return_cov=True)
        torch.testing.assert_close(found[i, :6].flatten(1).mT, torch.from_numpy(mean), rtol=0, atol=1e-4)
        cov = torch.from_numpy(covariance[..., 0]).reshape(3, 4, 3, 4)
        for row, column, a, b in [(1, 2, -1, 1), (1, 1, 0, 0), (2, 3, -1, -1)]:
            one = found[i, 6 + 3 * (a + 1) + b + 1, row, column]
            torch.testing.assert_close(one, cov[row, column, row + a, column + b], rtol=0, atol=1e-4)
        assert found[i, 6:9, 0].abs().max() == 0  # above the map


def test_gradients_reach_both_maps_and_what_is_learned() -> None:
    x, y = (one.requires_grad_() for one in _maps((1, 3, 2, 2), (1, 3, 2, 1)))
    matcher = KernelRegressionMatcher(3, learned=True).double()
    assert torch.autograd.gradcheck(matcher, (x, y), fast_mode=True)
    matcher(x, y).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in matcher.parameters())


def test_cells_find_themselves() -> None:
    (x,) = _maps((1, 12, 4, 5))
    torch.manual_seed(0)
    matcher = KernelRegressionMatcher(64, 0.05, 1e-3).double()
    found = nearest_places(matcher(x, x), matcher)
    assert (found - cell_centers(x)).abs().max() < 2 / 64


def test_local_correlation_is_a_product_with_the_shifted_map() -> None:
    x, y = _maps((2, 3, 4, 5), (2, 3, 4, 5))
    found = local_correlation(x, y, 1)
    wanted = (x[:, :, 1:, :-1] * y[:, :, :-1, 1:]).sum(1) / 3**0.5  # a row up, a column to the right
    torch.testing.assert_close(found[:, 2, 1:, :-1], wanted)
    assert found[:, 2, 0].abs().max() < 1e-12
    torch.testing.assert_close(found, local_correlation(x, y, 1, cell_centers(x).expand(2, -1, -1, -1)))


@pytest.mark.parametrize("around_target", [True, False])
def test_only_similarities_at_the_target_pass_gradients(around_target: bool) -> None:
    x, y = (one.float().requires_grad_() for one in _maps((2, 3, 5, 4), (2, 3, 5, 4)))
    flow = (0.5 * cell_centers(x).expand(2, -1, -1, -1) + 0.03).requires_grad_()
    refiner = WarpRefiner(3, blocks=1, radius=1, around_target=around_target)
    certainty, step = refiner(x, y, flow)
    (certainty.square().sum() + step.square().sum()).backward()
    assert x.grad.abs().sum() > 0
    for one in (y, flow):
        assert (one.grad is not None) == around_target
    moved, sure = refine(flow, certainty, (certainty, step), 4, (20, 16))
    torch.testing.assert_close(moved - flow, step * torch.tensor([1 / 16, 1 / 20]).reshape(1, 2, 1, 1))
    assert torch.equal(sure, 2 * certainty)


def test_the_published_refiners_have_the_published_sizes() -> None:
    with torch.device("meta"):
        refiners = [
            WarpRefiner(3, 24, embedding=6),
            WarpRefiner(64, embedding=16),
            WarpRefiner(256, embedding=32, radius=2),
        ]
    assert [sum(p.numel() for p in one.parameters()) for one in refiners] == [11_541, 224_691, 3_064_164]


def test_draws_follow_the_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.tensor([1.0, 0.0, 3.0])
    firsts = torch.stack([draw(weight, 3, generator) for _ in range(2000)])
    assert firsts.shape == (2000, 2)  # nothing of weight 0
    assert abs((firsts[:, 0] == 2).double().mean().item() - 0.75) < 0.04


def test_crowded_matches_are_taken_less_often() -> None:
    crowd, lonely = 0.01 * torch.rand(900, 4), torch.rand(100, 4) * 20 + 3
    warp = torch.cat([crowd, lonely])
    sample = balanced_sample(warp, torch.ones(1000), 50, generator=torch.Generator().manual_seed(0))
    assert sample.matches.shape == (50, 4)
    assert (sample.matches[:, 0] > 1).double().mean() > 0.3  # a tenth of all
    few = balanced_sample(warp, torch.ones(1000), 50, balanced=False, generator=torch.Generator().manual_seed(0))
    assert (few.matches[:, 0] > 1).double().mean() < 0.3
    points = torch.randn(5, 4)
    loops = [sum(math.exp(-(a - b).square().sum().item() / 0.5) for b in points) for a in points]
    torch.testing.assert_close(density(points, 0.5), torch.tensor(loops))


def test_generated_pairs_have_their_flow_and_are_drawn(tmp_path) -> None:
    generator = torch.Generator().manual_seed(0)
    flow = affine_flow(8, generator)
    source, target = warp_pair(smooth_maps(3, 8, 3, generator), flow, 0.0, generator)
    assert source.shape == target.shape == (1, 3, 8, 8)
    assert share_right(flow + 0.1, flow, 0.2) == 1
    assert share_right(flow + 0.2, flow, 0.2) == 0
    matches = torch.cat([cell_centers(source), flow], 1).flatten(2)[0].T
    path = draw_matches(source[0], target[0], matches, tmp_path / "a.png", title="$ a", right=matches[:, 0] > 0)
    assert path.read_bytes().startswith(b"\x89PNG")


ONE = torch.zeros(1, 2, 3, 3)
BAD = [
    (lambda: KernelRegressionMatcher(4)(ONE, torch.zeros(1, 3, 3, 3)), r"batch and channels of the source"),
    (lambda: KernelRegressionMatcher(4, sigma=0), r"sigma=0 must be a positive number"),
    (lambda: KernelRegressionMatcher(4, -1), r"temperature=-1 must be a positive number"),
    (lambda: KernelRegressionMatcher(4, basis="cosine"), r"basis='cosine' is not one of fourier, linear"),
    (lambda: KernelRegressionMatcher(4, window=2), r"window=2 must be odd"),
    (lambda: WarpRefiner(3, kernel_size=4), r"kernel_size=4 must be odd"),
    (lambda: WarpRefiner(3, 7), r"hidden=7 must be a multiple of 6"),
    (lambda: WarpRefiner(3)(ONE, ONE, ONE), r"x of shape \(1, 2, 3, 3\) must have 3 channels"),
    (lambda: WarpRefiner(2)(ONE, ONE, torch.zeros(1, 2, 3, 4)), r"flow of shape \(1, 2, 3, 4\) must be \(1, 2, 3, 3\)"),
    (lambda: local_correlation(ONE, torch.zeros(1, 2, 3, 4), 1), r"y of shape"),
    (lambda: local_correlation(ONE, ONE, -1), r"radius=-1 must be an integer of at least 0"),
    (lambda: balanced_sample(torch.ones(3, 4), torch.ones(3), 0), r"num=0 must be an integer of at least 1"),
    (
        lambda: balanced_sample(torch.ones(3, 4), torch.zeros(3), 1),
        r"certainty must be at least 0 everywhere and above",
    ),
    (lambda: balanced_sample(torch.ones(3, 2), torch.ones(3), 1), r"warp of shape \(3, 2\) must be"),
    (lambda: balanced_sample(torch.ones(3, 4), torch.ones(3), 1, mode="x"), r"mode='x' is not one of"),
    (lambda: refine(ONE, ONE[:, :1], (ONE[:, :1], ONE), 0, (3, 3)), r"stride=0 must be"),
    (lambda: share_right(ONE, ONE + 2, 0.1), r"no cell to a place on the map"),
    (lambda: nearest_places(ONE, KernelRegressionMatcher(4)), r"must be \(B, 4, H, W\)"),
    (lambda: draw_matches(ONE[0], ONE[0], torch.zeros(1, 4), "a.png", title=""), r"must both be \(3, H, W\)"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=range(len(BAD)))
def test_bad_input_is_told_in_a_sentence(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
