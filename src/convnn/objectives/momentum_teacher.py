"""A teacher that follows its student slowly."""

import copy
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from convnn.errors import InputError, check_rate


class MomentumTeacher(nn.Module):
    r"""A copy of a module whose parameters are running means of the module's.

    .. math:: \theta' \gets m \theta' + (1 - m) \theta

    It has no gradients and is called like the module. Buffers are its own: the means of batch normalisation are those
    of what the teacher sees, in training mode like the student. (`torch.optim.swa_utils.AveragedModel` copies buffers
    of the student, or averages them.)

    Args:
        module: the student, which is copied as it is.
        momentum: m, in [0, 1).

    Raises:
        InputError: the momentum is out of range.

    Reference:
        He et al., "Momentum Contrast", arXiv 1911.05722; as a teacher of matching, Lin et al., arXiv 2212.05085.
    """

    def __init__(self, module: nn.Module, momentum: float = 0.995) -> None:
        super().__init__()
        check_rate("momentum", momentum)
        self.momentum = momentum
        self.module = copy.deepcopy(module).requires_grad_(False)
        self._average = get_ema_multi_avg_fn(momentum)

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move the parameters towards those of the student: once a step, before the teacher is asked.

        Raises:
            InputError: the student has other parameters.
        """
        own, new = list(self.module.parameters()), list(student.parameters())
        if [one.shape for one in own] != [one.shape for one in new]:
            raise InputError("student has other parameters than the module of which the teacher is a copy")
        if own:
            self._average(own, new, 0)

    @torch.no_grad()
    def forward(self, *inputs: Any, **settings: Any) -> Any:
        """Return what the teacher says."""
        return self.module(*inputs, **settings)
