from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from convnn.data.epochs import LoaderSettings
from convnn.data.images import FITS
from convnn.data.seeds import derive_seed, make_generator
from convnn.errors import InputError, check_at_least, check_at_most, check_choice, check_fraction, check_not_negative

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, of images scaled to [0, 1]."""


ON_BAD_IMAGE = ("error", "skip")

RASTERS = ("sequential_digits", "sequential_cifar10")
"""Data sets of images that are read as sequences, pixel by pixel."""

SIGNALS = ("adding", "waveforms")
"""Data sets of sequences that are made on the spot."""

REGRESSIONS = ("adding",)
"""Data sets whose labels are numbers instead of classes."""

WORD_GRAPHS = ("Cora", "CiteSeer", "texas", "cornell", "wisconsin")
"""Graphs of documents, whose features are the words of each."""

DIRECTED_GRAPHS = ("texas", "cornell", "wisconsin")
DRAWN_GRAPHS = ("sbm", "digits-graph")
"""Graphs of which there are many: each number draws another, or other parts of it."""

FOLDED_GRAPHS = ("MUTAG", "PROTEINS")
"""Data sets of many graphs, each with a label, which are divided into ten folds."""

GRAPH_SETS = {name: name for name in (*WORD_GRAPHS, *FOLDED_GRAPHS, "karate", "sbm")} | {"digits-graph": "digits"}
"""Data sets of graphs, with their names in `load_graph`."""

INTERACTION_SETS = ("hidden_groups", "lastfm", "interactions")
"""Data sets of what users chose, in which items are ranked for each user."""

TRIPLE_SETS = ("paraphrases", "triples", "wn18rr", "qualified", "statements")
"""Data sets of the triples of a knowledge graph, the last two with qualifiers; paraphrases and qualified are drawn."""

IMAGE_SETS = ("cifar10", "cifar100", "imagenet", "imagefolder", "digits")
"""Data sets of images, which networks without labels can have as whole numbers."""

PIXEL_VALUES = {"digits": 17}
"""The number of values of a pixel of the data sets that do not have 256."""

CLIP_SETS = ("moving_crops", "moving_textures", "frames")
"""Data sets of clips; the first two are generated."""

IMAGE_PAIRS = "image pairs"
PAIR_SETS = ("motions", "flowfolder")
"""Data sets of pairs of images with the motion from one to the other; those of the first are made on the spot."""

MATCHINGS = "matchings"
MATCHING_SETS = ("keypoints",)
"""Data sets of pairs of graphs whose nodes are annotated as each other's; they are made on the spot."""

MIXTURE_SETS = ("mixture_digits", "solids")
"""Data sets of mixtures of Gaussians, which are fitted to images and to points."""

CLOUD_SETS = ("clouds", "ply")
"""Data sets of points with normals, and of the surfaces they are of; the first is generated."""

PHOTOGRAPH_SETS = ("scene", "transforms")
"""Data sets of photographs of one scene; the first is generated."""

SCENE_SETS = ("made_scenes", "scenes")
"""Data sets of scene graphs; the first is generated."""

UNLABELLED_SETS: Mapping[str, tuple[str, ...]] = {
    "clips": CLIP_SETS,
    IMAGE_PAIRS: PAIR_SETS,
    MATCHINGS: MATCHING_SETS,
    "clouds": CLOUD_SETS,
    "photographs": PHOTOGRAPH_SETS,
    "scenes": SCENE_SETS,
}
"""Data sets that never have labels, by the word for what they have, such as "videos"; networks name the same word."""

VOLUME_SETS = ("airways", "volumes")
"""Data sets of volumes with a class for every voxel; the first is generated."""

PANORAMA_SETS = ("grounds",)
"""Data sets of the images of cameras around a vehicle, with a class for every cell of the ground; all generated."""

SEGMENTATION_SETS = ("masks", "shapes", *VOLUME_SETS, *PANORAMA_SETS)
"""Data sets with a class for every pixel, voxel or cell."""

MADE_SETS = (
    "digits",
    "sequential_digits",
    *SIGNALS,
    "shapes",
    "airways",
    *("karate", "sbm", "digits-graph"),
    "hidden_groups",
    *("paraphrases", "qualified"),
    *MIXTURE_SETS,
    *MATCHING_SETS,
    *PANORAMA_SETS,
    *("moving_crops", "moving_textures", "motions", "clouds", "scene", "made_scenes"),
)
"""Data sets that need no file, so that they look at no folder."""

_OTHERS_DRAWN = (*MATCHING_SETS, *PANORAMA_SETS)
OTHERS_SPLIT = ("hidden_groups", "interactions", "paraphrases", "qualified", "motions", "scenes", *_OTHERS_DRAWN)
"""Further data sets whose parts, or samples, are drawn by a number."""

READERS = {
    "permuted": RASTERS,
    "subsample": (*RASTERS, "waveforms"),
    "average": RASTERS,
    "length": (*SIGNALS, *CLOUD_SETS),
    "missing": ("waveforms",),
    "split": (*DIRECTED_GRAPHS, *FOLDED_GRAPHS, *DRAWN_GRAPHS, *OTHERS_SPLIT),
    "scale_rows": WORD_GRAPHS,
    "undirected": DIRECTED_GRAPHS,
    "values": IMAGE_SETS,
    "gaussians": MIXTURE_SETS,
    "mislabelled": MATCHING_SETS,
    "deviation": PANORAMA_SETS,
}
"""The data sets that read an argument of sequences, graphs or images without labels; None is its default."""

