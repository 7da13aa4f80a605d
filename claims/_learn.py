"""Short training for small experiments."""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.data import load_data

Maker = Callable[[], nn.Module]
Loss = Callable[[Tensor, Tensor], Tensor]


def fit(
    make: Maker,
    inputs: Tensor,
    targets: Tensor,
    *,
    seed: int,
    steps: int,
    loss: Loss = F.cross_entropy,
    lr: float = 4e-3,
    batch: int = 64,
) -> nn.Module:
    """Train a network by steps of AdamW on random batches; the learning rate falls to 0 along a cosine."""
    torch.manual_seed(seed)
    network = make()
    optimizer = torch.optim.AdamW(network.parameters(), lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (batch,))
        optimizer.zero_grad()
        loss(network(inputs[rows]), targets[rows]).backward()
        optimizer.step()
        schedule.step()
    return network.eval()


@torch.no_grad()
def accuracy(network: nn.Module, inputs: Tensor, targets: Tensor) -> float:
    """Return the share of correct answers in percent; classes are on axis 1."""
    return 100 * (network(inputs).argmax(1) == targets).double().mean().item()


@cache
def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return images and labels of scikit-learn's digits, for training and for the test."""
    data = load_data("digits", batch_size=2000)
    train, test = next(iter(data.train)), next(iter(data.test))
    return train.inputs, train.labels, test.inputs, test.labels


def digits_accuracy(layer: Callable[[int, int], nn.Module], seed: int, steps: int, width: int = 16) -> float:
    """Return the test accuracy, in percent, of a network of two layers between 1x1 convolutions on the digits."""
    images, labels, test_images, test_labels = digits()

    def make() -> nn.Module:
        blocks = [(layer(width, width), nn.BatchNorm2d(width), nn.ReLU()) for _ in range(2)]
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))
        return nn.Sequential(nn.Conv2d(1, width, 1), *(part for block in blocks for part in block), *head)

    return accuracy(fit(make, images, labels, seed=seed, steps=steps), test_images, test_labels)


def lookup(number: int, seed: int, side: int = 8, members: int = 8) -> tuple[Tensor, Tensor]:
    """Make maps whose positions belong to scattered groups of 8; one member of each carries the answer of all.

    A position has the code of its group and a little noise in all channels except the last, which is 0.3 or -0.3 at the
    informed member and 0 elsewhere. Returns maps (N, 9, side, side) and answers (N, side, side) of 0 and 1.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = side * side // members
    place = torch.rand(number, side * side, generator=generator).argsort(1)
    group = (torch.arange(side * side) // members).expand(number, -1).gather(1, place)
    knows = (torch.arange(side * side) % members == 0).expand(number, -1).gather(1, place)
    answers = torch.randint(2, (number, groups), generator=generator).gather(1, group)
    codes = F.one_hot(group, groups).float()
    codes += 0.05 * torch.randn(codes.shape, generator=generator)
    mark = torch.where(knows, 0.6 * answers - 0.3, 0.0).unsqueeze(-1)
    maps = torch.cat([codes, mark], dim=-1).mT.unflatten(2, (side, side))
    return maps.contiguous(), answers.unflatten(1, (side, side))


def lookup_network(layers: list[nn.Module], width: int = 32) -> nn.Module:
    """Make a network of layers that end in `width` channels and two 1x1 convolutions to two classes per position."""
    return nn.Sequential(*layers, nn.GELU(), nn.Conv2d(width, width, 1), nn.GELU(), nn.Conv2d(width, 2, 1))


def lookup_accuracy(layers: Callable[[int], list[nn.Module]], seed: int, steps: int) -> float:
    """Return the accuracy on new maps, in percent; chance is 50."""
    maps, answers = lookup(1024, seed)
    network = fit(lambda: lookup_network(layers(32)), maps, answers, seed=seed, steps=steps)
    return accuracy(network, *lookup(256, 1000 + seed))


def marks(number: int, seed: int, side: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Make maps of noise with one marked position, whose value every position must tell.

    Returns maps (N, 2, side, side) of values and marks, answers (N, side, side), 1 if the marked value is above 0, and
    a mask of the positions more than two rows or columns away from it.
    """
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(number, side, side, generator=generator)
    place = torch.randint(side * side, (number, 1), generator=generator)
    mark = torch.zeros(number, side * side).scatter(1, place, 3.0).view(number, side, side)
    answers = (values.flatten(1).gather(1, place) > 0).long().view(-1, 1, 1).expand(-1, side, side)
    rows, columns = torch.arange(side).view(-1, 1), torch.arange(side)
    down, right = place.view(-1, 1, 1) // side, place.view(-1, 1, 1) % side
    return torch.stack([values, mark], 1), answers, ((rows - down).abs() > 2) | ((columns - right).abs() > 2)
