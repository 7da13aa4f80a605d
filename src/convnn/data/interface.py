"""The interface between data and training: batches, the loader protocol and the description of a data set."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from convnn.nn.graphs.batch import first_users, path_graph
from convnn.nn.triples.queries import first_query
from convnn.ops.mixtures.mixture import PACKED

KINDS = {
    "image": 3,
    "volume": 4,
    "sequence": 2,
    "node": 1,
    "graph": 1,
    "interaction": 2,
    "triple": 1,
    "mixture": 3,
    "panorama": 4,
}
"""The words for a sample, with the length of its shape; data sets for modelling may have others."""

ON_GRAPHS = ("node", "graph")
"""Kinds of samples that networks on graphs read."""


class Batch(NamedTuple):
    """The samples of one step.

    Attributes:
        inputs: images (B, C, H, W) float32, normalised, or whole numbers if they have no labels; or sequences
            (B, C, T), on the loader's device; or a graph with B of its nodes, or B graphs, as a
            `convnn.nn.graphs.batch.GraphBatch`; users, as an `InteractionBatch`; or `convnn.nn.triples.Queries`; or
            whatever a network with a loss of its own reads.
        labels: (B,) int64 class indices, or in a regression float32 numbers, on the loader's device; where samples
            have several classes, bool (B, classes); in segmentation int64 (B, *S), a class for each place of inputs
            (B, C, *S), of which 255 are not counted.
            An interaction has 0, its place among the candidates of a step, and so has every sample without a label.
        indices: (B,) int64 position of each sample in its part of the data set, 0 <= index < num_samples;
            on the CPU for streamed sets, on the device for sets stored there.
    """

    inputs: Any
    labels: Tensor
    indices: Tensor


class Loader(Protocol):
    """Batches of one part of a data set; one iteration is an epoch, in which every sample comes exactly once.

    Where several processes share the batches, each gets its part of every batch, which may be empty.

    Attributes:
        num_samples: samples per epoch, over all processes.
        broken: messages about the images that were skipped so far.
    """

    num_samples: int
    broken: set[str]

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch; the last one may be smaller, or in training one sample larger."""

    def __len__(self) -> int:
        """Return the number of batches per epoch."""

    def set_epoch(self, epoch: int, first_step: int = 0) -> None:
        """Set the epoch of the next iteration, which decides order and augmentation, and its first batch, from 0.

        A test loader is the same in every epoch.
        """


@dataclass(frozen=True)
class LabelledData:
    """A data set ready for training.

    Attributes:
        name: one of `DATASETS`.
        train: training part, shuffled, and augmented if requested.
        test: test part, in order, never augmented.
        classes: name of each label; in a regression, that of the number; none in modelling.
        input_shape: (C, H, W) of every image, after resizing; (C, D, H, W) of every volume; (C, T) of every sequence;
            (C,) of every node of a graph; (users, items) of interactions; (R,) of queries with R relations; (C, N, P)
            of packed mixtures of Gaussians; (n, C, H, W) of a panorama, the images of n cameras.
        mean: mean of each channel, of images scaled to [0, 1]; empty for graphs.
        std: standard deviation of each channel, of images scaled to [0, 1]; empty for graphs.
        val: validation part, in order, never augmented; None where the set has two parts.
        left_out: files in its folders whose extension is not that of a picture, and a folder test/ without classes.
        task: "classification", or "segmentation" where every place has a class; "regression" of a number; "ranking" of
            the classes where a sample has several, or "completion" where it has one, and others that fit too are left
            out; "modelling" of data without labels, by a network with a loss of its own (`convnn.models.OwnLoss`).
        kind: the word for a sample: "image", "volume", "sequence", "node", "graph", "triple", "mixture",
            "panorama", or "interaction" of a user (`KINDS`); a data set for modelling may have any other.
        names: what the numbers in its samples stand for, where these have names, such as those of objects.
    """

    name: str
    train: Loader
    test: Loader
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    val: Loader | None = None
    left_out: tuple[str, ...] = ()
    task: str = "classification"
    kind: str = "image"
    names: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of labels."""
        return len(self.classes)

    @property
    def parts(self) -> dict[str, Loader]:
        """The loaders by name: train, val if there is one, test."""
        val = {} if self.val is None else {"val": self.val}
        return {"train": self.train, **val, "test": self.test}

    @property
    def validation(self) -> Loader:
        """The part that decides which epoch is best: val, or test where there are only two parts."""
        return self.test if self.val is None else self.val


@dataclass(frozen=True)
class LabelledPart:
    """One part of a data set.

    Attributes:
        name: name of the part, such as "test"; for images in folders the name of its folder.
        loader: its batches; those of train are shuffled.
        classes: name of each label.
        input_shape, kind, task, names: as in `LabelledData`.
    """

    name: str
    loader: Loader
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    kind: str = "image"
    task: str = "classification"
    names: tuple[str, ...] = ()

    @property
    def counted(self) -> str:
        """The word for what the loader counts: a "user", where items are ranked for each, or else the kind."""
        return "user" if self.task == "ranking" else self.kind


def example_of(shape: tuple[int, ...], kind: str = "image", count: int = 1, device: torch.device | str = "cpu") -> Any:
    """Return an input of a shape and a kind, as in `LabelledData`: zeros, a graph, users, queries or mixtures.

    Args:
        shape: shape of a sample.
        kind: the word for a sample; of an unknown kind it is zeros (count, *shape).
        count: number of samples.
        device: where they are.
    """
    if kind in ON_GRAPHS:
        return path_graph(count, shape[0], device)
    if kind == "interaction":
        return first_users(count, shape[0], device)
    if kind == "triple":
        return first_query(count, device)
    if kind == "mixture":
        return unit_mixtures(count, shape, device)
    return torch.zeros(count, *shape, device=device)


def unit_mixtures(count: int, shape: tuple[int, ...], device: torch.device | str = "cpu") -> Tensor:
    """Return packed mixtures (count, *shape) whose components are standard normal densities, one on the other."""
    dims = PACKED.get(shape[2], 0)
    one = torch.cat([torch.ones(1), torch.zeros(dims), torch.eye(dims).flatten()]).to(device)
    return one.expand(count, *shape[:2], -1)
