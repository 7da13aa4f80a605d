"""Hyper-GCN, the network: how its units are joined, its sizes, gradients, and that it learns."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from convnn.data.skeletons import BODY_BONES, BODY_JOINTS, make_limbs
from convnn.errors import InputError
from convnn.models import list_models, skeletons
from convnn.objectives.skeletons import virtual_divergence_loss


def small(**settings) -> skeletons.HyperGCN:
    torch.manual_seed(0)
    sizes = {"in_channels": 2, "num_classes": 2, "bones": BODY_BONES, "joints": BODY_JOINTS, "persons": 1}
    sizes |= {"widths": (8, 8, 8), "subsets": 2, "k": 4, "reduction": 2}
    return skeletons.HyperGCN(**sizes | settings)


@pytest.mark.parametrize(
    ("build", "widths", "parameters"),
    [
        (skeletons.hyper_gcn_base, (128, 256, 256), 1_041_677),
        (skeletons.hyper_gcn_large, (128, 256, 512), 2_305_293),
    ],
)
def test_sizes(build, widths: tuple[int, ...], parameters: int) -> None:
    network = build()
    assert [unit.joints.out_channels for unit in network.units] == [width for width in widths for _ in range(3)]
    assert sum(one.numel() for one in network.parameters()) == parameters
    assert f"{parameters:,}" in build.__doc__
    assert [unit.joints.importance.shape for unit in network.units] == 9 * [(8, 28, 28)]


def test_units_are_joined_as_described() -> None:
    network = small(persons=2).double().eval()
    x = torch.randn(3, 2, 7, BODY_JOINTS, 2, dtype=torch.double)
    rows = (x.permute(0, 4, 3, 2, 1) @ network.embed.weight.T + network.embed.bias).movedim(3, 4)  # (B, M, V, F, T)
    h = (rows + network.positions.unsqueeze(2)).tanh().flatten(1, 3)
    h = network.norm(h).view(6, BODY_JOINTS, 8, 7).permute(0, 2, 3, 1)
    for first, second, third in zip(*[iter(network.units)] * 3, strict=True):
        of_first = first(h)
        h = third(second(of_first) + of_first)
    assert h.shape == (6, 8, 2, BODY_JOINTS)  # 7 frames, 4, 2
    expected = network.head(h.mean((2, 3)).view(3, 2, 8).mean(1))
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-13)
    swapped = network(x[:1].expand(2, -1, -1, -1, -1))
    torch.testing.assert_close(swapped[0], swapped[1], rtol=0, atol=1e-13)


def test_gradients_reach_every_parameter() -> None:
    network, (x, labels) = small(), make_limbs(8)
    loss = F.cross_entropy(network(x.unsqueeze(-1)), labels, label_smoothing=0.1)
    (loss + virtual_divergence_loss(network.virtual_joints())).backward()
    assert [name for name, one in network.named_parameters() if one.grad is None] == []
    assert all(one.grad.isfinite().all() for one in network.parameters())
    assert len(network.virtual_joints()) == 9


def test_without_shortcuts_a_unit_starts_from_its_layers_alone() -> None:
    unit = small().units[0]
    without = skeletons.hyper_gcn.HyperUnit(8, 8, unit.joints.adjacency, 3, k=4, reduction=2, residual=False)
    without.load_state_dict(unit.state_dict())
    x = torch.randn(2, 8, 5, BODY_JOINTS)
    for one in (unit, without):
        one.eval()
    torch.testing.assert_close(without(x), unit.time(unit.joints(x)).relu())
    torch.testing.assert_close(unit(x), (unit.time(unit.joints(x)) + x).relu())


@pytest.mark.long
def test_it_tells_arms_that_swing_together_from_arms_that_do_not() -> None:
    network = small(num_virtual=1)
    for unit in network.units:
        torch.nn.init.ones_(unit.joints.norm.weight)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    x, labels = make_limbs(24, frames=6)
    losses: list[float] = []
    for _ in range(12):
        loss: Tensor = F.cross_entropy(network(x.unsqueeze(-1)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (8, 8)}, r"^widths=\(8, 8\) must be three numbers of channels, one for each stage$"),
        ({"widths": (8, 8, 18)}, "^out_channels=18 must be a multiple of 4, the number of branches$"),
        ({"widths": (8, 8, 17)}, "^out_channels=17 must be a multiple of 2, the subsets of the adjacency$"),
        ({"joints": 10}, r"^bones has \(10, 9\); joints must lie between 0 and 9$"),
        ({"persons": 0}, "^persons=0 must be an integer of at least 1$"),
        ({"k": 30}, "^k=30 must lie between 1 and 17"),
    ],
)
def test_bad_arguments_are_named(settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**settings)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match=r"^x of shape \(2, 2, 4, 14\) .* must be floating and \(B, 2, T, 14, 1\)"):
        small()(torch.ones(2, 2, 4, 14))
    with pytest.raises(InputError, match=r"^x of shape \(2, 2, 4, 13, 1\) .* must be floating"):
        small()(torch.ones(2, 2, 4, 13, 1))


def test_it_is_no_classifier_of_images() -> None:
    assert not list_models("hyper_gcn*")
