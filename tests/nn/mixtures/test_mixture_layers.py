"""Layers and the network on mixtures of Gaussians: kernels, scale, what changes no logit, and training."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck
from torch.func import functional_call
from torch.nn import functional as F

from convnn.errors import InputError
from convnn.models import MixtureNet
from convnn.nn.mixtures import MixtureConv, MixtureNorm, MixtureReLU
from convnn.ops import mixtures
from convnn.ops.mixtures import Mixture


def drawn(*shape: int, dims: int = 2, seed: int = 0) -> Mixture:
    """Draw mixtures (B, C, N) in float64."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(*shape, dims, generator=generator, dtype=torch.double)
    root = 0.5 * torch.randn(*shape, dims, dims, generator=generator, dtype=torch.double)
    cov = root @ root.mT + 0.2 * torch.eye(dims, dtype=torch.double)
    return Mixture(torch.rand(shape, generator=generator, dtype=torch.double) + 0.1, mean, cov)


def mapped(mixture: Mixture, scale: float = 1.0, shift: float = 0.0) -> Mixture:
    """Scale and shift the space of mixtures."""
    return Mixture(mixture.weight, scale * mixture.mean + shift, scale**2 * mixture.cov, mixture.constant)


def test_kernels_begin_around_the_middle() -> None:
    flat, solid = MixtureConv(2, 3, radius=1.5), MixtureConv(2, 3, dims=3, radius=1.5, variance=2.0)
    angle = torch.arange(4) * math.pi / 2
    circle = torch.cat([torch.zeros(1, 2), 1.5 * torch.stack([angle.cos(), angle.sin()], 1)])
    torch.testing.assert_close(flat.kernel.mean, circle.expand(3, 2, 5, 2))
    length = solid.kernel.mean.norm(dim=3)
    torch.testing.assert_close(length, torch.tensor([0, 1.5, 1.5, 1.5, 1.5]).expand(3, 2, 5))
    unit = torch.eye(2).expand(3, 2, 5, 2, 2)
    torch.testing.assert_close(flat.kernel.cov / 0.25, unit * (1 + 0.05), rtol=0, atol=0.25)  # A is near I
    torch.testing.assert_close(solid.kernel.cov / 2, torch.eye(3).expand(3, 2, 5, 3, 3) * 1.05, rtol=0, atol=0.25)


@pytest.mark.parametrize("dims", [2, 3])
def test_gradients_of_the_kernels(dims: int) -> None:
    torch.manual_seed(0)
    layer = MixtureConv(2, 2, dims=dims, kernel_components=3, components=4, learn_radius=True).double()
    data = drawn(1, 2, 3, dims=dims)
    with torch.no_grad():
        layer.factor[0, 0, 0] *= 0.5
        layer.factor.clamp_(-0.9, 0.9)  # below 1, where the largest entry has no part in the ridge
    names, leaves = zip(*layer.named_parameters(), strict=True)

    def run(*parts: Tensor) -> Tensor:
        return functional_call(layer, dict(zip(names, parts, strict=True)), (data,)).packed

    assert gradcheck(run, leaves, fast_mode=True)
    assert {"radius", "variance"} < set(names)


def test_the_scale_of_each_sample_is_normalised() -> None:
    mixture = drawn(3, 2, 4, dims=3)
    found = MixtureNorm(2, "sample")(mixture)
    trace = found.cov.diagonal(dim1=-2, dim2=-1).sum(-1)
    torch.testing.assert_close(trace.mean(2), torch.full((3, 2), 3.0).double())
    torch.testing.assert_close(MixtureNorm(2, "sample")(mapped(mixture, 7.0)).packed, found.packed)


def test_the_running_scale_comes_near_the_batch() -> None:
    mixture, norm = drawn(200, 2, 4), MixtureNorm(2).double()
    wanted = mixture.cov.diagonal(dim1=-2, dim2=-1).sum(-1).mean((0, 2))
    norm(mixture)
    torch.testing.assert_close(norm.mean_trace, 0.8 + 0.2 * wanted)
    for _ in range(100):
        last = norm(mixture)
    torch.testing.assert_close(norm.mean_trace, wanted)
    assert torch.equal(norm.eval()(mixture).packed, last.packed)
    norm.reset_running_stats()
    assert norm.mean_trace.tolist() == [1, 1]


def network(**settings: object) -> MixtureNet:
    torch.manual_seed(1)
    return MixtureNet(**{"num_classes": 3, "widths": (4,), "components": (6, 4), "norm": "sample"} | settings).double()


