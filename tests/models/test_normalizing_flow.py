"""Tests of the flow of invertible convolutions: parameters, density, inverse, samples, training."""

import pytest
import torch
from sklearn.datasets import load_digits

from convnn.errors import InputError
from convnn.models.normalizing_flow import FInCFlow
from convnn.nn.invertible.glow import ActNorm2d
from convnn.nn.invertible.triangular import TriangularConv2d


def small(**settings: object) -> FInCFlow:
    """Build a small flow with random parameters, in float64."""
    torch.manual_seed(0)
    flow = FInCFlow(1, levels=2, steps=2, width=4, **settings).double()
    for name, value in flow.named_parameters():
        if "net.4" in name or "log_scale" in name:
            torch.nn.init.normal_(value, std=0.1)
    return flow


@pytest.mark.parametrize(
    ("channels", "levels", "steps", "stored", "learned"),
    [
        (3, 3, 32, 44_944_072, 44_930_632),
        (3, 3, 48, 67_028_488, 67_008_328),
        (3, 4, 48, 113_562_216, 113_484_456),
        (1, 2, 16, 10_044_232, 10_043_976),
    ],
    ids=["cifar", "imagenet32", "imagenet64", "mnist"],
)
def test_parameters(
    monkeypatch: pytest.MonkeyPatch, channels: int, levels: int, steps: int, stored: int, learned: int
) -> None:
    monkeypatch.setattr(torch.nn.init, "orthogonal_", lambda weight: weight)  # there is nothing to draw on "meta"
    monkeypatch.setattr(torch.nn.init, "normal_", lambda weight, std: weight)
    with torch.device("meta"):
        flow = FInCFlow(channels, levels=levels, steps=steps)
    assert sum(parameter.numel() for parameter in flow.parameters()) == stored
    units = [part for part in flow.modules() if isinstance(part, TriangularConv2d)]
    fixed = [unit.channels * (unit.weight.shape[1] + 1) // 2 for unit in units]  # a diagonal, and what is above it
    assert stored - sum(fixed) == learned


@pytest.mark.parametrize("settings", [{}, {"split_prior": False}, {"invertible_conv": False}, {"values": 17}])
def test_it_is_inverted_and_its_density_is_that_of_the_jacobian(settings: dict) -> None:
    flow = small(**{"values": 0} | settings)
    x = 16 * torch.rand(2, 1, 4, 4, dtype=torch.double)
    latents, log_det = flow.transform(x)
    torch.testing.assert_close(flow.inverse(latents), x, rtol=0, atol=1e-10)
    jacobian = torch.autograd.functional.jacobian(
        lambda one: torch.cat([latent.flatten() for latent in flow.transform(one)[0]]), x[:1]
    )
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian.view(16, 16))[1])
    if not flow.values:
        normal = torch.distributions.Normal(0.0, 1.0)
        density = sum(normal.log_prob(one[0]).sum() for one in latents)
        torch.testing.assert_close(flow(x)[1][0], density + log_det[0])


def test_a_fresh_batch_is_normalised() -> None:
    flow, images = small(values=17), torch.from_numpy(load_digits().images[:64]).unsqueeze(1)
    flow.initialize(images)
    outputs = []
    norms = [part for part in flow.modules() if isinstance(part, ActNorm2d)]
    hooks = [norm.register_forward_hook(lambda _, __, out: outputs.append(out[0])) for norm in norms]
    flow(images)
    assert len(hooks) == len(outputs) == 4
    for out in outputs:  # other noise than in the initialisation
        values = out.transpose(0, 1).flatten(1)
        assert values.mean(1).abs().max() < 0.3
        assert (values.std(1) - 1).abs().max() < 0.3


@pytest.mark.slow
def test_it_learns_digits_samples_and_inverts() -> None:
    torch.manual_seed(0)
    images = torch.from_numpy(load_digits().images).float().unsqueeze(1)
    flow = FInCFlow(1, levels=2, steps=2, width=16, values=17)
    flow.initialize(images[:128])
    optimizer = torch.optim.Adam(flow.parameters(), 5e-3)
    bits = []
    for _ in range(30):
        loss = flow.bits_per_dimension(images[torch.randint(1500, (64,))]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bits.append(loss.item())
    assert sum(bits[-5:]) < sum(bits[:5]) - 1
    samples = flow.sample(5, (8, 8))
    assert samples.shape == (5, 1, 8, 8)
    assert torch.equal(samples, samples.round().clamp(0, 16))
    exact = flow.double()
    x = images[-4:].double() + 0.5
    torch.testing.assert_close(exact.inverse(exact.transform(x)[0]), x, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"levels": 0}, "levels=0"), ({"steps": 0}, "steps=0"), ({"values": -1}, "values=-1"), ({"width": 0}, "width=0")],
)
def test_refuses(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message} must be"):
        FInCFlow(1, **settings)


def test_refuses_images_of_other_sides() -> None:
    with pytest.raises(InputError, match=r"^images of shape \(1, 1, 6, 8\) must be \(B, 1, H, W\) with .* levels=2$"):
        small()(torch.zeros(1, 1, 6, 8).double())
