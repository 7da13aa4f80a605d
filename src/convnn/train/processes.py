"""Several processes on one run: what they must agree on, and what they compute together."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from accelerate import Accelerator


class Agreement(NamedTuple):
    """What all processes know before a step.

    Attributes:
        num_samples: of each batch of the step, over all processes.
        signal: that came to one of them, 0 for none.
        is_save_due: one of them wants a checkpoint after the step.
    """

    num_samples: tuple[int, ...]
    signal: int
    is_save_due: bool


class Processes:
    """The processes of a run, of which there may be one only.

    Args:
        accelerator: knows how many they are.
    """

    def __init__(self, accelerator: "Accelerator") -> None:
        self.accelerator = accelerator
        self.index: int = accelerator.process_index
        self.count: int = accelerator.num_processes
        # Small messages travel apart from the gradients, and no device has to wait for them.
        self._group: Any = dist.new_group(backend="gloo") if self.count > 1 else None

    def agree(self, num_samples: Sequence[int] = (), signal: int | None = None, is_save_due: bool = False) -> Agreement:
        """Tell the others, and hear from them."""
        if self.count == 1:
            return Agreement(tuple(num_samples), signal or 0, is_save_due)
        said = torch.tensor([signal or 0, int(is_save_due), *num_samples])
        heard = [torch.zeros_like(said) for _ in range(self.count)]
        dist.all_gather(heard, said, group=self._group)
        signals, due, *samples = zip(*(row.tolist() for row in heard), strict=True)
        return Agreement(tuple(map(sum, samples)), max(signals), any(due))

    def sum(self, values: Tensor) -> Tensor:
        """Add up a tensor over the processes."""
        total: Tensor = self.accelerator.reduce(values, reduction="sum")
        return total

    def rows(self, values: Tensor) -> Tensor:
        """(count, *shape): the tensor of every process."""
        rows: Tensor = self.accelerator.gather(values.unsqueeze(0))
        return rows

    def gather_text(self, lines: set[str]) -> set[str]:
        """The union of what every process has to say."""
        if self.count == 1:
            return lines
        heard: list[Any] = [None] * self.count
        dist.all_gather_object(heard, lines, group=self._group)
        return set().union(*heard)


class GlobalBatchNorm(_BatchNorm):
    r"""Batch normalisation over the batches of all processes, on any device.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \gamma + \beta

    with mean and variance of a channel over all its values in all processes. torch.nn.SyncBatchNorm, which is faster,
    computes it on GPUs only.

    Reference:
        Ioffe and Szegedy, "Batch Normalization", arXiv 1502.03167, algorithm 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) to the same shape; B may be 0 where other processes have samples."""
        if not self.training:
            return super().forward(x)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        count = _AddUp.apply(values.new_full((), x.numel() / x.shape[1] if len(x) else 0.0))
        if count <= 1:  # as torch says it of a single process
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
        mean = _AddUp.apply(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = _AddUp.apply(centred.square().sum(axes)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    def _check_input_dim(self, x: Tensor) -> None:
        """Any number of axes will do."""

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(unbiased_variance, self.momentum or 0.0)


class _AddUp(torch.autograd.Function):
    """The sum of a tensor over the processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def normalise_together(network: nn.Module) -> None:
    """Make every batch normalisation of a network one over the batches of all processes, in place."""
    for name, module in network.named_children():
        if isinstance(module, _BatchNorm):
            setattr(network, name, _over_processes(module))
        else:
            normalise_together(module)


def _over_processes(norm: _BatchNorm) -> nn.Module:
    if norm.weight.is_cuda:
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
        return converted
    together = GlobalBatchNorm(norm.num_features, norm.eps, norm.momentum, device="meta")
    together.load_state_dict(norm.state_dict(), assign=True)
    return together.train(norm.training)


def shard(network: nn.Module, accelerator: "Accelerator") -> None:
    """Spread weights, gradients and optimizer over the processes (FSDP), block by block, in place.

    Reference:
        Zhao et al., "PyTorch FSDP", arXiv 2304.11277.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard  # takes a second to import

    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for stage in network.children():
        for block in stage.children() if isinstance(stage, nn.Sequential | nn.ModuleList) else [stage]:
            if any(True for _ in block.parameters()):
                fully_shard(block, mesh=mesh)
    fully_shard(network, mesh=mesh)
