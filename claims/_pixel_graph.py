"""The graph of the nearest among scikit-learn's digits."""

from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor

from convnn.graphs import knn_graph


@cache
def digits(number: int = 500) -> tuple[Tensor, Tensor, Tensor]:
    """Return pixels (N, 64) of the first digits, edges (2, E) both ways to their five nearest, and labels (N,)."""
    pixels, labels = map(torch.from_numpy, load_digits(return_X_y=True))
    x = (pixels[:number] / 16).float()
    return x, knn_graph(x, 5, keep="either"), labels[:number].long()