RESIZED = (*RASTERS, *PAIR_SETS, "transforms")
"""Data sets that read `resize` and have no images."""

OF_IMAGES = {"resize": None, "augment": False, "noise": 0.0}
"""Arguments that change images, with the values that change nothing; pairs of images have the first."""


WITHOUT_IMAGES = (
    dict.fromkeys(SIGNALS, "signals")
    | dict.fromkeys(GRAPH_SETS, "graphs")
    | dict.fromkeys(INTERACTION_SETS, "interactions")
    | dict.fromkeys(TRIPLE_SETS, "triples")
    | dict.fromkeys(MIXTURE_SETS, "mixtures")
    | dict.fromkeys(VOLUME_SETS, "volumes")
    | dict.fromkeys(PANORAMA_SETS, "panoramas")
    | {name: word for word, names in UNLABELLED_SETS.items() for name in names}
)
"""What the other data sets have, by their names."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The checked arguments of `load_data`.

    Raises:
        InputError: a value is out of range.
    """

    name: str
    data_path: Path
    batch_size: int = 256
    resize: int | None = None
    fit: str = "crop"
    augment: bool = False
    noise: float = 0.0
    seed: int = 0
    device: torch.device
    num_workers: int = 4
    download: bool = False
    limit_train: int | None = None
    limit_test: int | None = None
    on_bad_image: str = "error"
    keep_images: bool = False
    permuted: int | None = None
    subsample: int | None = None
    average: int | None = None
    length: int | None = None
    missing: float | None = None
    split: int | None = None
    scale_rows: bool | None = None
    undirected: bool | None = None
    values: int | None = None
    gaussians: int | None = None
    mislabelled: float | None = None
    deviation: float | None = None
    process_index: int = 0
    num_processes: int = 1

    def __post_init__(self) -> None:
        check_at_least("batch_size", self.batch_size, 1)
        check_at_least("num_workers", self.num_workers, 0)
        check_choice("fit", self.fit, FITS)
        check_choice("on_bad_image", self.on_bad_image, ON_BAD_IMAGE)
        least = {"resize": 1, "limit_train": 1, "limit_test": 1, "permuted": 0, "length": 2, "split": 0}
        least |= {"subsample": 1, "average": 1, "values": 2, "gaussians": 1}
        for name, smallest in least.items():
            if getattr(self, name) is not None:
                check_at_least(name, getattr(self, name), smallest)
        if self.subsample is not None and self.average is not None:
            raise InputError(
                f"subsample={self.subsample} and average={self.average} both lower the sampling rate; give one of them"
            )
        if self.missing is not None:
            check_fraction("missing", self.missing)
        if self.mislabelled is not None:
            check_fraction("mislabelled", self.mislabelled)
        if self.deviation is not None:
            check_not_negative("deviation", self.deviation)
        self._check_readers()
        self._check_values()
        if self.keep_images and self.augment:
            raise InputError("keep_images=True stores images that augment=True changes in every epoch; leave out one")
        if not 0 <= self.noise < float("inf"):
            raise InputError(f"noise={self.noise!r} must be a standard deviation of at least 0")

    def _check_readers(self) -> None:
        """Refuse arguments that this data set does not read but others do."""
        for name, readers in READERS.items():
            if (value := getattr(self, name)) is not None and self.name not in readers:
                raise InputError(
                    f"{name}={value!r} is for {', '.join(readers)}; dataset={self.name!r} does not read it"
                )
        for name, nothing in OF_IMAGES.items():
            is_read = name == "resize" and self.name in RESIZED
            if (value := getattr(self, name)) != nothing and self.name in WITHOUT_IMAGES and not is_read:
                has = WITHOUT_IMAGES[self.name]
                raise InputError(f"{name}={value!r} changes images; dataset={self.name!r} has {has}, so leave it out")

    def _check_values(self) -> None:
        """Refuse more values than a byte has, and noise that would make whole numbers others.

        Raises:
            InputError: either is given.
        """
        if self.values is None:
            return
        check_at_most("values", self.values, 256)
        if self.noise:
            raise InputError(f"noise={self.noise!r} changes images that values={self.values} makes whole; leave it out")

    @property
    def scales_rows(self) -> bool:
        """Whether the features of each node are divided by their sum: those of words are, unless told otherwise."""
        return self.name in WORD_GRAPHS if self.scale_rows is None else self.scale_rows

    def settings(self, part: str, statistics: Statistics) -> LoaderSettings:
        """Return the settings of the loader of a part; each part has its own random numbers."""
        mean, std = statistics
        return LoaderSettings(
            mean=mean,
            std=std,
            batch_size=self.batch_size,
            shuffle=part == "train",
            noise=self.noise,
            values=self.values,
            seed=derive_seed(part, self.seed),
            device=self.device,
            process_index=self.process_index,
            num_processes=self.num_processes,
        )

    def subset(self, part: str, num_samples: int) -> list[int]:
        """Draw the positions of the samples of a part within `limit_train` or `limit_test`, in ascending order."""
        limit = self.limit_train if part == "train" else self.limit_test
        order = torch.randperm(num_samples, generator=make_generator("limit", part, self.seed))
        return sorted(order[:limit].tolist())
