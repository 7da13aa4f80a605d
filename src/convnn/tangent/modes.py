"""Networks in evaluation mode, whatever mode they were left in."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from convnn.errors import InputError
from convnn.nn._modes import evaluating


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, with gradients, and afterwards every part of it back into its own mode.

    In training mode batch normalisation mixes samples and dropout draws: neither has a kernel of pairs of samples. A
    model with such parts in training mode gets a warning.

    Raises:
        InputError: the model is no module.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model={type(model).__name__} must be a torch.nn.Module")
    if any(part.training and isinstance(part, _BatchNorm | _DropoutNd) for part in model.modules()):
        warnings.warn(
            f"{type(model).__name__} is in training mode, in which samples depend on each other or on chance; its"
            " tangent kernel is that of evaluation mode, as after model.eval()",
            stacklevel=4,
        )
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        yield
