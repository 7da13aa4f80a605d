"""Flags of the data."""

from dataclasses import dataclass

from convnn.data import DATASETS, FITS, ON_BAD_IMAGE
from convnn.train.flags._flag import flags_of
from convnn.train.recipe import LARGEST_SIDE

flag = flags_of("data")


@dataclass(frozen=True)
class DataFlags:
    """The help of each field describes it."""

    dataset: str = flag("cifar10", "data set to train on", DATASETS)
    data_path: str = flag("./Data", "folder of the data set", is_path=True)
    download: bool = flag(False, "download the data set if it is missing")
    resize: int | None = flag(None, "side length to which images are resized, in pixels", least=1, most=LARGEST_SIDE)
    fit: str = flag(
        "crop", "how images of imagenet, imagefolder, masks and flowfolder are brought to the size of --resize", FITS
    )
    augment: bool = flag(False, "random crops and flips")
    noise: float = flag(0.0, "standard deviation of Gaussian noise added to the normalised images", least=0.0)
    limit_train: int | None = flag(
        None, "train on a random subset of this many images, nodes, graphs or interactions", least=1
    )
    limit_test: int | None = flag(None, "test, and validate, on a random subset of this many", least=1)
    num_workers: int = flag(4, "number of processes that load imagenet, imagefolder and masks", least=0)
    keep_images: bool = flag(False, "keep decoded images of imagenet, imagefolder and masks in memory")
    on_bad_image: str = flag("error", "on an unreadable image, stop or skip it", ON_BAD_IMAGE)
    permuted: int | None = flag(
        None, "seed of a permutation in which sequential data sets read the pixels", without_value=0, least=0
    )
    subsample: int | None = flag(
        None, "keep every n-th sample of each sequence, as at a lower sampling rate", least=1, most=LARGEST_SIDE**2
    )
    average: int | None = flag(
        None, "instead, take the mean of every n samples of sequential data sets", least=1, most=LARGEST_SIDE**2
    )
    length: int | None = flag(
        None,
        "samples of each signal of adding (None: 100) and waveforms (None: 128), points of clouds and ply (None: 400)",
        least=1,
        most=LARGEST_SIDE**2,
    )
    missing: float | None = flag(None, "share of the samples that waveforms lack, from 0 to below 1; None: 0.3")
    split: int | None = flag(
        None,
        "number of the published split of texas, cornell and wisconsin, of the fold of MUTAG and PROTEINS for the test,"
        " or of the drawing of sbm, digits-graph, hidden_groups, paraphrases, qualified, motions, keypoints,"
        " grounds and one file of interactions or scenes (None: 0)",
        least=0,
    )
    scale_rows: bool | None = flag(
        None, "divide the features of each node by their sum; None: where they are words, as is published"
    )
    undirected: bool | None = flag(None, "add the reverse of each edge of texas, cornell and wisconsin")
    gaussians: int | None = flag(
        None, "Gaussians of each mixture of mixture_digits (None: 8) and solids (None: 12)", least=1, most=LARGEST_SIDE
    )
    mislabelled: float | None = flag(
        None, "share of the training annotations of keypoints that are wrong, from 0 to 1; None: 0", least=0.0, most=1.0
    )
    deviation: float | None = flag(
        None, "degrees by which the cameras of grounds deviate from their calibration; None: 0", least=0.0, most=180.0
    )
    values: int | None = flag(
        None,
        "number of values of a pixel, for networks of images without labels (their default: 256, for digits 17)",
        least=2,
        most=256,
    )
