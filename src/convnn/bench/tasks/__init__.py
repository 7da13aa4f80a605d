"""The operators of this library as tasks: each has a definition of its own here, in plain PyTorch.

Their inputs hold shapes below, at and above the tiles of the kernels, with batches of one, two and three.
"""

from dataclasses import replace

from convnn.bench.files import read_task
from convnn.bench.task import Task
from convnn.bench.tasks import aggregation, attention, lists, scans, search, sliding, weights, windows
from convnn.errors import InputError, did_you_mean

TASKS: dict[str, Task] = {
    task.name: replace(task, origin=task.name)
    for module in (search, weights, aggregation, attention, windows, sliding, scans, lists)
    for task in module.TASKS
}


def find_task(name: str) -> Task:
    """Return a task of ours by its name, or that of a file.

    Raises:
        InputError: there is neither.
    """
    if name in TASKS:
        return TASKS[name]
    if not name.endswith(".py"):
        raise InputError(
            f"task {name!r} is not one of {', '.join(TASKS)}, nor a Python file{did_you_mean(name, TASKS)}"
        )
    return read_task(name)
