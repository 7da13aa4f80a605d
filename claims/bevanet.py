"""BEVANet: a large kernel as a square and two strips, selected by channel and position."""

from torch import Tensor, nn

from claims._experiment import Outcome, is_above, spread
from claims._learn import digits_accuracy
from claims.recconv import reach
from convnn.nn import SDLSKA2d, StripGate2d

SYSTEM = "BEVANet: selected strips"
CLAIM = (
    "A small kernel and two dilated strips span a large window with few weights; selecting among them by channel and"
    " by position raises the accuracy."
)
EXPERIMENT = (
    "Accuracy in percent: two SDLSKA layers of 16 channels with windows of 11 x 11 between 1x1 convolutions on"
    " scikit-learn's digits, 200 steps of 64 images; the same with the plain sum of square and strips. Weights of a"
    " channel, and the rows that the middle of a map depends on."
)
SEEDS = (0, 1, 2)
SIDE = 11


class Sum(nn.Module):
    """A selection that is none: all maps count alike."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        return sum(maps[1:], maps[0])


class Strips(nn.Module):
    """The sum of square and strips."""

    def __init__(self, gate: StripGate2d) -> None:
        super().__init__()
        self.small, self.wide, self.tall = gate.small, gate.wide, gate.tall

    def forward(self, x: Tensor) -> Tensor:
        small = self.small(x)
        return small + self.wide(small) + self.tall(small)


def summed(inputs: int, outputs: int) -> SDLSKA2d:
    layer = SDLSKA2d(inputs, outputs, kernel_size=SIDE)
    layer.gated.operator.select = Sum()
    return layer


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 5 if quick else 200
    selected = [digits_accuracy(lambda i, o: SDLSKA2d(i, o, kernel_size=SIDE), seed, steps) for seed in seeds]
    plain = [digits_accuracy(summed, seed, steps) for seed in seeds]
    strips = Strips(StripGate2d(1, kernel_size=SIDE))
    weights = sum(p.numel() for name, p in strips.named_parameters() if "weight" in name)
    rows = reach(strips)
    return Outcome(
        [
            ["", "accuracy, %", "rows", "weights of a channel"],
            ["selected", spread(selected), str(rows), str(weights)],
            ["summed", spread(plain), str(rows), str(weights)],
            [f"kernel of {SIDE} x {SIDE}", "", str(SIDE), str(SIDE**2)],
        ],
        {
            f"it reaches {SIDE} rows": rows >= SIDE,
            "it has less than a fifth of the weights": weights < SIDE**2 / 5,
            "selection raises the accuracy": is_above(selected, plain),
        },
    )
