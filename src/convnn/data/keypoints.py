"""Features of keypoints in two images of one thing, of which some are annotated wrong, made on the spot."""

import torch
from torch import Tensor

from convnn.data.interface import LabelledData
from convnn.data.made import MadeLoader
from convnn.data.options import Options
from convnn.data.seeds import make_generator

COUNTS = {"train": 60, "test": 60}
CHANNELS, SEEN = 16, 10
"""Features of a keypoint, and keypoints of an image."""

CLASSES, LATENT = 24, 8
"""Kinds of keypoints, and the numbers that each has before they are mapped to features."""

SPREAD, STYLE, NOISE = 0.45, 0.5, 0.5
"""Deviations of a keypoint from its kind, of an image from others, and of features from what they should be."""


def build_keypoints(options: Options) -> LabelledData:
    """Build pairs of images whose keypoints are annotated, in training in part wrong; the shape is (C, 2, N)."""
    split, wrong = options.split or 0, options.mislabelled or 0.0  # both at least 0

    def loader(part: str) -> MadeLoader:
        def make(number: int) -> Tensor:
            generator = make_generator("keypoints", split, part, number)
            pair = make_keypoints(generator)
            return mislabelled(pair, wrong, generator) if part == "train" else pair

        return MadeLoader(make, options.subset(part, COUNTS[part]), options.settings(part, ((), ())))

    shape = (CHANNELS, 2, SEEN)
    return LabelledData(
        options.name, loader("train"), loader("test"), (), shape, (), (), task="modelling", kind="matching"
    )


def make_keypoints(generator: torch.Generator) -> Tensor:
    """Return the features (16, 2, 10) of ten keypoints, of different kinds, in two images.

    An image sees the prototype of each kind with noise and a style of its own, through a fixed random map and tanh, and
    with further noise.
    """
    prototypes = torch.randn(CLASSES, LATENT, generator=torch.Generator().manual_seed(99))
    mixing = torch.randn(LATENT, CHANNELS, generator=torch.Generator().manual_seed(98)) / LATENT**0.5
    seen = prototypes[torch.randperm(CLASSES, generator=generator)[:SEEN]]
    latent = seen + SPREAD * torch.randn(2, SEEN, LATENT, generator=generator)
    latent = latent + STYLE * torch.randn(2, 1, LATENT, generator=generator)
    features = (latent @ mixing).tanh() + NOISE * torch.randn(2, SEEN, CHANNELS, generator=generator)
    return features.movedim(-1, 0)


def mislabelled(pair: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Return a pair (C, 2, N) in which a share of the keypoints of the second image stand in each other's place."""
    chosen = torch.randperm(pair.shape[2], generator=generator)[: round(share * pair.shape[2])]
    pair = pair.clone()
    pair[:, 1, chosen] = pair[:, 1, chosen.roll(1)]
    return pair
