"""Tests of matrix groups: SciPy's factors, loops, and quarter turns, under which the layers are exact."""

import math
import re

import numpy as np
import pytest
import torch
from scipy import linalg
from torch import Tensor, nn

from convnn import nn as cnn
from convnn.errors import InputError
from convnn.nn.lie_groups import decomposition as lie
from kernel_layers import check_trains, maps


def matrices(number: int, group: str) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    g = torch.randn(number, 2, 2, generator=generator, dtype=torch.double)
    g[torch.linalg.det(g) < 0] = g[torch.linalg.det(g) < 0].flip(1)
    return g if group == "gl2" else g / torch.linalg.det(g).sqrt().view(-1, 1, 1)


def quarter_turns() -> lie.Samples:
    g = lie.rotation(math.pi / 2 * torch.arange(4, dtype=torch.double)).round()
    return lie.Samples(g, g.mT.contiguous())


@pytest.mark.parametrize("group", cnn.LIE_GROUPS)
def test_factors_are_those_of_scipy(group: str) -> None:
    g = matrices(8, group)
    factors = lie.polar(g)
    for i, one in enumerate(g.numpy()):
        r, p = linalg.polar(one, side="left")
        np.testing.assert_allclose(factors.r[i].numpy(), r, rtol=0, atol=1e-12)
        np.testing.assert_allclose(factors.p[i].numpy(), p, rtol=0, atol=1e-12)
        np.testing.assert_allclose(factors.log_p[i].numpy(), linalg.logm(p), rtol=0, atol=1e-12)
        turned = linalg.expm(lie.angle(factors.r)[i].item() * np.array([[0, -1], [1, 0]]))
        np.testing.assert_allclose(turned, r, rtol=0, atol=1e-12)


@pytest.mark.parametrize("group", cnn.LIE_GROUPS)
@pytest.mark.parametrize("alpha", [0.5, 2.0])
def test_coordinates_are_undone(group: str, alpha: float) -> None:
    g = matrices(6, group)
    for centered in (False, True):
        xi = lie.coordinates(g, group, alpha, centered=centered)
        torch.testing.assert_close(lie.element(xi, group, alpha), g, rtol=0, atol=1e-12)
    elements = lie.basis(group, alpha, like=g)
    products = alpha * torch.einsum("aij,bij->ab", elements, elements)
    torch.testing.assert_close(products, torch.eye(len(elements)).double())
    assert torch.autograd.gradcheck(lambda one: lie.coordinates(one, group, alpha), g.requires_grad_(), fast_mode=True)


def test_angles_are_smooth_at_the_identity_unless_they_are_the_published_ones() -> None:
    r = lie.rotation(torch.tensor([-0.001, 0.0, 0.001], dtype=torch.double))
    torch.testing.assert_close(lie.angle(r), torch.tensor([-0.001, 0, 0.001], dtype=torch.double), rtol=0, atol=1e-12)
    assert lie.angle(r, centered=False)[0] > 6.28


@pytest.mark.parametrize("group", cnn.LIE_GROUPS)
def test_samples_come_with_their_inverses(group: str) -> None:
    torch.manual_seed(0)
    for rotations in lie.ROTATIONS:
        g, inverse = lie.draw(50, group, 2.0, rotations=rotations, dtype=torch.double)
        torch.testing.assert_close(g @ inverse, torch.eye(2).double().expand(50, 2, 2), rtol=0, atol=1e-13)
        areas = torch.linalg.det(g)
        assert (areas - 1).abs().max() < 1e-12 if group == "sl2" else areas.std() > 0.05
    turns = lie.draw(5, group, bounds=0.0, dtype=torch.double).g
    expected = lie.rotation(math.pi * torch.tensor([-1, -0.5, 0, 0.5, 1], dtype=torch.double))
    torch.testing.assert_close(turns, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("group", cnn.LIE_GROUPS)
def test_kernels_in_loops(group: str) -> None:
    torch.manual_seed(0)
    inputs, outputs = (lie.draw(n, group, dtype=torch.double) for n in (2, 3))
    form = {"group": group, "kernel_size": (3, 2), "kernel_hidden": 4, "dtype": torch.double}
    lift, conv = cnn.LiftConv2d(2, 3, **form), cnn.GroupConv2d(2, 3, **form)
    lifted, convolved = lift.weight(outputs), conv.weight(outputs, inputs)
    for h in range(3):
        inverse = outputs.inverse[h]
        for y, x in np.ndindex(3, 2):
            place = inverse @ torch.tensor([(2 * x + 1) / 2 - 1, (2 * y + 1) / 3 - 1], dtype=torch.double)
            fades = torch.sigmoid(2 * (1 - place.norm())) * torch.linalg.det(inverse).abs()
            mask = fades if group == "gl2" else (place.norm() <= 1).double()
            torch.testing.assert_close(lifted[:, h, :, y, x].flatten(), mask * lift.kernel(place), rtol=0, atol=1e-12)
            for other in range(2):
                xi = lie.coordinates(inverse @ inputs.g[other], group)
                u = torch.cat([place, xi])
                if group == "gl2":
                    mask = torch.sigmoid(2 * (1 - u.norm())) / torch.linalg.det(inputs.g[other]).abs()
                found = convolved[:, h, :, other, y, x].flatten()
                torch.testing.assert_close(found, mask * conv.kernel(u), rtol=0, atol=1e-12)


def test_quarter_turns_of_a_map_turn_and_shift_its_lift_and_group_convolution() -> None:
    torch.manual_seed(0)
    turns = quarter_turns()
    lift = cnn.LiftConv2d(2, 3, kernel_hidden=4, dtype=torch.double)
    conv = cnn.GroupConv2d(3, 2, kernel_size=3, kernel_hidden=4, dtype=torch.double)
    nn.init.normal_(conv.bias)
    x = maps(2, 9, 9)
    lifted, turned = lift(x, turns), lift(x.rot90(1, (2, 3)), turns)
    # rot90 turns from the first axis, down, to the second, right: by -90 degrees in the coordinates (x, y)
    torch.testing.assert_close(turned, lifted.rot90(1, (3, 4)).roll(-1, 2), rtol=0, atol=1e-12)
    out, out_turned = conv(lifted, turns, turns), conv(turned, turns, turns)
    expected = out.rot90(1, (3, 4)).roll(-1, 2)
    torch.testing.assert_close(out_turned, expected, rtol=0, atol=1e-12)
    assert not torch.allclose(out_turned, out.rot90(1, (3, 4)))


def test_the_largest_over_quarter_turns_turns_with_the_map() -> None:
    layer = cnn.LieConv2d(2, 3, num_gsamples=4, dtype=torch.double).eval()
    layer.g, layer.inverse = quarter_turns()
    x = maps(2, 7, 7)
    torch.testing.assert_close(layer(x.rot90(1, (2, 3))), layer(x).rot90(1, (2, 3)), rtol=0, atol=1e-12)


def test_elements_are_drawn_in_training_and_kept_in_evaluation() -> None:
    layer, x = cnn.LieConv2d(2, 3), torch.randn(1, 2, 6, 6)
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(layer.eval()(x), layer(x))
    always = cnn.LieConv2d(2, 3, sample_inference=True).eval()
    assert not torch.equal(always(x), always(x))
    other = cnn.LieConv2d(2, 3).eval()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))


