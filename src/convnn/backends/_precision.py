"""In which type numbers are computed."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def widest_dtype(device: torch.device) -> torch.dtype:
    """Return the widest floating type of a device; MPS has no float64."""
    return torch.float32 if device.type == "mps" else torch.float64


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """Disable autocast: scores decide the choice and must not be rounded."""
    if torch.amp.is_autocast_available(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()
