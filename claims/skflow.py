"""SKFlow: a large kernel after small ones sees what is hidden from where it is not."""

from torch import nn

from claims._experiment import Outcome, is_above, spread
from claims.non_local import accuracies
from convnn.nn import SuperKernel2d, layer_factory
from convnn.train import summarize

SYSTEM = "SKFlow: super kernels"
CLAIM = (
    "A large depthwise kernel after small ones, each with a residual, brings distant evidence to where there is none,"
    " as in occluded parts of a flow, at about the cost of a 3 x 3 convolution."
)
EXPERIMENT = (
    "Maps of 12 x 12 positions of noise, one of them marked; every position must tell whether the value at the mark"
    " is above 0: accuracy in percent on new maps after 300 steps, chance 50, of all positions and of those more than"
    " two rows or columns away. One layer of 32 channels and two 1x1 convolutions: SuperKernel with kernels of 1 and"
    " 15, and of 1 and 5, and a 3 x 3 convolution; a 1x1 convolution first brings the map to 32 channels. Parameters"
    " of one layer of 64 channels."
)
SEEDS = (0, 1, 2)
LAYERS = {
    "SuperKernel 1, 15": lambda i, o: SuperKernel2d(i, o, k_conv="1,15"),
    "SuperKernel 1, 5": lambda i, o: SuperKernel2d(i, o, k_conv="1,5"),
    "Conv2d 3 x 3": layer_factory("Conv2d", kernel_size=3),
}


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 3 if quick else 300
    scores = {name: [accuracies(widened(make), seed, steps) for seed in seeds] for name, make in LAYERS.items()}
    everywhere, far = ({name: [one[i] for one in found] for name, found in scores.items()} for i in (0, 1))
    counts = {name: summarize(make(64, 64), (64, 32, 32)).parameters for name, make in LAYERS.items()}
    large, small, conv = LAYERS
    return Outcome(
        [
            ["layer", "all positions, %", "far from the mark, %", "parameters"],
            *([name, spread(everywhere[name]), spread(far[name]), f"{counts[name]:,}"] for name in LAYERS),
        ],
        {
            "the large kernel is above the small one far from the mark": is_above(far[large], far[small]),
            "it is above the convolution far from the mark": is_above(far[large], far[conv]),
            "it has less than a quarter more parameters than the convolution": counts[large] < 1.25 * counts[conv],
        },
    )


def widened(make):
    """Return a function that makes a layer after a 1x1 convolution."""
    return lambda i, o: nn.Sequential(nn.Conv2d(i, o, 1), make(o, o))