def test_parameters_do_not_depend_on_the_window() -> None:
    def count(side: int) -> int:
        return sum(one.numel() for one in cnn.LieConv2d(4, 6, kernel_size=side).parameters())

    of_kernel = (2 * 60 + 60) + (60 * 60 + 60)
    assert count(3) == count(9) == of_kernel + 61 * 24 + 6


def test_trains_and_gradients() -> None:
    torch.manual_seed(0)
    layer = cnn.LieConv2d(2, 3, num_gsamples=3, kernel_hidden=6, dtype=torch.double)
    layer.draw = lambda: lie.Samples(layer.g, layer.inverse)  # the same loss in every step
    check_trains(layer, maps(2, 6, 5))
    conv = cnn.GroupConv2d(1, 2, group="gl2", kernel_size=2, kernel_hidden=2, dtype=torch.double)
    samples = lie.draw(2, "gl2", dtype=torch.double)
    x = torch.randn(1, 1, 2, 3, 3, dtype=torch.double, requires_grad=True)
    names = [name for name, _ in conv.named_parameters()]

    def call(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(conv, dict(zip(names, values, strict=True)), (x, samples, samples))

    assert torch.autograd.gradcheck(call, (x, *conv.parameters()), fast_mode=True)


def test_replaces_convolutions() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 4, (3, 5), groups=2))
    x = torch.randn(2, 3, 12, 12)
    shape = network(x).shape
    cnn.replace_layers(network, "LieConv", num_gsamples=2, kernel_hidden=4)
    assert network(x).shape == shape
    assert [type(network[i]) for i in (0, 2)] == [cnn.LieConv2d] * 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lie_group": "so2"}, "lie_group='so2' is not one of gl2, sl2"),
        ({"num_gsamples": 0}, "num_gsamples=0 must be"),
        ({"group_pool": "sum"}, "group_pool='sum' is not one of max, mean"),
        ({"kernel_hidden": 0}, "kernel_hidden=0 must be"),
        ({"bounds": -1.0}, "bounds=-1.0 must not be negative"),
        ({"kernel_size": 0}, "kernel_size=0 must be"),
        ({"groups": 3}, "groups=3 must divide"),
    ],
)
def test_refuses(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        cnn.LieConv2d(4, 4, **settings)


def test_refuses_groups_and_maps_that_do_not_fit() -> None:
    turns = quarter_turns()
    with pytest.raises(InputError, match=r"^metric_alpha=0 must be positive$"):
        cnn.GroupConv2d(2, 2, metric_alpha=0)
    with pytest.raises(InputError, match=r"^rotations='haar' is not one of equidistant, uniform"):
        lie.draw(3, "sl2", rotations="haar")
    with pytest.raises(InputError, match=r"^input of shape \(1, 3, 5, 5\) must be \(B, 2, H, W\)$"):
        cnn.LiftConv2d(2, 2)(torch.zeros(1, 3, 5, 5), turns)
    with pytest.raises(InputError, match=r"^input of shape \(1, 2, 3, 5, 5\) must be \(B, 2, 4, H, W\)$"):
        cnn.GroupConv2d(2, 2)(torch.zeros(1, 2, 3, 5, 5), turns, turns)
