"""MGC: four neighbours instead of a row and a column."""

from claims._experiment import Outcome, is_above, spread
from claims._learn import digits_accuracy
from claims.svga import milliseconds
from convnn.nn import MGC2d, SVGA2d

SYSTEM = "MobileViGv2: MGC"
CLAIM = (
    "Four axial neighbours and a conditional positional encoding are as good as SVGA's row and column, at lower cost."
)
EXPERIMENT = (
    "MGC and SVGA with step 2, MGC with and without its positional encoding. Accuracy in percent: two layers of 16"
    " channels between 1x1 convolutions on scikit-learn's digits, 300 steps of 64 images. Cost: neighbours of a"
    " position of a map of 56 x 56 with the published step 8, and the median time of 9 passes through a layer of 64"
    " channels with step 2 on 32 x 32 positions, forward, batch 4."
)
SEEDS = (0, 1, 2)
CONTESTANTS = {
    "MGC": lambda i, o, step=2: MGC2d(i, o, step=step, positional_size=7),
    "SVGA, encoded": lambda i, o, step=2: SVGA2d(i, o, step=step, positional_size=7),
    "MGC, not encoded": lambda i, o, step=2: MGC2d(i, o, step=step, positional_size=0),
    "SVGA, not encoded": lambda i, o, step=2: SVGA2d(i, o, step=step, positional_size=0),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps, side, passes = (5, 8, 1) if quick else (300, 32, 9)
    scores = {name: [digits_accuracy(make, seed, steps) for seed in seeds] for name, make in CONTESTANTS.items()}
    around = {name: len(make(1, 1, step=8).shifts((56, 56))) for name, make in CONTESTANTS.items()}
    times = milliseconds(CONTESTANTS, side, passes)
    rows = ([name, spread(scores[name]), str(around[name]), f"{times[name]:.1f}"] for name in CONTESTANTS)
    return Outcome(
        [["layer", "accuracy, %", "neighbours on 56 x 56", "ms, batch 4"], *rows],
        {
            "the accuracy of MGC is not below that of SVGA with the same encoding": not is_above(
                scores["SVGA, encoded"], scores["MGC"]
            ),
            "MGC has fewer neighbours": around["MGC"] < around["SVGA, encoded"],
            "MGC takes less time than SVGA with the same encoding": times["MGC"] < times["SVGA, encoded"],
            "the encoding makes MGC better": is_above(scores["MGC"], scores["MGC, not encoded"]),
        },
    )
