"""Write sets of images for which choosing neighbours might pay, as folders that `--dataset imagefolder` reads.

`python studies/image_sets.py --data_path ./Data/cifar10 --out ./Data` makes them from the pictures of CIFAR-10 in
train/<class>/* and test/<class>/*; the same arguments write the same pixels. without_place.toml and matches.toml use
them.

    permuted   every picture's pixels in one order, drawn once: neighbours on the grid say nothing
    patches    the 16 patches of every picture in an order of its own
    occluded   a quarter of every picture's 64 patches painted grey
    copies     a patch of every picture replaced, by another one of the same picture (class copied) or by one of another
               picture with the same mean and spread in every channel (class spliced): copy-move forgery
    twins      two patterns of random pixels at random places on noise: the same one twice (class same), or two (class
               other)
    pairs      two handwritten digits of scikit-learn at random places: the same digit (class same) or not (class other)
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from convnn.data.sources import read_digits

SIDE = 32
PATCH = 8
"""Side of the shuffled patches."""
COVER = 4
"""Side of the painted patches."""
MOVED = 12
"""Side of the patches that are copied."""
GLYPH = 5
"""Side of the patterns."""
DIGIT = 12
"""Side of the digits."""
NOISE = 12.0
"""Standard deviation of the noise around them, of 255."""

Picture = NDArray[np.uint8]
Labelled = tuple[Picture, str]


def permuted(pictures: list[Labelled], generator: Generator, part: str) -> Iterator[Labelled]:
    order = np.random.default_rng(0).permutation(SIDE * SIDE)  # the same one in both parts
    for picture, label in pictures:
        yield picture.reshape(-1, 3)[order].reshape(picture.shape), label


def patches(pictures: list[Labelled], generator: Generator, part: str) -> Iterator[Labelled]:
    for picture, label in pictures:
        yield joined(generator.permutation(cut(picture, PATCH))), label


def occluded(pictures: list[Labelled], generator: Generator, part: str) -> Iterator[Labelled]:
    for picture, label in pictures:
        pieces = cut(picture, COVER)
        pieces[generator.permutation(len(pieces))[: len(pieces) // 4]] = 128
        yield joined(pieces), label


def copies(pictures: list[Labelled], generator: Generator, part: str) -> Iterator[Labelled]:
    for number, (picture, _) in enumerate(pictures):
        is_copied = number % 2 == 0
        (y, x), (to_y, to_x) = two_places(generator, MOVED, step=2)  # pooling by two sees both alike
        patch = picture[y : y + MOVED, x : x + MOVED].astype(float)
        if not is_copied:
            other = pictures[(number + int(generator.integers(1, len(pictures)))) % len(pictures)][0]
            patch = as_spread(other[y : y + MOVED, x : x + MOVED].astype(float), patch)
        changed = picture.copy()
        changed[to_y : to_y + MOVED, to_x : to_x + MOVED] = np.rint(patch.clip(0, 255)).astype(np.uint8)
        yield changed, "copied" if is_copied else "spliced"


def twins(pictures: list[Labelled], generator: Generator, part: str) -> Iterator[Labelled]:
    for number in range(len(pictures)):
        is_same = number % 2 == 0
        pattern, other = generator.choice([0.0, 255.0], (2, GLYPH, GLYPH, 1))
        picture = 128 + generator.normal(0, NOISE, (SIDE, SIDE, 3))
        for (y, x), drawn in zip(two_places(generator, GLYPH), (pattern, pattern if is_same else other), strict=True):
            picture[y : y + GLYPH, x : x + GLYPH] = drawn
        yield np.rint(picture.clip(0, 255)).astype(np.uint8), "same" if is_same else "other"


def pairs(pictures: list[Labelled], generator: Generator, part: str) -> Iterator[Labelled]:
    images, labels = getattr(read_digits(), part)
    labels = labels.numpy()
    for number in range(len(pictures)):
        is_same = number % 2 == 0
        first = int(generator.integers(len(labels)))
        others = np.flatnonzero((labels == labels[first]) == is_same)
        picture = generator.normal(0, NOISE, (SIDE, SIDE, 3))
        for (y, x), one in zip(two_places(generator, DIGIT), (first, int(generator.choice(others))), strict=True):
            digit = Image.fromarray(images[one, 0].numpy()).resize((DIGIT, DIGIT), Image.Resampling.BILINEAR)
            picture[y : y + DIGIT, x : x + DIGIT] += np.asarray(digit, dtype=float)[..., None]
        yield np.rint(picture.clip(0, 255)).astype(np.uint8), "same" if is_same else "other"


SETS: dict[str, Callable[[list[Labelled], Generator, str], Iterator[Labelled]]] = {
    one.__name__: one for one in (permuted, patches, occluded, copies, twins, pairs)
}


def cut(picture: Picture, side: int) -> Picture:
    """Return the patches (N, side, side, 3) of a picture, row by row."""
    count = SIDE // side
    return picture.reshape(count, side, count, side, 3).swapaxes(1, 2).reshape(-1, side, side, 3)


def joined(pieces: Picture) -> Picture:
    """Return the picture of its patches."""
    count, side = SIDE // pieces.shape[1], pieces.shape[1]
    return pieces.reshape(count, count, side, side, 3).swapaxes(1, 2).reshape(SIDE, SIDE, 3)


def two_places(generator: Generator, side: int, step: int = 1) -> NDArray[np.int64]:
    """Return the corners of two squares that do not overlap, multiples of the step, (2, 2)."""
    while True:
        places = generator.integers(0, (SIDE - side) // step + 1, (2, 2)) * step
        if np.abs(places[0] - places[1]).max() >= side:
            return places


def as_spread(patch: NDArray[np.float64], like: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a patch with the mean and standard deviation of another one in every channel."""
    mean, spread = (getattr(patch, name)((0, 1)) for name in ("mean", "std"))
    return (patch - mean) / (spread + 1e-6) * like.std((0, 1)) + like.mean((0, 1))


def read_pictures(folder: Path, count: int, generator: Generator) -> list[Labelled]:
    """Read a random choice of the pictures of a part, in random order."""
    paths = sorted(folder.glob("*/*"))
    chosen = generator.permutation(len(paths))[:count]
    return [(np.asarray(Image.open(paths[one]).convert("RGB")), paths[one].parent.name) for one in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(SETS), help=f"of {', '.join(SETS)}")
    parser.add_argument("--data_path", default="./Data/cifar10", type=Path)
    parser.add_argument("--out", default="./Data", type=Path)
    parser.add_argument("--train", default=10000, type=int, help="number of training images")
    parser.add_argument("--test", default=2000, type=int, help="number of test images")
    options = parser.parse_args()
    for part, count in (("train", options.train), ("test", options.test)):
        seed = int(part == "test")
        pictures = read_pictures(options.data_path / part, count, np.random.default_rng(seed))
        for name in options.names:
            for number, (picture, label) in enumerate(SETS[name](pictures, np.random.default_rng(seed), part)):
                folder = options.out / name / part / label
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture).save(folder / f"{number:05}.png")


if __name__ == "__main__":
    main()
