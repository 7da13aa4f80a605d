"""Flags of the machine and of the folder of a run."""

from dataclasses import dataclass

from convnn.ops import BACKEND_CHOICES
from convnn.train.flags._flag import MOST_THREADS, flags_of

flag = flags_of("run")


@dataclass(frozen=True)
class RunFlags:
    """The help of each field describes it."""

    device: str = flag("auto", "device; auto is the best available", ("auto", "cpu", "cuda", "mps"))
    backend: str = flag("auto", "implementation of the operations; auto is the fastest", BACKEND_CHOICES)
    threads: int | None = flag(
        None, "number of CPU threads, on which the last bits depend; None: as torch chooses", least=1, most=MOST_THREADS
    )
    seed: int = flag(0, "random seed of weights, order, augmentation and sampling", least=0)
    output_dir: str = flag("./Output/VGG/ConvNN", "folder for results", is_path=True)
    resume: str | None = flag(
        None, "resume a run: a checkpoint, its folder, or auto for output_dir", without_value="auto", is_path=True
    )
    checkpoint_every: str | None = flag("15m", "also save within epochs, every 500 steps or 90s, 15m, 2h")
    overwrite: bool = flag(False, "replace the results of an earlier run in output_dir")
    tensorboard: bool = flag(False, "also write TensorBoard scalars (pip install 'convnn[tensorboard]')")
    log_neighbors: bool = flag(False, "measure the neighbours of each layer after every epoch, in neighbors.csv")
    test_only: bool = flag(False, "do not train: evaluate --checkpoint, or without one check shapes")
    checkpoint: str | None = flag(None, "checkpoint to evaluate, such as best.safetensors", is_path=True)
