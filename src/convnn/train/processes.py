"""Several processes in one run: the values they agree on and the computations they share."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from accelerate import Accelerator


class Agreement(NamedTuple):
    """The values that all processes agree on before a step.

    Attributes:
        num_samples: samples of each batch of the step, over all processes.
        signal: a signal that one of them received; 0 for none.
        is_save_due: whether one of them requests a checkpoint after the step.
    """

    num_samples: tuple[int, ...]
    signal: int
    is_save_due: bool


class Processes:
    """The processes of a run, possibly only one.

    Args:
        accelerator: the accelerator of this process.
    """

    def __init__(self, accelerator: "Accelerator") -> None:
        self.accelerator = accelerator
        self.index: int = accelerator.process_index
        self.count: int = accelerator.num_processes
        # Small messages use their own group, so that no device waits for them.
        self._group: Any = dist.new_group(backend="gloo") if self.count > 1 else None

    def agree(self, num_samples: Sequence[int] = (), signal: int | None = None, is_save_due: bool = False) -> Agreement:
        """Exchange these values with the other processes."""
        if self.count == 1:
            return Agreement(tuple(num_samples), signal or 0, is_save_due)
        message = torch.tensor([signal or 0, int(is_save_due), *num_samples])
        messages = [torch.zeros_like(message) for _ in range(self.count)]
        dist.all_gather(messages, message, group=self._group)
        signals, due, *samples = zip(*(row.tolist() for row in messages), strict=True)
        return Agreement(tuple(map(sum, samples)), max(signals), any(due))

    def sum(self, values: Tensor) -> Tensor:
        """Sum a tensor over the processes."""
        total: Tensor = self.accelerator.reduce(values, reduction="sum")
        return total

    def rows(self, values: Tensor) -> Tensor:
        """Gather the tensor of every process, (count, *shape)."""
        rows: Tensor = self.accelerator.gather(values.unsqueeze(0))
        return rows

    def gather_text(self, lines: set[str]) -> set[str]:
        """Return the union of the lines of every process."""
        if self.count == 1:
            return lines
        gathered: list[Any] = [None] * self.count
        dist.all_gather_object(gathered, lines, group=self._group)
        return set().union(*gathered)


class GlobalBatchNorm(_BatchNorm):
    r"""Batch normalisation over the batches of all processes, on any device.

    .. math:: y = \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} \gamma + \beta

    with the mean and variance of a channel over all its values in all processes. torch.nn.SyncBatchNorm is faster but
    works on GPUs only.

    Reference:
        Ioffe and Szegedy, "Batch Normalization", arXiv 1502.03167, algorithm 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, ...); B may be 0 if other processes have samples."""
        if not self.training:
            return super().forward(x)
        axes = [axis for axis in range(x.dim()) if axis != 1]
        shape = [1, -1] + [1] * (x.dim() - 2)
        values = x.to(torch.promote_types(x.dtype, torch.float32))
        count = _SumOverProcesses.apply(values.new_full((), x.numel() / x.shape[1] if len(x) else 0.0))
        if count <= 1:  # torch's message for a single process
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {x.shape}")
        mean = _SumOverProcesses.apply(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = _SumOverProcesses.apply(centred.square().sum(axes)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1).clamp_min(1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale.view(shape) + self.bias.view(shape)).to(x.dtype)

    def _check_input_dim(self, x: Tensor) -> None:
        """Accept any number of axes."""

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(unbiased_variance, self.momentum or 0.0)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over the processes; its gradient is the sum of their gradients."""

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


def synchronize_batchnorm(network: nn.Module) -> None:
    """Make every batch normalisation of a network span the batches of all processes, in place."""
    for name, module in network.named_children():
        if isinstance(module, _BatchNorm):
            setattr(network, name, _synchronized(module))
        else:
            synchronize_batchnorm(module)


def _synchronized(norm: _BatchNorm) -> nn.Module:
    if norm.weight.is_cuda:
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(norm)
        return converted
    global_norm = GlobalBatchNorm(norm.num_features, norm.eps, norm.momentum, device="meta")
    global_norm.load_state_dict(norm.state_dict(), assign=True)
    return global_norm.train(norm.training)


def shard(network: nn.Module, accelerator: "Accelerator") -> None:
    """Shard weights, gradients and optimizer state over the processes (FSDP), block by block, in place.

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
