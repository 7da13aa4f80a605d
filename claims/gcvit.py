"""GC ViT: queries of the whole map reach across windows."""

from functools import partial

import torch
from torch import Tensor, nn

from claims._experiment import Outcome, spread
from claims._learn import accuracy, digits, fit
from convnn.nn import GlobalContext

SYSTEM = "GC ViT: global queries"
CLAIM = (
    "Windows with queries of the whole map, in turn with windows with queries of their own, see short and long ranges"
    " without shifts or masks."
)
EXPERIMENT = (
    "Digits of 8 x 8 pixels, of which every pixel is to name the digit: accuracy of pixels of other images in percent"
    " after 300 steps on 64 images, chance 10, of four blocks of width 16 with windows of 2 x 2: all with queries of"
    " their own, or every second with those of the image. And on how many positions a block's output depends."
)
SEEDS = (0, 1, 2)
SCOPES = {"local only": ("local",) * 4, "local and global": ("local", "global") * 2}


class Block(nn.Module):
    def __init__(self, scope: str) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(16) for _ in range(2))
        self.mixer = GlobalContext(16, 2, window_side=2, scope=scope, query_poolings=2, attention_dropout=0.0)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.mixer(self.norms[0](x))
        return x + self.mlp(self.norms[1](x))


class PixelNetwork(nn.Module):
    """Tokens (B, 64, 1), which are pixels, to logits of each, (B, 10, 64)."""

    def __init__(self, scopes: tuple[str, ...]) -> None:
        super().__init__()
        self.places = nn.Parameter(0.5 * torch.randn(64, 16))
        self.embed = nn.Linear(1, 16)
        self.blocks = nn.Sequential(*map(Block, scopes), nn.LayerNorm(16), nn.Linear(16, 10))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.embed(x) + self.places).mT


def measure(seeds: list[int], quick: bool) -> Outcome:
    images, labels, test_images, test_labels = digits()
    pixels, test_pixels = images.flatten(2).mT, test_images.flatten(2).mT
    answers, test_answers = labels.unsqueeze(1).expand(-1, 64), test_labels.unsqueeze(1).expand(-1, 64)
    steps = 5 if quick else 300
    scores = {}
    for name, scopes in SCOPES.items():
        make = partial(PixelNetwork, scopes)
        found = (fit(make, pixels, answers, seed=seed, steps=steps, lr=1e-2) for seed in seeds)
        scores[name] = [accuracy(network, test_pixels, test_answers) for network in found]
    reaches = {scope: reach(scope) for scope in ("local", "global")}
    pairs = zip(scores["local and global"], scores["local only"], strict=True)
    return Outcome(
        [
            ["blocks", "measured"],
            *([f"{name}: accuracy of pixels, %", spread(found)] for name, found in scores.items()),
            *([f"{scope}: positions that one depends on", str(number)] for scope, number in reaches.items()),
        ],
        {
            "with queries of the image it is 20 points above": all(a > b + 20 for a, b in pairs),
            "a local block sees its window, a global one everything": reaches == {"local": 4, "global": 64},
        },
    )


def reach(scope: str) -> int:
    torch.manual_seed(0)
    x = torch.randn(1, 64, 16, requires_grad=True)
    (slope,) = torch.autograd.grad(Block(scope)(x)[0, 27].square().sum(), x)
    return int(slope[0].any(dim=1).sum())
