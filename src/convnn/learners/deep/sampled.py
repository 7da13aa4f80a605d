"""Classifiers whose functions are sampled: their probabilities, and how likely classes are under samples."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from convnn.errors import check_at_least
from convnn.learners.base import OneHotClassifier
from convnn.learners.deep.ascent import Ascending, batches
from convnn.learners.deep.output import Functions, categorical_likelihood


class SampledClassifier(OneHotClassifier, Ascending):
    """Classes by the softmax of functions, the mean over samples of them."""

    n_samples: int
    _noise: Tensor

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, (M, classes)."""
        found, points = self._functions(X)
        return found.probabilities(self._noise.to(found.mean)).to(points).cpu().numpy()

    def _values(self, X: Any) -> np.ndarray:
        return np.log(np.maximum(self.predict_proba(X), np.finfo(np.float32).tiny))

    def _functions(self, X: Any) -> tuple[Functions, Tensor]:
        """Return the functions at points, and the points in their own type."""
        raise NotImplementedError

    def _learn(self, inputs: Tensor, labels: np.ndarray, draws: np.random.RandomState) -> None:
        """Train the network on points or images of N labels, from the draws of samples and of batches."""
        check_at_least("n_samples", self.n_samples, 1)
        generator = torch.Generator().manual_seed(int(draws.randint(2**31)))
        shape = (self.n_samples, 1, len(self.classes_))
        self._noise = torch.randn(shape, generator=generator, dtype=torch.double)  # of predictions, for all points
        classes = self._tensor(np.searchsorted(self.classes_, labels))
        rows = batches(len(inputs), self.batch_size, draws)

        def objective() -> Tensor:
            batch = next(rows).to(inputs.device)
            found = self.network_(inputs[batch])
            noise = torch.randn(self.n_samples, *found.mean.shape, generator=generator, dtype=torch.double)
            fit = categorical_likelihood(found.samples(noise.to(found.mean)), classes[batch])
            return fit - found.cost / len(inputs)

        self._ascend(objective)
