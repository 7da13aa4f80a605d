"""Layers in which every position chooses its neighbours.

A convolution looks at the k x k window, attention looks everywhere with soft weights, a ConvNN layer picks the K most
similar positions of the whole map and convolves them. The three differ in who the neighbours are (`ops.select`), how
much each counts (`ops.weigh`) and how they are put together (`ops.aggregate`).
"""

from convnn import models, nn, ops

__version__ = "0.1.0"

__all__ = ["__version__", "models", "nn", "ops"]
