from pathlib import Path
from typing import Any

import torch

from convnn.data.builders import BUILDERS, build_part
from convnn.data.interface import LabelledData, LabelledPart
from convnn.data.options import Options
from convnn.errors import check_choice

DATASETS: tuple[str, ...] = tuple(BUILDERS)
"""The names that `load_data` knows."""


def load_data(
    dataset: str,
    data_path: str | Path = "./Data",
    *,
    batch_size: int = 256,
    resize: int | None = None,
    fit: str = "crop",
    augment: bool = False,
    noise: float = 0.0,
    seed: int = 0,
    device: torch.device | str = "cpu",
    num_workers: int = 4,
    download: bool = False,
    limit_train: int | None = None,
    limit_test: int | None = None,
    on_bad_image: str = "error",
    keep_images: bool = False,
    permuted: int | None = None,
    subsample: int | None = None,
    average: int | None = None,
    length: int | None = None,
    missing: float | None = None,
    split: int | None = None,
    scale_rows: bool | None = None,
    undirected: bool | None = None,
    values: int | None = None,
    gaussians: int | None = None,
    mislabelled: float | None = None,
    deviation: float | None = None,
    process_index: int = 0,
    num_processes: int = 1,
) -> LabelledData:
    """Open a data set as train and test loaders, and a val loader if it has that part.

    The batches depend on the arguments alone.

    Args:
        dataset: one of `DATASETS`.
        data_path: folder of the files, laid out as the table of data sets in docs/data.md says; unused for those
            that need no file.
        batch_size: samples per batch over all processes, at least 1; the last batch may be smaller. In training, a last
            batch of a single sample joins the batch before it. Nodes of a graph are one batch, whatever their number.
        resize: side of the square images in pixels, at least 1; None keeps the size (imagenet: 224; motions: 64). The
            flow of flowfolder is scaled with its images.
        fit: how to bring pictures of imagenet, imagefolder, masks and flowfolder to that size: "crop" scales them until
            the shorter side fits and crops around the centre, "pad" scales them until the longer side fits and pads
            them with black, "stretch" scales each side separately. With `augment`, "crop" crops at random instead.
        augment: change training images at random: crops everywhere, mirroring everywhere except for digits.
        noise: standard deviation of the Gaussian noise added to normalised images, train and test, at least 0.
        seed: seed of order, augmentation, noise and limits.
        device: device of the batches; noise, and the augmentation of sets stored on the device, differ between kinds
            of devices.
        num_workers: processes that decode imagenet, imagefolder and masks, at most one per core; 0 decodes in this
            process.
        download: let torchvision download cifar10 or cifar100 if data_path has no intact copy.
        limit_train: use a random subset of this many training samples, at least 1.
        limit_test: use a random subset of this many test samples, and as many of val, at least 1.
        on_bad_image: "error" raises at an image or flow that cannot be read, "skip" skips it and records it in the
            loader's `broken`.
        keep_images: decode each image of imagenet, imagefolder and masks once and keep it in the memory of the device,
            3 bytes per pixel; for sets that fit there. The batches are the same.
        permuted: seed of the permutation in which sequential_digits and sequential_cifar10 read the pixels, at least 0;
            None reads them row by row.
        subsample: keep every n-th sample of each sequence, at least 1, as at a lower sampling rate; None keeps all.
            Not for adding, which would lose its marks.
        average: instead, take the mean of every n samples of sequential_digits and sequential_cifar10, which leaves out
            the frequencies that a lower sampling rate cannot represent.
        length: samples of each signal of adding (100 where None) and waveforms (128), points of each of clouds and ply
            (400), at least 2.
        missing: share of the samples that each of the waveforms lacks, from 0 to below 1; None is 0.3.
        split: number of the split, from 0; None is 0. Of texas, cornell and wisconsin one of the ten published ones; of
            MUTAG and PROTEINS the fold for the test, of ten, of which the next validates; of sbm and digits-graph the
            seed by which the graph or its parts are drawn, as of hidden_groups, paraphrases, qualified, keypoints,
            grounds, and of a single file of interactions or scenes.
        scale_rows: divide the features of each node by their sum; None does so where they are words, as is published.
        undirected: add the reverse of each edge of texas, cornell and wisconsin.
        values: images without labels, for a network with a loss of its own: pixels are whole numbers from 0 to this
            number - 1, at most 255, of which digits have 17; None are labelled images. Those of imagefolder need no
            folders of classes.
        gaussians: number of Gaussians of each mixture of mixture_digits (8 where None) and solids (12).
        mislabelled: share of the training annotations of keypoints that are wrong, from 0 to 1; None is 0.
        deviation: standard deviation, in degrees, of the angles by which the cameras of grounds are turned around each
            axis against their calibration; None is 0.
        process_index: index of this process among those that share every batch, from 0.
        num_processes: number of processes that share every batch; together they see what a single one would, with the
            same order, crops and noise.

    Raises:
        InputError: an argument is out of range, or files are missing, broken or of different sizes; streamed images
            raise it during iteration.

    Example:
        >>> data = load_data("digits", batch_size=100)
        >>> data.input_shape, data.num_classes, data.train.num_samples, len(data.test)
        ((1, 8, 8), 10, 1437, 4)
        >>> next(iter(data.test)).inputs.shape
        torch.Size([100, 1, 8, 8])
    """
    check_choice("dataset", dataset, DATASETS)
    options = Options(
        name=dataset,
        data_path=Path(data_path).expanduser(),
        batch_size=batch_size,
        resize=resize,
        fit=fit,
        augment=augment,
        noise=noise,
        seed=seed,
        device=torch.device(device),
        num_workers=num_workers,
        download=download,
        limit_train=limit_train,
        limit_test=limit_test,
        on_bad_image=on_bad_image,
        keep_images=keep_images,
        permuted=permuted,
        subsample=subsample,
        average=average,
        length=length,
        missing=missing,
        split=split,
        scale_rows=scale_rows,
        undirected=undirected,
        values=values,
        gaussians=gaussians,
        mislabelled=mislabelled,
        deviation=deviation,
        process_index=process_index,
        num_processes=num_processes,
    )
    return BUILDERS[dataset](options)


def load_part(dataset: str, data_path: str | Path, part: str, **arguments: Any) -> LabelledPart:
    """Open one part of a data set; for imagenet and imagefolder the folders of the other parts may be missing.

    Args:
        dataset, data_path: as in `load_data`.
        part: "train", "test", or "val" if there is one; without test/, "test" is val/.
        arguments: other arguments of `load_data`.

    Raises:
        InputError: as in `load_data`, or the data set has no such part.

    Example:
        >>> load_part("digits", "", "test").loader.num_samples
        360
    """
    check_choice("dataset", dataset, DATASETS)
    arguments = arguments | {"device": torch.device(arguments.get("device", "cpu"))}
    return build_part(Options(name=dataset, data_path=Path(data_path).expanduser(), **arguments), part)
