"""k-NN attention: noisy tokens are ignored."""

import torch
from torch import Tensor, nn

from claims._experiment import Outcome, is_above, spread
from claims._learn import accuracy, digits, fit
from convnn.nn import Attention, KvtAttention

SYSTEM = "KVT: k-NN attention"
CLAIM = "Attention to the K tokens with the highest scores ignores noisy tokens, so it learns faster and ends better."
EXPERIMENT = (
    "scikit-learn's digits on canvases of 16 x 16 pixels of noise, as 64 tokens of 2 x 2 pixels: test accuracy in"
    " percent of a transformer of two blocks of width 32 after 100 and after 300 steps of 64 images, with KVT of K = 8"
    " and with attention to all."
)
SEEDS = (0, 1, 2)
LAYERS = {
    "KVT, K = 8": lambda: KvtAttention(32, 2, K=8, attention_dropout=0.0),
    "attention": lambda: Attention(32, 2, attention_dropout=0.0),
}


class Block(nn.Module):
    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.attention, self.norms = attention, nn.ModuleList(nn.LayerNorm(32) for _ in range(2))
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norms[0](x))
        return x + self.mlp(self.norms[1](x))


class Transformer(nn.Module):
    def __init__(self, make) -> None:
        super().__init__()
        self.embed, self.places = nn.Conv2d(1, 32, 2, 2), nn.Parameter(0.02 * torch.randn(64, 32))
        self.blocks, self.head = nn.Sequential(Block(make()), Block(make()), nn.LayerNorm(32)), nn.Linear(32, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(images).flatten(2).mT + self.places).mean(1))


def measure(seeds: list[int], quick: bool) -> Outcome:
    budgets, number = ((1, 2), 64) if quick else ((100, 300), None)
    scores = {
        name: {steps: [reached(make, seed, steps, number) for seed in seeds] for steps in budgets}
        for name, make in LAYERS.items()
    }
    ours, theirs = scores.values()
    early, late = (is_above(ours[steps], theirs[steps]) for steps in budgets)
    return Outcome(
        [
            ["layer", *(f"after {steps} steps, %" for steps in budgets)],
            *([name, *(spread(found[steps]) for steps in budgets)] for name, found in scores.items()),
        ],
        {f"KVT is above attention after {budgets[0]} steps": early, f"and after {budgets[1]}": late},
    )


def reached(make, seed: int, steps: int, number: int | None) -> float:
    images, labels, test_images, test_labels = (part[:number] for part in digits())
    network = fit(lambda: Transformer(make), on_noise(images, seed), labels, seed=seed, steps=steps, lr=2e-3)
    return accuracy(network, on_noise(test_images, 1000 + seed), test_labels)


def on_noise(images: Tensor, seed: int) -> Tensor:
    """Place each image at a random even row and column of a canvas of noise of standard deviation 1."""
    generator = torch.Generator().manual_seed(seed)
    canvas = torch.randn(len(images), 1, 16, 16, generator=generator)
    places = 2 * torch.randint(5, (len(images), 2), generator=generator)
    for one, image, (row, column) in zip(canvas, images, places.tolist(), strict=True):
        one[:, row : row + 8, column : column + 8] = image
    return canvas
