"""Pruning of small kernels during training."""

from torch import nn

from convnn.data.seeds import make_generator
from convnn.nn import ShiftedSum2d


def prune_kernels(network: nn.Module, seed: int, epoch: int) -> None:
    """Choose the small kernels that each layer with a sparsity keeps in an epoch, once its first step has a gradient.

    All that a choice leaves behind is in the buffers and weights of the layers, which checkpoints hold.

    Args:
        network: a network with gradients.
        seed: seed of the run, from which kernels are drawn that grow again.
        epoch: number of the epoch; the first one chooses by gradients.
    """
    layers = [module for module in network.modules() if isinstance(module, ShiftedSum2d) and module.sparsity]
    for number, layer in enumerate(layers):
        layer.prune(None if epoch == 1 else make_generator("prune", seed, epoch, number))
