"""VAN: a large kernel as a stack of small ones, whose output multiplies the map."""

from torch import nn

from claims._experiment import Outcome, is_above, spread
from claims._learn import digits_accuracy
from claims.recconv import reach
from convnn.nn import ConvMaker, LKA2d, StackedGate

SYSTEM = "VAN: large kernel attention"
CLAIM = (
    "A small, a dilated and a 1x1 convolution reach as far as a kernel of 21 x 21 with few of its parameters; as"
    " attention, which multiplies the map, they classify better than as a plain convolution."
)
EXPERIMENT = (
    "Reach of the two depthwise kernels: the rows that the middle of a map depends on. Parameters of 64 channels."
    " Accuracy in percent: two layers of 16 channels between 1x1 convolutions on scikit-learn's digits, 200 steps of"
    " 64 images; the same layers without the product."
)
SEEDS = (0, 1, 2)


class Plain(nn.Module):
    """The stack of a gate, which replaces the map instead of multiplying it."""

    def __init__(self, gate: StackedGate) -> None:
        super().__init__()
        self.stack = nn.Sequential(gate.local, gate.dilated, gate.mix)

    def forward(self, x):
        return self.stack(x)


def plain(inputs: int, outputs: int) -> LKA2d:
    layer = LKA2d(inputs, outputs)
    layer.gated.operator = Plain(layer.gated.operator)
    return layer


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 5 if quick else 200
    gates = [digits_accuracy(LKA2d, seed, steps) for seed in seeds]
    plains = [digits_accuracy(plain, seed, steps) for seed in seeds]
    one = StackedGate(ConvMaker(2), 1)
    rows = reach(nn.Sequential(one.local, one.dilated))
    gate = StackedGate(ConvMaker(2), 64)
    stack, large = count(gate), count(ConvMaker(2).conv(64, 64, 21)) // 64 + count(gate.mix)
    return Outcome(
        [
            ["", "rows", "parameters", "accuracy, %"],
            ["stack, multiplies", str(rows), f"{stack:,}", spread(gates)],
            ["stack, plain", str(rows), f"{stack:,}", spread(plains)],
            ["depthwise 21 x 21 and 1x1", "21", f"{large:,}", ""],
        ],
        {
            "the stack reaches 21 rows": rows >= 21,
            "it has less than a third of the parameters": stack < large / 3,
            "the product raises the accuracy": is_above(gates, plains),
        },
    )


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(p.numel() for p in module.parameters())
