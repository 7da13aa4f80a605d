"""Run folders as training writes them."""

from collections.abc import Sequence
from pathlib import Path

HEAD = "epoch,train_loss,train_top1,train_top5,test_loss,test_top1,test_top5,lr"


def run_folder(path: Path, accuracies: Sequence[float | str] = (0.2, 0.5, 0.4), seconds: float = 9.5, **flags) -> Path:
    """Write the folder of a training run with these accuracies on the test set."""
    path.mkdir(parents=True)
    given = {"model": "vgg11", "K": 9, "num_epochs": 3, "output_dir": path, "resume": None} | flags
    found_out = {"num_classes": 10, "img_size": (3, 32, 32), "total_params": 1234567, "trainable_params": 1234567}
    found_out |= {"gflops": 0.3125}
    lines = [f"{name}: {value}" for name, value in (given | found_out).items()]
    (path / "args.txt").write_text("\n".join(lines) + "\n")
    rows = [f"{i},1.{i},0.5,0.9,2.{i},{top1},0.9{i},0.1" for i, top1 in enumerate(accuracies, start=1)]
    (path / "metrics.csv").write_text("\n".join([HEAD, *rows]) + "\n")
    times = [f"{i},{seconds + i - (len(accuracies) + 1) / 2},100.0" for i in range(1, len(accuracies) + 1)]
    (path / "times.csv").write_text("\n".join(["epoch,seconds,images_per_second", *times]) + "\n")
    return path
