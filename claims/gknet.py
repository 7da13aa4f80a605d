"""GKNet: kernels for each pixel of a foreground that is to fit its background, with matching places far away."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claims._experiment import Outcome, spread
from claims._materials import MATERIALS, scenes
from convnn.nn import PixelKernels2d
from convnn.nn.routed.pixel_kernels import pixel_kernel_conv

SYSTEM = "GKNet: kernels of pixels"
CLAIM = (
    "Matching places of the background, however far, tell how a foreground must change where its neighbourhood cannot;"
    " the best few are enough."
)
EXPERIMENT = (
    "Images of 16 x 16 of four materials with random colours under smooth light, whose maps are given with noise; in a"
    " disc the colours have another gain and offset. One block of 24 channels predicts kernels of 3 x 3 and an offset"
    " for each pixel; its references are 8 x 8 means of the background. 600 steps of Adam on 16 new images; squared"
    " error in the disc, times 1,000, on 64 others."
)
SEEDS = (0, 1, 2)
CHANNELS = 24


class Harmonizer(nn.Module):
    """The smallest network of the block; its references are all, the best few, their mean, or none."""

    def __init__(self, references: str) -> None:
        super().__init__()
        self.references = references
        block = PixelKernels2d(CHANNELS, 16, top=8 if references == "best 8" else 0, groups=3)
        self.fuse, self.predict = block.fuse, block.predict
        self.encode = nn.Conv2d(3 + MATERIALS + 1, CHANNELS, 3, padding=1)
        self.refer, self.blend = nn.Conv2d(3 + MATERIALS, CHANNELS, 1), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        self.offset = nn.Conv2d(CHANNELS, 3, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        features, share = self.encode(torch.cat([x, mask], 1)), F.avg_pool2d(1 - mask, 2)
        cells = self.refer(F.avg_pool2d(x * (1 - mask), 2) / share.clamp_min(0.25))
        usable = (share > 0.4).squeeze(1)
        if self.references == "mean":
            features = features + (cells * usable[:, None]).sum((2, 3), True) / usable.sum((1, 2)).view(-1, 1, 1, 1)
        elif self.references != "none":
            features = self.fuse(features, cells, usable)
        features = F.relu(self.blend(features))
        changed = pixel_kernel_conv(x[:, :3], self.predict(features), 3) + self.offset(features)
        return mask * changed + (1 - mask) * x[:, :3]


def error(references: str, seed: int, steps: int) -> float:
    torch.manual_seed(seed)
    network, draw = Harmonizer(references), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)

    def loss(count: int, draw: torch.Generator) -> Tensor:
        x, mask, images = scenes(count, draw)
        return (network(x, mask) - images).square().sum() / (3 * mask.sum())

    for _ in range(steps):
        optimizer.zero_grad()
        loss(16, draw).backward()
        optimizer.step()
    with torch.no_grad():
        return 1000 * loss(64, torch.Generator().manual_seed(1000)).item()


def measure(seeds: list[int], quick: bool) -> Outcome:
    ways = ("none", "mean", "all", "best 8")
    errors = {way: [error(way, seed, 3 if quick else 600) for seed in seeds] for way in ways}
    none, mean, every, best = (sum(found) for found in errors.values())
    return Outcome(
        [["references", "error"], *([way, spread(found)] for way, found in errors.items())],
        {
            "the best 8 leave less than half the error of none": best < none / 2,
            "and of their mean": best < mean / 2,
            "they are as good as all, within a tenth": best < 1.1 * every,
        },
    )
