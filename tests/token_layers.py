"""Layers on tokens for tests of what they are equal to, and double precision."""

import torch
from torch import Tensor, nn

from convnn import nn as cnn

SAMPLED = {
    "all": {},
    "random": {"sampling_type": "random", "num_samples": 6},
    "spatial": {"sampling_type": "spatial", "num_samples": 6},
}

LAYERS = {
    "dense": lambda: cnn.Attention(12, 3),
    "kvt": lambda: cnn.KvtAttention(12, 3, K=4),
    "convnn": lambda: cnn.ConvNNAttention(12, 3, K=4),
    "convnn-standard": lambda: cnn.ConvNNAttention(
        12, 3, K=4, convolution_type="standard", metric="cosine", coordinate_encoding=True
    ),
    "convnn-separable": lambda: cnn.ConvNNAttention(
        12, 3, K=4, convolution_type="depthwise-separable", metric="euclidean", **SAMPLED["spatial"]
    ),
    "convnn-coordinates": lambda: cnn.ConvNNAttention(12, 3, K=4, coordinate_encoding=True),
    "window": lambda: cnn.NeighborhoodAttention(12, 3, K=4),
    "local": lambda: cnn.LocalAttention(12, 3, window_size=3, head_width=8),
    "sparse-local": lambda: cnn.SparseAttention(12, 3, sparse_mode="local", sparse_context_window=4),
    "sparse-strided": lambda: cnn.SparseAttention(12, 3, sparse_mode="strided", sparse_context_window=4),
    "blocks": lambda: cnn.BlockSparseAttention(12, 3, block=(3, 2), keep=1.0, special_tokens=1),
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def exact(layer: nn.Module) -> nn.Module:
    """Put a layer into double precision, without dropout."""
    return layer.double().eval()


def joined(layer: nn.Module, heads: Tensor) -> Tensor:
    """Put heads (B, H, T, d) side by side and through the output of the layer."""
    return layer.output(heads.transpose(1, 2).reshape(len(heads), heads.shape[2], -1))
