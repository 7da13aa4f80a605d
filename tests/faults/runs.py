"""The small runs of the fault campaigns: files of 8x8 pixel images, with everything random enabled."""

import shlex
from pathlib import Path

import numpy as np
from PIL import Image

NUM_TRAIN, NUM_TEST, BATCH_SIZE, EPOCHS = 24, 10, 4, 3
STEPS = NUM_TRAIN // BATCH_SIZE

COMMON = (
    f"--dataset imagefolder --model resnet18 --width 0.0625 --K 4 --batch_size {BATCH_SIZE} --num_epochs {EPOCHS}"
    " --lr 0.01 --device cpu --threads 1 --augment --noise 0.1 --resume auto"
)

VARIANTS = (
    "--layer Branching --optimizer adamw --scheduler cosine --sampling_type random --num_samples 12",
    "--layer ConvNN_Attn --attention_dropout 0.2 --optimizer sgd --scheduler plateau",
    "--layer ConvNN --optimizer adam --scheduler step --lr_step 1 --use_amp",
)


def make_images(folder: Path) -> Path:
    """Write two classes of random pictures."""
    random = np.random.default_rng(0)
    for part, count in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        for i in range(count):
            path = folder / part / "ab"[i % 2] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return folder


def flags(images: Path, output: Path, variant: int = 0, workers: int = 0, more: str = "") -> list[str]:
    """Return the command line of a run, the same for start and resume."""
    text = f"{COMMON} {VARIANTS[variant]} --num_workers {workers} {more}"
    return [*shlex.split(text), "--data_path", str(images), "--output_dir", str(output)]
