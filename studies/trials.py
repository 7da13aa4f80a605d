"""Variants of ConvNN_Pos that were tried and not shipped, in the network and with the budget of place.toml.

`python studies/trials.py --data_path ./Data/cifar10` trains each with three seeds and prints a line a run. In each,
half of the channels look at the places of a convolution, and the other half is what is tried.
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.data import load_data
from convnn.models import vgg11
from convnn.nn import ConvNNPos2d, Grid
from convnn.nn._field import Field
from convnn.nn._search import under_windows
from convnn.ops import select

SIDE, REACH = 3, 1


class Trial(nn.Module):
    """For each slot, `pick` combines its places into one vector; the kernel follows."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.kernel = nn.Conv1d(in_channels, out_channels, SIDE**2)
        self.warmth = nn.Parameter(torch.zeros(SIDE**2))
        self.query = nn.Linear(in_channels, 16, bias=False)
        self.key = nn.Linear(in_channels, 16, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        field = Field.of(x, Grid(SIDE, padding="same").widened((SIDE, SIDE), REACH))
        choices = under_windows(field).squeeze(0)[:, select.sectors((SIDE, SIDE), REACH)]
        there = field.features[:, choices]  # (B, N, slots, places, C)
        here = field.at_queries(field.features)[:, :, None, None]
        out = self.kernel(self.pick(here, there).flatten(0, 1).mT)
        return field.to_map(out.squeeze(-1).unflatten(0, there.shape[:2]))

    def pick(self, here: Tensor, there: Tensor) -> Tensor:
        """From (B, N, 1, 1, C) and (B, N, slots, places, C) to (B, N, slots, C)."""
        raise NotImplementedError

    def shares(self, scores: Tensor) -> Tensor:
        return (scores * self.warmth.exp()[:, None]).softmax(-1).unsqueeze(-1)


class Soft(Trial):
    """A softmax over the places of a slot, by inner product, with a learned temperature."""

    def pick(self, here: Tensor, there: Tensor) -> Tensor:
        return (self.shares((here * there).sum(-1)) * there).sum(3)


class Projected(Trial):
    """The same with learned projections: attention within each direction."""

    def pick(self, here: Tensor, there: Tensor) -> Tensor:
        return (self.shares(self.scores(here, there)) * there).sum(3)

    def scores(self, here: Tensor, there: Tensor) -> Tensor:
        return (self.query(here) * self.key(there)).sum(-1) / 4


class StraightThrough(Projected):
    """One place by learned projections; the gradient is that of the softmax."""

    def pick(self, here: Tensor, there: Tensor) -> Tensor:
        shares = self.shares(self.scores(here, there))
        hard = F.one_hot(shares.squeeze(-1).argmax(-1), shares.shape[3]).unsqueeze(-1).to(shares)
        return ((hard + shares - shares.detach()) * there).sum(3)


class Differences(Trial):
    """One place by inner product; its value is its difference from the position."""

    def pick(self, here: Tensor, there: Tensor) -> Tensor:
        chosen = (here * there).sum(-1).argmax(-1)[..., None, None].expand(-1, -1, -1, 1, there.shape[-1])
        outer = (torch.arange(SIDE**2) != SIDE**2 // 2).unsqueeze(-1)
        return there.gather(3, chosen).squeeze(3) - here.squeeze(3) * outer


class SideBySide(nn.Module):
    """Layers that compute equal shares of the channels."""

    def __init__(self, out_channels: int, *makers: Callable[[int], nn.Module]) -> None:
        super().__init__()
        each = out_channels // len(makers)
        sizes = [out_channels - each * (len(makers) - 1)] + [each] * (len(makers) - 1)
        self.parts = nn.ModuleList(make(size) for make, size in zip(makers, sizes, strict=True))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], dim=1)


def _beside_convolution(trial: type[Trial]) -> Callable[[int, int], nn.Module]:
    return lambda i, o: SideBySide(o, lambda n: nn.Conv2d(i, n, SIDE, padding=1), lambda n: trial(i, n))


def _both(i: int, o: int) -> nn.Module:
    choosing = {"choosing": 1.0, "reach": REACH, "metric": "cosine"}
    return SideBySide(
        o,
        lambda n: nn.Conv2d(i, n, SIDE, padding=1),
        lambda n: ConvNNPos2d(i, n, kernel_size=SIDE, prefer="like", **choosing),
        lambda n: ConvNNPos2d(i, n, kernel_size=SIDE, prefer="unlike", **choosing),
    )


TRIALS: dict[str, Callable[[int, int], nn.Module]] = {
    "as shipped": lambda i, o: ConvNNPos2d(i, o, kernel_size=SIDE, reach=REACH),
    "soft": _beside_convolution(Soft),
    "projected": _beside_convolution(Projected),
    "straight-through": _beside_convolution(StraightThrough),
    "differences": _beside_convolution(Differences),
    "alike and unlike": _both,
}


def train(name: str, seed: int, data_path: str, epochs: int, images: int) -> float:
    """Return the test accuracy after the last epoch, in percent."""
    kept = {"limit_train": images, "limit_test": 4000, "keep_images": True, "num_workers": 0}
    data = load_data("imagefolder", data_path, batch_size=32, seed=seed, **kept)
    torch.manual_seed(seed)
    network = vgg11(TRIALS[name], width=0.125, dropout=0.0)
    optimizer = torch.optim.AdamW(network.parameters(), lr=6e-4, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for epoch in range(epochs):
        network.train()
        data.train.set_epoch(epoch)
        for pixels, labels, _ in data.train:
            optimizer.zero_grad()
            F.cross_entropy(network(pixels), labels).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        scheduler.step()
    network.eval()
    with torch.no_grad():
        right = [(network(pixels).argmax(1) == labels).float() for pixels, labels, _ in data.test]
    return 100 * torch.cat(right).mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(TRIALS), help=f"of {', '.join(TRIALS)}")
    parser.add_argument("--data_path", default="./Data/cifar10")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--images", type=int, default=5000)
    options = parser.parse_args()
    for seed in range(options.seeds):
        for name in options.names:
            accuracy = train(name, seed, options.data_path, options.epochs, options.images)
            print(f"{name}, seed {seed}: {accuracy:.2f} %", flush=True)


if __name__ == "__main__":
    main()
