"""Classification of positions by the features that enter a layer there."""

import torch
from torch import Tensor
from torch.nn.functional import normalize


class ClassCentroids:
    """The mean features of every class, and the nearest class of a position.

    Args:
        channels: number of features.
    """

    def __init__(self, channels: int) -> None:
        # On the CPU, which has float64 and sums in a fixed order.
        self.sums = torch.zeros(0, channels, dtype=torch.float64)
        self.counts = torch.zeros(0, dtype=torch.long)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add images: features (B, T, C), labels (B,) from 0."""
        labels, means = labels.cpu(), _at_least_float32(features).mean(dim=1).cpu().double()
        missing = int(labels.max()) + 1 - len(self.counts)
        if missing > 0:
            self.sums = torch.cat([self.sums, self.sums.new_zeros(missing, self.sums.shape[1])])
            self.counts = torch.cat([self.counts, self.counts.new_zeros(missing)])
        self.sums.index_add_(0, labels, means)
        self.counts.index_add_(0, labels, torch.ones_like(labels))

    def nearest(self, features: Tensor) -> Tensor:
        """Return the class of every position of features (B, T, C): (B, T) int64, numbering the classes with images.

        A position at the mean of all classes belongs to the first.
        """
        features = _at_least_float32(features)
        known = self.counts > 0
        means = self.sums[known] / self.counts[known, None]
        middle = means.mean(dim=0)
        directions = normalize(means - middle, dim=1).to(features)
        middle = middle.to(features)
        # The length of a position does not matter. One image at a time, because there may be many classes.
        return torch.stack([((image - middle) @ directions.T).argmax(dim=1) for image in features])


def _at_least_float32(features: Tensor) -> Tensor:
    return features.to(torch.promote_types(features.dtype, torch.float32))