@pytest.mark.parametrize("kept", [None, (5, 2)])
@pytest.mark.parametrize("dims", [2, 3])
def test_what_changes_no_logit(dims: int, kept: tuple[int, int] | None) -> None:
    ours, mixture = network(dims=dims, kept=kept).eval(), drawn(2, 1, 7, dims=dims)
    logits = ours(mixture)
    torch.testing.assert_close(ours(mixture.packed), logits)
    torch.testing.assert_close(ours(mapped(mixture, 0.25)), logits)
    order = torch.randperm(7, generator=torch.Generator().manual_seed(0)).expand(2, 1, 7)
    torch.testing.assert_close(ours(mixture.take(order)), logits)
    alone = torch.cat([ours(Mixture.from_packed(one[None])) for one in mixture.packed])
    torch.testing.assert_close(alone, logits)


def test_one_channel_may_be_anywhere() -> None:
    ours, mixture = network(widths=(1,)).eval(), drawn(2, 1, 7)
    torch.testing.assert_close(ours(mapped(mixture, 1.0, 3.0)), ours(mixture))


def test_without_the_relu_only_the_integral_is_seen() -> None:
    ours = network().eval()
    one, other = drawn(2, 1, 5), drawn(2, 1, 5, seed=1)
    other = Mixture(other.weight * (one.weight.sum(2) / other.weight.sum(2)).unsqueeze(2), other.mean, other.cov)
    assert (ours(one) - ours(other)).abs().max() > 1e-3
    for block in ours.blocks:
        block.relu = nn.Identity()
    torch.testing.assert_close(ours(one), ours(other))


@pytest.mark.parametrize("bias", ["minus_softplus", "plain", "none"])
def test_it_learns_how_wide_two_blobs_are_apart(bias: str) -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(2, (48,), generator=generator)
    angle = 2 * math.pi * torch.rand(48, generator=generator)
    out = (0.7 + 2.0 * labels)[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    mean = torch.stack([out, -out], 1).unsqueeze(1)
    x = Mixture(torch.ones(48, 1, 2), mean, torch.eye(2).expand(48, 1, 2, 2, 2))
    torch.manual_seed(0)
    ours = MixtureNet(1, 2, widths=(3,), radii=1.5, components=(6, 4), kernel_components=3, bias=bias)
    optimizer = torch.optim.Adam(ours.parameters(), 2e-2)
    for _ in range(12):
        optimizer.zero_grad()
        loss = F.cross_entropy(ours(x), labels)
        loss.backward()
        optimizer.step()
    assert loss < 0.5
    gradients = [value.grad for value in ours.parameters()]
    assert all(one is not None and one.isfinite().all() for one in gradients)


def test_one_component_and_one_sample() -> None:
    one = Mixture(
        torch.ones(1, 1, 1).double(), torch.zeros(1, 1, 1, 3).double(), torch.eye(3).double()[None, None, None]
    )
    assert network(dims=3, components=(None, 2)).eval()(one).isfinite().all()
    layer = MixtureReLU(3, "largest")
    assert torch.equal(layer(one).packed, mixtures.rectify(one).packed)


BAD: dict[str, tuple[Callable[[], object], str]] = {
    "dims": (lambda: MixtureConv(1, 1, dims=4), "dims=4 must be 2 or 3"),
    "circle": (lambda: MixtureConv(1, 1, kernel_components=1), "kernel_components=1 must be an integer of at least 2"),
    "components": (lambda: MixtureConv(1, 1, components=0), "components=0 must be an integer of at least 1"),
    "radius": (lambda: MixtureConv(1, 1, radius=-1.0), "radius=-1.0 must be a positive number"),
    "kept": (lambda: MixtureReLU(0), "components=0 must be"),
    "reduction": (lambda: MixtureReLU(1, "absorbs"), "reduction='absorbs' is not one of absorb, largest; did you mean"),
    "over": (lambda: MixtureNorm(1, "channel"), "over='channel' is not one of batch, sample"),
    "bias": (lambda: MixtureNet(bias="softplus"), "bias='softplus' is not one of minus_softplus, plain, none"),
    "lengths": (
        lambda: MixtureNet(components=(4, 4)),
        "components=(4, 4) must have 3 entries, one for each of widths and one",
    ),
    "channels": (lambda: MixtureConv(2, 1)(drawn(1, 1, 2)), "mixtures of 1 channels in 2 dimensions must have 2 in 2"),
    "space": (
        lambda: MixtureConv(1, 1)(drawn(1, 1, 2, dims=3)),
        "mixtures of 1 channels in 3 dimensions must have 1 in 2",
    ),
    "norm": (lambda: MixtureNorm(2)(drawn(1, 1, 2)), "mixtures of 1 channels must have 2"),
    "packed": (lambda: MixtureNet()(torch.zeros(1, 1, 4, 6)), "packed of shape (1, 1, 4, 6) must be"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_sentence(name: str) -> None:
    call, message = BAD[name]
    with pytest.raises(InputError, match=re.escape(message)):
        call()
