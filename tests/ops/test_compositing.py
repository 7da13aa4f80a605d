"""Compositing: against the integral of volume rendering, loops over layers, and pairs of layers."""

import re

import pytest
import torch
from scipy.integrate import cumulative_simpson, simpson

from convnn.errors import InputError
from convnn.ops.compositing import composite, distortion, median_depth


def _alpha(*shape: int) -> torch.Tensor:
    return 0.9 * torch.rand(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_it_is_the_integral_of_a_density_along_the_ray() -> None:
    """A smooth density, cut into layers as wide as the grid, composited, against Simpson's rule."""
    t = torch.linspace(0, 4, 20001, dtype=torch.float64)
    density = 1.5 * (-((t - 1) ** 2) / 0.1).exp() + 0.7 * (-((t - 2.5) ** 2) / 0.3).exp()
    color = (3 * t).sin()
    reached = torch.from_numpy(cumulative_simpson(density.numpy(), x=t.numpy(), initial=0)).neg().exp()
    middle = lambda values: (values[1:] + values[:-1]) / 2  # noqa: E731
    seen = composite(1 - (-middle(density) * (t[1] - t[0])).exp())
    assert seen.rest.item() == pytest.approx(reached[-1].item(), rel=1e-6)
    wanted = simpson((reached * density * color).numpy(), x=t.numpy())
    assert (seen.weights * middle(color)).sum().item() == pytest.approx(wanted, rel=1e-6)
    median = t[(reached > 0.5).sum() - 1].item()
    assert median_depth(t[1:], seen).item() == pytest.approx(median, abs=1e-3)


def test_weights_medians_and_distortion_are_those_of_loops() -> None:
    alpha, depths = _alpha(5, 7), torch.arange(1.0, 8, dtype=torch.float64).expand(5, 7)
    alpha[0], alpha[1, 3:] = 0, 0
    seen = composite(alpha)
    for ray in range(5):
        passed, median = 1.0, 0.0
        for i in range(7):
            assert seen.weights[ray, i].item() == pytest.approx(passed * alpha[ray, i].item(), abs=1e-15)
            median = depths[ray, i].item() if passed > 0.5 and alpha[ray, i] > 0 else median
            passed *= 1 - alpha[ray, i].item()
        assert seen.rest[ray].item() == pytest.approx(passed, abs=1e-15)
        assert median_depth(depths, seen)[ray].item() == median
    places = _alpha(7).expand(5, 7)
    w, squares = seen.weights, (places[0, :, None] - places[0]).square()
    pairs = torch.einsum("ri,rj,ij->r", w, w, squares) / 2
    torch.testing.assert_close(distortion(places, seen), pairs / ((1 - seen.rest).square() + 1e-7))


def test_gradients_and_no_layers() -> None:
    def everything(alpha: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, ...]:
        seen = composite(alpha)
        return seen.weights, seen.rest, distortion(places, seen), median_depth(places, seen)

    inputs = _alpha(2, 4).requires_grad_(), _alpha(3, 2, 4)[2].requires_grad_()
    assert torch.autograd.gradcheck(everything, inputs, fast_mode=True)
    none = torch.zeros(3, 0)
    weights, rest, spread, median = everything(none, none)
    assert weights.shape == (3, 0)
    assert rest.tolist() == [1, 1, 1]
    assert spread.tolist() == median.tolist() == [0, 0, 0]


def test_values_of_other_layers_are_refused() -> None:
    message = "values of shape (2, 3) must be those of the layers (2, 4)"
    for function in (distortion, median_depth):
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            function(torch.zeros(2, 3), composite(_alpha(2, 4)))
