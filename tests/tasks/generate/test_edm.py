"""Sampling by EDM, against the exact path of Gaussian data, for which the best denoiser is known."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops.edm import EDMSampler

SPREAD = 0.8


def _denoise(x: Sequence[Tensor], sigma: Tensor, _: Sequence[Tensor] | None) -> list[Tensor]:
    return [part * SPREAD**2 / (SPREAD**2 + sigma**2) for part in x]


def _draws(seed: int = 0, shapes: Sequence[tuple[int, ...]] = ((3, 2), (5,))):
    generator = torch.Generator().manual_seed(seed)
    return lambda: [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]


def _error(**settings: object) -> float:
    """Return the largest distance from the end of the exact path, n s d / sqrt(d^2 + s^2) for noise n of level s."""
    found = EDMSampler(churn=0, **settings)(_denoise, _draws())
    exact = [n * 80 * SPREAD / (SPREAD**2 + 80**2) ** 0.5 for n in _draws()()]
    return max((a - b).abs().max().item() for a, b in zip(found, exact, strict=True))


def test_steps_follow_the_exact_path_and_heuns_more_closely() -> None:
    heun, finer = (_error(steps=steps) for steps in (40, 80))
    euler, finer_euler = (_error(steps=steps, solver="euler") for steps in (40, 80))
    assert finer < heun / 2.5, "an error of the second order"
    assert 1.6 < euler / finer_euler < 2.4, "an error of the first"
    assert heun < euler / 5


def test_the_published_form_of_heuns_method_is_eulers() -> None:
    samples = [EDMSampler(steps=9, solver=solver)(_denoise, _draws()) for solver in ("published", "euler")]
    torch.testing.assert_close(*samples, rtol=0, atol=1e-12)


def test_noise_that_is_put_back_keeps_the_spread() -> None:
    draw = _draws(0, [(20000,)])
    (x,) = EDMSampler(steps=80, churn=40, noise=1.0)(_denoise, draw)
    assert x.std() == pytest.approx(SPREAD, rel=0.03)
    fixed = [EDMSampler(steps=20, churn=churn)(_denoise, _draws(0, [(4,)]))[0] for churn in (0.0, 40.0)]
    assert (fixed[0] - fixed[1]).abs().max() > 0.1


def test_levels_fall_evenly_in_their_roots() -> None:
    levels = EDMSampler(steps=5, least=1.0, most=16.0, rho=2.0).levels()
    torch.testing.assert_close(levels[:-1].sqrt(), torch.linspace(4, 1, 5).double())
    assert levels[-1] == 0


def test_the_last_estimate_is_the_condition() -> None:
    for solver, calls in (("heun", 7), ("euler", 4)):
        seen: list = []
        given: list = []

        def denoise(x, sigma, before, seen=seen, given=given):
            given.append(before)
            seen.append(_denoise(x, sigma, None))
            return seen[-1]

        EDMSampler(steps=4, solver=solver, self_condition=True)(denoise, _draws())
        assert len(seen) == calls
        assert given[0] is None
        assert all(a is b for a, b in zip(given[1:], seen, strict=False))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 1}, "steps=1 must be an integer of at least 2"),
        ({"solver": "huen"}, "solver='huen' is not one of heun, euler, published; did you mean 'heun'"),
        ({"churn": -1.0}, "churn=-1.0 must be at least 0"),
        ({"least": 0.0}, "least=0.0 must be a positive number"),
        ({"least": 90.0}, "least=90.0 must be below most=80.0"),
    ],
)
def test_bad_settings_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        EDMSampler(**settings)
