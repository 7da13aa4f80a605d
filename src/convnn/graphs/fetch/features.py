"""A table of features in the host's memory, of which rows are gathered for batches."""

from typing import Any

import torch
from torch import Tensor

from convnn.backends import triton
from convnn.errors import InputError, UnsupportedError, check_choice
from convnn.graphs.fetch.plan import wrapped

BACKENDS = ("auto", "cpu", "staged", "zero_copy")


class HostFeatures:
    """Features (N, ...) in the host's memory; `gather` copies rows of them bit by bit, `table[index]`.

    It is a transform of batches, too, for samplers of graphs without features: called with a batch it sets `x`.

    Args:
        table: (N, ...) on the CPU, of any type, without gradient. It is kept, or copied once if it is not contiguous or
            must be pinned.
        backend: "cpu" gathers on the CPU. "staged" does so into pinned memory, and copies that to the GPU while the CPU
            goes on. With "zero_copy" the threads of the GPU read the rows from pinned memory, each warp from the
            beginning of a line (`gather_plan`, "rows"). "auto" is "cpu" or "staged", by the device.
        device: where rows are wanted.

    Raises:
        InputError: the table is not on the CPU, has fewer than two dimensions or a gradient, or the backend does not
            fit the device.
        UnsupportedError: there is no CUDA device for a backend that needs one.

    Reference:
        Min et al., "Large graph convolutional network training with GPU-oriented data communication architecture",
        arXiv 2103.03330. "staged" and "zero_copy" have not been run on a GPU; the kernel has been, in Triton's
        interpreter.
    """

    def __init__(self, table: Tensor, backend: str = "auto", *, device: str | torch.device = "cpu") -> None:
        check_choice("backend", backend, BACKENDS)
        if table.device.type != "cpu" or table.dim() < 2:
            raise InputError(
                f"table of shape {tuple(table.shape)} on {table.device} must be (N, ...) in the host's memory"
            )
        if table.requires_grad:
            raise InputError("table must not require a gradient, which is not computed; detach it")
        self.device = torch.device(device)
        by_device = "cpu" if self.device.type == "cpu" else "staged"
        self.backend = by_device if backend == "auto" else backend
        self._check_device()
        self.table = table.contiguous()
        if self.backend == "zero_copy":
            self.table = self.table.pin_memory()
        self._staging = torch.empty(0)
        self._copied = torch.cuda.Event() if self.backend == "staged" else None

    def gather(self, index: Tensor, out: Tensor | None = None, stream: Any = None) -> Tensor:
        """Return the rows (L, ...) of an index (L,).

        Args:
            index: int32 or int64, negative ones from the end; on the CPU, or with "zero_copy" on the GPU.
            out: (L, ...) contiguous, where the rows go.
            stream: `torch.cuda.Stream` of the copy; the current one waits for it.

        Raises:
            InputError: a row is not there, or an argument has another type, device or shape.
        """
        wanted = self.device if self.backend == "zero_copy" else torch.device("cpu")
        if index.device.type != wanted.type:
            raise InputError(f"index on {index.device} must be on {wanted}, for backend={self.backend!r}")
        index = wrapped(index, self.table.shape[0])
        shape = (index.shape[0], *self.table.shape[1:])
        if out is None:
            out = torch.empty(shape, dtype=self.table.dtype, device=self.device)
        elif (
            out.shape != shape
            or out.dtype != self.table.dtype
            or out.device.type != self.device.type
            or not out.is_contiguous()
        ):
            raise InputError(
                f"out of shape {tuple(out.shape)} and {out.dtype} on {out.device} must be {shape} and"
                f" {self.table.dtype} on {self.device}, contiguous"
            )
        if self.backend == "cpu":
            return torch.index_select(self.table, 0, index, out=out)
        return self._gather_on_gpu(index, out, stream)

    def __call__(self, batch: Any) -> Any:
        """Return the batch of a sampler with the rows of its nodes, see `rows_of`, as `x`."""
        batch.x = self.gather(rows_of(batch))
        return batch

    def _check_device(self) -> None:
        on_gpu = self.backend != "cpu"
        if on_gpu != (self.device.type == "cuda") and not (on_gpu and self.device.type == "cpu"):
            raise InputError(f"device={str(self.device)!r} does not fit backend={self.backend!r}")
        if on_gpu and not torch.cuda.is_available():
            raise UnsupportedError(f"backend={self.backend!r} needs a CUDA device, and there is none; take 'cpu'")
        if on_gpu:
            self.device = torch.device("cuda", self.device.index or torch.cuda.current_device())

    def _gather_on_gpu(self, index: Tensor, out: Tensor, stream: Any) -> Tensor:
        current = torch.cuda.current_stream(self.device)
        stream = current if stream is None else stream
        with torch.cuda.stream(stream):
            if self._copied is None:
                triton.gather_rows(self.table, index, out)
            else:
                self._copied.synchronize()  # the memory is free when the copy before has ended
                out.copy_(torch.index_select(self.table, 0, index, out=self._pinned(out.shape)), non_blocking=True)
                self._copied.record(stream)
        current.wait_stream(stream)
        out.record_stream(stream)
        return out

    def _pinned(self, shape: torch.Size) -> Tensor:
        """Return pinned memory of a shape: the same as before if that is large enough."""
        if self._staging.numel() < shape.numel():
            self._staging = torch.empty(shape.numel(), dtype=self.table.dtype, pin_memory=True)
        return self._staging[: shape.numel()].view(shape)


def rows_of(batch: Any) -> Tensor:
    """Return the nodes of a batch: itself, or its `n_id` (PyTorch Geometric) or `node_index` (`GraphSAINTSampler`).

    Raises:
        InputError: it has neither.
    """
    if isinstance(batch, Tensor):
        return batch
    for name in ("n_id", "node_index"):
        if name in batch:
            found: Tensor = batch[name]
            return found
    raise InputError(f"batch of {type(batch).__name__} must have n_id or node_index, the numbers of its nodes")
