"""Parts of learned compression against other libraries, integrals, loops and identities."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Laplace

from convnn.errors import InputError
from convnn.nn.compression import (
    GDN,
    AutoregressivePrior,
    CheckerboardPrior,
    FactorizedBits,
    LaplaceBits,
    MaskedConv2d,
    OffsetDiversity,
    QuadPrior,
    laplace_bits,
    lower_bound,
    round_through,
)
from convnn.ops.warping import flow_warp


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_warp_is_bilinear_by_hand_and_constant_beyond_the_border() -> None:
    x, flow = randn(2, 3, 4, 5), 3 * randn(2, 2, 4, 5, seed=1)
    found = flow_warp(x, flow)
    for b, v, u in ((0, 0, 0), (0, 3, 2), (1, 2, 4), (1, 1, 1)):
        column = min(max(u + flow[b, 0, v, u].item(), 0), 4)
        row = min(max(v + flow[b, 1, v, u].item(), 0), 3)
        left, top = min(int(column), 3), min(int(row), 2)
        a, c = column - left, row - top
        wanted = (1 - c) * ((1 - a) * x[b, :, top, left] + a * x[b, :, top, left + 1])
        wanted += c * ((1 - a) * x[b, :, top + 1, left] + a * x[b, :, top + 1, left + 1])
        torch.testing.assert_close(found[b, :, v, u], wanted)
    assert torch.allclose(flow_warp(x, torch.zeros_like(flow)), x, atol=1e-14)
    one = randn(1, 1, 1, 1)
    assert torch.equal(flow_warp(one, torch.full((1, 2, 1, 1), 7.0, dtype=torch.float64)), one)
    assert torch.autograd.gradcheck(flow_warp, (x.requires_grad_(), flow.requires_grad_()), fast_mode=True)


def test_normalisation_is_the_formula_and_its_inverse_is_nearly_one() -> None:
    layer, x = GDN(3).double(), randn(2, 3, 2, 2)
    norm = (1 + 0.1 * x.square()).sqrt()
    torch.testing.assert_close(layer(x), x / norm)
    torch.testing.assert_close(GDN(3, inverse=True).double()(x), x * norm)
    with torch.no_grad():
        layer.gamma.copy_(randn(3, 3).abs())
    assert torch.autograd.gradcheck(layer, x.requires_grad_(), fast_mode=True)
    zero = GDN(3)  # gamma is 0 off its diagonal, which is the bound: it learns from there
    zero(torch.ones(1, 3, 1, 1)).sum().backward()
    assert bool((zero.gamma.grad != 0).all())


@pytest.mark.parametrize("inverse", [False, True])
def test_normalisation_is_that_of_compressai(inverse: bool) -> None:
    layers = pytest.importorskip("compressai.layers")
    ours, theirs = GDN(4, inverse=inverse), layers.GDN(4, inverse=inverse)
    with torch.no_grad():
        ours.gamma.copy_(randn(4, 4).abs())
    theirs.load_state_dict(ours.state_dict(), strict=False)
    x = randn(2, 4, 3, 5).float()
    torch.testing.assert_close(ours(x), theirs(x))


def test_the_bound_lets_only_what_rises_pass() -> None:
    x = torch.tensor([-1.0, -1.0, 2.0, 2.0], requires_grad=True)
    y = lower_bound(x, 0.5)
    assert y.tolist() == [0.5, 0.5, 2, 2]
    y.backward(torch.tensor([1.0, -1.0, 1.0, -1.0]))
    assert x.grad is not None
    assert x.grad.tolist() == [0, -1, 1, -1]


def test_bits_are_those_of_the_distribution_and_its_tail_has_a_gradient() -> None:
    values, scales = randn(40) * 4, randn(40, seed=1).exp()
    law = Laplace(torch.zeros_like(scales), scales)
    mass = law.cdf(values + 0.5) - law.cdf(values - 0.5)
    seen = mass > 1e-6
    torch.testing.assert_close(laplace_bits(values, scales)[seen], -mass.log2()[seen])
    torch.testing.assert_close(laplace_bits(values, scales, "official"), (-(mass + 1e-5).log2()).clamp(min=0))
    symbols = torch.arange(-200.0, 201).double()
    total = (-laplace_bits(symbols, torch.full_like(symbols, 1.7), "safe")).mul(math.log(2)).exp().sum()
    assert abs(total - 1) < 1e-3  # the tail has the density, which is a little more
    far = torch.tensor([20.0], dtype=torch.float64, requires_grad=True)
    for form, slope in (("safe", True), ("official", False)):
        grad = torch.autograd.grad(laplace_bits(far, torch.ones_like(far), form), far)[0]
        assert (abs(grad) > 1e-3).item() == slope


def test_scales_are_positive_and_learned_distributions_sum_to_one() -> None:
    raw = torch.linspace(-5, 5, 11)
    for kind in ("bound", "softplus", "clamp"):
        assert bool((LaplaceBits(kind).scale(raw) > 0).all())
    torch.testing.assert_close(LaplaceBits("softplus").scale(raw), (1 + (raw + 2.3).exp()).log().sub(2.3).exp())
    bits = FactorizedBits(3).double()
    with torch.no_grad():
        for value in bits.parameters():
            value.copy_(randn(*value.shape) * 0.5)
    z = torch.arange(-400.0, 401).double().view(1, 1, 1, -1).expand(1, 3, 1, -1)
    shares = bits.probability(z)
    assert bool((shares > -1e-12).all())
    torch.testing.assert_close(shares.sum(3), torch.ones(1, 3, 1).double())
    torch.testing.assert_close(bits(z)[shares > 1e-6], -shares[shares > 1e-6].log2())
    assert torch.autograd.gradcheck(bits, randn(1, 3, 2, 2).requires_grad_(), fast_mode=True)


@pytest.mark.parametrize("size", [(4, 4), (3, 5), (1, 1)])
def test_a_masked_convolution_sees_only_what_came_before(size: tuple[int, int]) -> None:
    conv, x = MaskedConv2d(2, 3).double(), randn(1, 2, *size).requires_grad_()
    for i in range(size[0]):
        for j in range(size[1]):
            seen = torch.autograd.grad(conv(x)[0, :, i, j].sum(), x)[0].abs().sum((0, 1)).flatten()
            assert bool((seen[i * size[1] + j :] == 0).all())
    conv(x).sum().backward()
    assert conv.weight.grad is not None
    assert bool((conv.weight.grad[:, :, 2, 2:] == 0).all())


PRIORS = {
    "ar": lambda: AutoregressivePrior(4, 12),
    "dual": lambda: CheckerboardPrior(4),
    "quad": lambda: QuadPrior(4),
}


@pytest.mark.parametrize(("name", "size"), [("ar", (3, 5)), ("dual", (4, 6)), ("quad", (3, 5)), ("quad", (4, 4))])
def test_a_decoder_has_what_the_encoder_and_the_forward_have(name: str, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    prior = PRIORS[name]().double().eval()
    y, params, kept = 3 * randn(1, 4, *size), randn(1, 12, *size, seed=1), []

    def write(symbols: Tensor | None, means: Tensor, scales: Tensor) -> Tensor:
        assert symbols is not None
        kept.append((symbols, means, scales))
        return symbols

    written = prior.code(write, params, y)
    parts = iter(kept)

    def read(symbols: Tensor | None, means: Tensor, scales: Tensor) -> Tensor:
        expected = next(parts)
        assert symbols is None
        assert torch.equal(means, expected[1])
        assert torch.equal(scales, expected[2])
        return expected[0]

    assert torch.equal(prior.code(read, params), written)
    coded = prior(y, params)
    torch.testing.assert_close(coded.y_hat, written)
    symbols = torch.cat([one[0] for one in kept])
    assert torch.equal(symbols, symbols.round())
    assert symbols.numel() == y.numel()  # each number is sent once


@pytest.mark.parametrize("name", ["dual", "quad"])
def test_passes_depend_on_earlier_passes_only(name: str) -> None:
    """What changes in the symbols of a pass changes no earlier one; every pass reaches the latent."""
    torch.manual_seed(0)
    prior = PRIORS[name]().double()
    y, params = randn(1, 4, 4, 4).requires_grad_(), randn(1, 12, 4, 4, seed=1).requires_grad_()
    coded = prior(y, params)
    assert coded.residual.detach().round().equal(coded.symbols.detach())
    step = params[:, :4].detach().clamp(min=0.5)
    assert bool(((coded.y_hat - y).abs() <= step / 2 + 1e-9).all())
    for later in range(1, len(coded.streams)):
        grad = torch.autograd.grad(coded.streams[later][1].sum(), y, retain_graph=True)[0]
        assert bool((grad != 0).any())
    assert torch.autograd.grad(coded.streams[0][1].sum(), y, allow_unused=True, retain_graph=True)[0] is None
    grads = torch.autograd.grad(coded.scales.square().sum(), [y, params, *prior.parameters()])
    assert all(bool(torch.isfinite(grad).all()) and bool((grad != 0).any()) for grad in grads)


def test_rounding_has_the_gradient_of_the_identity() -> None:
    x = torch.tensor([0.5, 1.5, -0.7], requires_grad=True)
    round_through(x).sum().backward()
    assert round_through(x).tolist() == [0, 2, -1]
    assert x.grad is not None
    assert x.grad.tolist() == [1, 1, 1]


def test_offsets_of_zero_are_a_warp_with_half_of_each_part() -> None:
    network = nn.Conv2d(2, 12, 2, stride=2)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)
    layer = OffsetDiversity(4, 2, groups=2, offsets=2, network=network).double()
    x, aux, flow = randn(1, 4, 4, 6), randn(1, 2, 4, 6), randn(1, 2, 4, 6, seed=1)
    warped = flow_warp(x, flow)
    wanted = layer.fusion(0.5 * torch.cat([warped, warped], 1))
    torch.testing.assert_close(layer(x, aux, flow), wanted)
    layer = OffsetDiversity(4, 2, groups=2, width=3).double()
    layer(x, aux, flow).square().sum().backward()
    assert all(bool((value.grad != 0).any()) for value in layer.parameters())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: QuadPrior(6), "channels=6 must be a multiple of 4, the groups of channels"),
        (lambda: CheckerboardPrior(3), "channels=3 must be a multiple of 2"),
        (lambda: CheckerboardPrior(2)(randn(1, 2, 3, 4), randn(1, 6, 3, 4)), "3x4 positions must have even sides"),
        (lambda: QuadPrior(4)(randn(1, 4, 2, 2), randn(1, 8, 2, 2)), r"must be \(B, 12, H, W\)"),
        (lambda: laplace_bits(torch.zeros(2), torch.tensor([1.0, 0.0])), "must be positive; the smallest is 0"),
        (lambda: laplace_bits(torch.zeros(2), torch.ones(2), "sure"), "form='sure' is not one of safe, official"),
        (lambda: flow_warp(randn(1, 1, 2, 2), randn(1, 3, 2, 2)), r"must be \(B, 2, H, W\)"),
        (lambda: GDN(0), "channels=0 must be an integer of at least 1"),
        (lambda: GDN(2)(randn(1, 3, 2, 2)), r"must be \(B, 2, H, W\)"),
        (lambda: FactorizedBits(2)(randn(1, 3, 2, 2)), r"must be \(B, 2, H, W\)"),
        (lambda: OffsetDiversity(6, 2, groups=4), "channels=6 must be a multiple of groups=4"),
        (lambda: MaskedConv2d(1, 1, 4), "kernel_size=4 must be odd"),
    ],
    ids=range(12),
)
def test_bad_input(wrong, message: str) -> None:
    with pytest.raises(InputError, match=message):
        wrong()
