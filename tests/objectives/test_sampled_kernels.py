"""Penalties on generated kernels against loops, their gradients, and networks that have none."""

import math
import re

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck

from convnn.errors import InputError
from convnn.nn import CCNNConv1d, CKConv1d, CKConv2d, FlexConv2d, LongConv1d, SirenKernel
from convnn.nn.generated.operator import GeneratedConv
from convnn.objectives.sampled_kernels import Sampled, SampledKernels, kernel_decay, nyquist_penalty


def sampled(network: nn.Module, *shape: int) -> dict[str, Sampled]:
    """Return the kernels of a forward pass of random maps in float64."""
    generator = torch.Generator().manual_seed(1)
    kernels = SampledKernels(network.double())
    network(torch.randn(*shape, generator=generator, dtype=torch.double))
    return kernels.take()


def flex(**settings: object) -> FlexConv2d:
    torch.manual_seed(0)
    return FlexConv2d(2, 3, **({"horizon": 9, "mask_init_value": 0.4, "no_hidden": 4} | settings))


def root_of_squares(values: torch.Tensor) -> float:
    return math.sqrt(sum(value**2 for value in values.flatten().tolist()))


def test_the_decay_is_that_of_the_applied_kernels_and_biases() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(CKConv1d(1, 2, horizon="same", causal=True), nn.ReLU(), LongConv1d(2, 3, l_max=8))
    nn.init.normal_(network[0].operator.bias)
    kernels = sampled(network, 2, 1, 7)
    places = (-1 + 2 * torch.arange(7).double() / 6).unsqueeze(1)
    first = network[0].operator
    expected = root_of_squares(first.kernel(places)) + root_of_squares(first.bias)
    expected += root_of_squares(network[2].operator.conv.whole((7,)))  # which has no bias
    assert kernel_decay(kernels).item() == pytest.approx(expected, rel=1e-12)


def test_the_decay_sees_what_dropout_has_left() -> None:
    layer = CKConv1d(1, 2, horizon=5, weight_dropout=1.0, bias=False)
    decay = kernel_decay(sampled(layer, 2, 1, 7))
    decay.backward()
    assert decay.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in layer.parameters())  # and none is NaN


def test_no_kernel_is_generated_twice() -> None:
    layer, calls = CKConv1d(1, 2, horizon=5), []
    layer.operator.kernel.register_forward_hook(lambda *_: calls.append(1))
    kernel_decay(sampled(layer, 2, 1, 7)).backward()
    assert len(calls) == 1


@pytest.mark.parametrize("with_masks", [False, True])
@pytest.mark.parametrize(("horizon", "taps"), [(9, 9), ((9, 5), 5), ("same", 7)])
def test_the_nyquist_penalty_is_the_definition(horizon: object, taps: int, *, with_masks: bool) -> None:
    layer = flex(horizon=horizon)
    kernels = sampled(nn.Sequential(layer, CKConv2d(3, 1, horizon=3)), 1, 2, 12, 6)  # the second is passed over
    kernel, mask = layer.operator.kernel.kernel, layer.operator.kernel.mask
    nn.init.uniform_(mask.width, -0.3, -0.1)  # its sign is free
    count, expected = len(kernel.filters), 0.0
    for one in kernel.filters:
        highest = 0.0
        for w, gamma in zip(one.linear.weight.flatten().tolist(), one.gamma.flatten().tolist(), strict=True):
            highest = max(highest, (abs(w) + 2 * abs(gamma)) / (2 * math.pi))
        if with_masks:
            highest += 2 * max(1 / abs(width) for width in mask.width.tolist()) / (2 * math.pi) / count
        expected += max(0.0, highest - (taps - 1) / 4 / count) ** 2
    assert expected > 0
    assert nyquist_penalty(kernels, with_masks=with_masks).item() == pytest.approx(expected, rel=1e-12)


def test_frequencies_that_taps_can_represent_cost_nothing() -> None:
    fast, slow = flex(horizon=9), flex(horizon=9, input_scale=1e-3)
    for one in slow.operator.kernel.kernel.filters:
        nn.init.constant_(one.gamma, 0.1)
    assert nyquist_penalty(sampled(fast, 1, 2, 6, 6)) > 0
    assert nyquist_penalty(sampled(slow, 1, 2, 6, 6)) == 0
    penalty = nyquist_penalty(sampled(flex(horizon=1), 1, 2, 6, 6))  # a single tap, which has no frequency
    penalty.backward()
    assert penalty == 0


def test_the_penalty_lowers_the_frequencies() -> None:
    torch.manual_seed(0)
    layer = CCNNConv1d(2, 3, horizon=9, omega_0=20.0)
    kernels = SampledKernels(layer)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    values = []
    for _ in range(20):
        layer(torch.randn(1, 2, 20))
        penalty = nyquist_penalty(kernels.take())
        optimizer.zero_grad()
        penalty.backward()
        optimizer.step()
        values.append(penalty.item())
    assert values[-1] < 0.75 * values[0]


@pytest.mark.parametrize("penalty", [kernel_decay, lambda kernels: nyquist_penalty(kernels, with_masks=True)])
def test_gradients(penalty) -> None:
    layer = flex(mask_threshold=0.0, horizon=5).double()
    nn.init.normal_(layer.operator.bias)
    names, values = zip(*((name, p.detach().requires_grad_()) for name, p in layer.named_parameters()), strict=True)
    kernels, x = SampledKernels(layer), torch.ones(1, 2, 4, 4, dtype=torch.double)

    def compute(*parameters: torch.Tensor) -> torch.Tensor:
        with nn.utils.stateless._reparametrize_module(layer, dict(zip(names, parameters, strict=True))):
            layer(x)
            return penalty(kernels.take())

    assert gradcheck(compute, values, fast_mode=True)


def test_refuses() -> None:
    with pytest.raises(InputError, match=re.escape("network=Sequential has no layer with a generated kernel, such as")):
        SampledKernels(nn.Sequential(nn.Conv2d(1, 2, 3)))
    siren = GeneratedConv(SirenKernel(1, 2, 1), horizon=5)
    with pytest.raises(InputError, match="none of the sampled kernels is made of Gabor filters"):
        nyquist_penalty(sampled(siren, 2, 1, 7))
    kernels = SampledKernels(CKConv1d(1, 2, horizon=5))
    with pytest.raises(InputError, match="layer 'operator' has sampled no kernel; run the network in training mode"):
        kernels.take()
