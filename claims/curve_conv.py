"""STC-Net: a temporal convolution that follows the joints, wherever they stand in the list."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, is_above, spread
from claims._nodes import descend, right
from convnn.data.skeletons import make_points
from convnn.nn.graphs import CurveConv, dilate_adjacency, skeleton_subsets
from convnn.nn.graphs.temporal.joints import NTU_BONES, NTU_JOINTS

SYSTEM = "STC-Net: curves and dilated kernels"
CLAIM = (
    "Curves from joint to nearest joint make the receptive field over time adaptive, and dilated kernels make it larger"
    " in space without parameters."
)
EXPERIMENT = (
    "200 clouds of six points in eight frames to train and 200 for the test, each point known by three noisy channels"
    " and in another place of the list in every frame; the sign in a fourth channel stays or flips from frame to frame:"
    " test accuracy in percent of a convolution over 3 frames to 16 channels, ReLU, the mean and a linear layer, after"
    " 60 steps of Adam; along curves, and of the same place of the list in all frames. Below: how many of the 25 joints"
    " of a skeleton one and two layers of dilated kernels read, the mean over the joints."
)
SEEDS = (0, 1, 2)
LAYERS = {
    "along curves": lambda: CurveConv(4, 16, 3),
    "of the same place": lambda: nn.Conv2d(4, 16, (3, 1), padding=(1, 0)),
}
STACKS = ((1,), (2,), (3,), (4,), (1, 1), (1, 2))


class Classifier(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).relu().mean((2, 3)))


def measure(seeds: list[int], quick: bool) -> Outcome:
    steps = 2 if quick else 60
    scores = {name: [score(make, seed, steps) for seed in seeds] for name, make in LAYERS.items()}
    curve, same = scores.values()
    reads = {stack: joints_read(stack) for stack in STACKS}
    return Outcome(
        [
            ["", "accuracy, %", "joints read"],
            *([name, spread(found), ""] for name, found in scores.items()),
            *([f"dilation {' and '.join(map(str, stack))}", "", f"{count:.2f}"] for stack, count in reads.items()),
        ],
        {
            "curves are right for more than 95 %": min(curve) > 95,
            "they are above the convolution of the same place": is_above(curve, same),
            "that is below 85 %": max(same) < 85,
            "dilation in the second of two layers lets them read more joints": reads[1, 2] > reads[1, 1],
        },
    )


def score(make, seed: int, steps: int) -> float:
    torch.manual_seed(seed)
    (x, labels), (unseen, answers) = make_points(200, seed=seed), make_points(200, seed=1000 + seed)
    network = Classifier(make())
    descend(network, lambda: F.cross_entropy(network(x), labels), steps=steps, lr=0.02)
    with torch.no_grad():
        return right(network(unseen), answers)


def joints_read(stack: tuple[int, ...]) -> float:
    seen = torch.eye(NTU_JOINTS)
    for dilation in stack:
        seen = dilate_adjacency(skeleton_subsets(NTU_BONES, NTU_JOINTS), dilation).sum(0).clamp_max(1) @ seen
    return (seen > 0).double().sum(1).mean().item()
