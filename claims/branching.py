"""ConvNN in parallel with a convolution, compared with each of them alone."""

from functools import partial

from claims._experiment import Outcome, is_above, spread
from claims._learn import digits_accuracy
from convnn.nn import layer_factory

SYSTEM = "Branching"
CLAIM = "ConvNN and a convolution in parallel, with half of the channels each, classify better than either alone."
EXPERIMENT = (
    "Two layers of 16 channels between 1x1 convolutions on scikit-learn's digits, 300 steps of 64 images: test"
    " accuracy in percent with each kind of layer. K = 9, nothing tuned for any of them."
)
SEEDS = (0, 1, 2, 3, 4)
CONTESTANTS = {
    "Branching": partial(layer_factory, "Branching", K=9, branch_ratio=0.5),
    "Conv2d": partial(layer_factory, "Conv2d", kernel_size=3),
    "ConvNN": partial(layer_factory, "ConvNN", K=9),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 5 if quick else 300
    scores = {name: [digits_accuracy(make(), seed, steps) for seed in seeds] for name, make in CONTESTANTS.items()}
    return Outcome(
        [["layer", "test accuracy, %"], *([name, spread(found)] for name, found in scores.items())],
        {
            "Branching is above ConvNN alone": is_above(scores["Branching"], scores["ConvNN"]),
            "Branching is above Conv2d alone": is_above(scores["Branching"], scores["Conv2d"]),
        },
    )
