"""Rows gathered ahead, while those before are in use."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any

from torch import Tensor

from convnn.errors import check_at_least
from convnn.graphs.fetch.features import rows_of


@dataclass(frozen=True)
class _Failure:
    error: BaseException


class Prefetcher:
    r"""Batches with their rows, which a thread draws and gathers while the batches before are in use.

    For n batches it takes :math:`t_g + (n - 1) \max(t_g, t_c) + t_c` instead of :math:`n (t_g + t_c)`, if gathering
    takes :math:`t_g` and what is done with a batch :math:`t_c`.

    Iterating yields pairs of a batch and its rows, in order. Rows are valid until the next pair is asked for; then
    their memory is used again. An error of the thread is raised where the batch would have come. A loop that ends early
    ends the thread, which finishes the batch that it is at.

    Args:
        batches: indices (L,), or batches of a sampler; see `rows_of`.
        gather: called as `gather(index)`, or as `gather(index, out=rows)` with memory to use again, such as
            `HostFeatures.gather`.
        depth: batches whose rows are held at a time, at least 1.

    Raises:
        InputError: the depth is below 1; while iterating, what the batches or `gather` raise.
    """

    def __init__(self, batches: Iterable[Any], gather: Callable[..., Tensor], depth: int = 2) -> None:
        check_at_least("depth", depth, 1)
        self.batches = batches
        self.gather = gather
        self.depth = depth

    def __iter__(self) -> Iterator[tuple[Any, Tensor]]:
        """Yield batches and their rows."""
        free: SimpleQueue[Tensor | None] = SimpleQueue()
        ready: SimpleQueue[Any] = SimpleQueue()
        stopped = Event()
        for _ in range(self.depth):
            free.put(None)
        thread = Thread(target=self._produce, args=(free, ready, stopped), daemon=True)
        thread.start()
        try:
            while (made := ready.get()) is not None:
                if isinstance(made, _Failure):
                    raise made.error
                batch, rows, buffer = made
                yield batch, rows
                free.put(buffer)
        finally:
            stopped.set()
            free.put(None)  # wakes a thread that waits for memory
            thread.join()

    def _produce(self, free: SimpleQueue[Tensor | None], ready: SimpleQueue[Any], stopped: Event) -> None:
        try:
            for batch in self.batches:
                buffer = free.get()
                if stopped.is_set():
                    return
                index = rows_of(batch)
                count = index.shape[0]
                if buffer is None or buffer.shape[0] < count:
                    buffer = self.gather(index)
                    ready.put((batch, buffer, buffer))
                else:
                    ready.put((batch, self.gather(index, out=buffer[:count]), buffer))
            ready.put(None)
        except BaseException as error:
            ready.put(_Failure(error))
