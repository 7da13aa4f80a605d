from dataclasses import replace

import pytest
import torch
from torch import nn

from convnn import nn as cnn
from convnn.train import TrainConfig
from convnn.train.optim import CRITERIA, Schedule, clip_radii, make_optimizer


@pytest.mark.parametrize(
    ("name", "expected"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_optimizers_get_their_flags(name: str, expected: type) -> None:
    config = TrainConfig(optimizer=name, lr=0.25, weight_decay=0.125, momentum=0.75)
    optimizer = make_optimizer(nn.Linear(2, 2), config)
    assert type(optimizer) is expected
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.25, 0.125)
    assert group.get("momentum", 0.75) == 0.75


def _trained(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> tuple[float, float]:
    """Return learning rate and weight decay of a parameter."""
    [group] = [group for group in optimizer.param_groups if any(p is parameter for p in group["params"])]
    return group["lr"], group["weight_decay"]


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_parameters_of_generated_kernels_have_rates_of_their_own(optimizer: str) -> None:
    points, flex = cnn.SMPConv2d(2, 2, horizon=5), cnn.FlexConv2d(2, 2, horizon=5)
    long, pyramid = cnn.LongConv2d(2, 2, l_max=16), cnn.SGConv2d(2, 2, l_max=16, kernel_dim=4)
    network = nn.Sequential(nn.Conv2d(2, 2, 1), points, flex, long, pyramid)
    config = TrainConfig(optimizer=optimizer, lr=0.5, weight_decay=0.25, kernel_lr=0.125, mask_lr_ratio=0.2)
    made = make_optimizer(network, config)
    kernel = points.operator.kernel
    assert _trained(made, network[0].weight) == _trained(made, kernel.weights) == (0.5, 0.25)
    assert _trained(made, kernel.radius) == (0.05, 0.0)
    assert _trained(made, kernel.places) == (0.5, 0.0)
    assert _trained(made, flex.operator.kernel.mask.width) == (0.1, 0.25)
    assert _trained(made, long.operator.conv.kernel.taps) == (0.125, 0.0)
    assert _trained(made, pyramid.operator.conv.kernel.blocks[1]) == (0.125, 0.25)
    assert sum(len(group["params"]) for group in made.param_groups) == len(list(network.parameters()))
    schedule = Schedule(made, replace(config, warmup_epochs=2))
    with schedule.warmup(0.5):
        assert schedule.lr == 0.125
        assert _trained(made, kernel.radius) == pytest.approx((0.0125, 0))
    assert _trained(made, kernel.radius) == (0.05, 0.0)


def test_radii_are_clipped_as_in_the_published_training() -> None:
    network = nn.Sequential(cnn.SMPConv2d(1, 1, horizon=3, radius=4 / 3))
    clip_radii(network)
    assert network[0].operator.kernel.radius.max() == 1


def _rates(scheduler: str, accuracies: list[float], **flags: object) -> list[float]:
    config = TrainConfig(scheduler=scheduler, lr=1.0, num_epochs=len(accuracies), **flags)
    optimizer = make_optimizer(nn.Linear(1, 1), config)
    schedule = Schedule(optimizer, config)
    rates = []
    for epoch, accuracy in enumerate(accuracies, start=1):
        rates.append(schedule.lr)
        optimizer.step()
        schedule.advance(epoch, accuracy)
    return rates


def test_rate_is_constant_without_a_scheduler() -> None:
    assert _rates("none", [0.5] * 3) == [1.0, 1.0, 1.0]


def test_step_cuts_every_so_many_epochs() -> None:
    assert _rates("step", [0.5] * 5, lr_step=2, lr_gamma=0.5) == [1.0, 1.0, 0.5, 0.5, 0.25]


def test_cosine_falls_to_zero() -> None:
    rates = _rates("cosine", [0.5] * 4)
    assert rates == pytest.approx([1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5])


def test_plateau_cuts_when_accuracy_stops_rising_not_while_it_rises() -> None:
    rising = [0.01 * i for i in range(30)]
    assert set(_rates("plateau", rising)) == {1.0}
    assert _rates("plateau", [0.5] * 14, lr_gamma=0.25)[-1] == 0.25


def test_mse_is_on_one_hot_labels_summed_over_samples() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    expected = sum((logits[i, c] - float(labels[i] == c)) ** 2 for i in range(4) for c in range(3)) / 3
    torch.testing.assert_close(CRITERIA["MSE"](logits, labels), expected)
