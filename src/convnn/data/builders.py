"""A builder for each data set, from its files to its loaders."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from PIL import Image
from torch import Tensor

from convnn.data.augment import flip_and_crop, random_crop
from convnn.data.clips import build_clips
from convnn.data.flow_folders import build_flow_folder, build_flow_part
from convnn.data.grounds import build_grounds
from convnn.data.images import Size, fit_picture
from convnn.data.interactions import build_interactions
from convnn.data.interface import LabelledData, LabelledPart
from convnn.data.keypoints import build_keypoints
from convnn.data.labelled_graphs import build_graphs
from convnn.data.labelled_volumes import build_airways, build_volumes
from convnn.data.mixtures import build_mixtures
from convnn.data.motions import build_motions
from convnn.data.options import (
    CLIP_SETS,
    CLOUD_SETS,
    GRAPH_SETS,
    INTERACTION_SETS,
    MIXTURE_SETS,
    PHOTOGRAPH_SETS,
    RASTERS,
    REGRESSIONS,
    SCENE_SETS,
    TRIPLE_SETS,
    Options,
    Statistics,
)
from convnn.data.scene_graphs.loader import build_scenes
from convnn.data.segmentation import build_masks, build_masks_part, build_shapes
from convnn.data.sequences import (
    ADDING_LENGTH,
    MISSING,
    SHAPES_OF_WAVES,
    WAVEFORM_LENGTH,
    SignalLoader,
    Signals,
    make_adding,
    make_waveforms,
    raster_order,
)
from convnn.data.sources import Tensors, TensorSource, read_cifar, read_digits, read_image_folder
from convnn.data.stream import StreamLoader, stream_parts
from convnn.data.surfaces.clouds import build_clouds
from convnn.data.surfaces.photographs import build_photographs
from convnn.data.tensors import Augmentation, TensorLoader
from convnn.data.triples import build_triples
from convnn.errors import InputError, check_choice

CIFAR10_STATISTICS: Statistics = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
CIFAR100_STATISTICS: Statistics = ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761))
IMAGENET_STATISTICS: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
UNCHANGED: Statistics = ((0.0, 0.0), (1.0, 1.0))
"""Statistics of signals, which are not normalised."""
IMAGENET_SIDE = 224


def build_digits(options: Options) -> LabelledData:
    """Build the digits; augmentation only shifts them, because mirroring changes what they show."""
    source = read_digits()
    pixels = source.train.images.double() / 255
    statistics = (pixels.mean().item(),), (pixels.std().item(),)
    return _build_from_tensors(options, source, statistics, random_crop)


def build_adding(options: Options) -> LabelledData:
    """Build the adding problem, a regression of one number."""
    length = ADDING_LENGTH if options.length is None else options.length
    return _build_from_signals(options, lambda part: make_adding(part, length), ("sum",))


def build_waveforms(options: Options) -> LabelledData:
    """Build waveforms that were sampled at irregular times.

    Raises:
        InputError: no sample is left of them.
    """
    length = WAVEFORM_LENGTH if options.length is None else options.length
    missing = MISSING if options.missing is None else options.missing
    if length == round(missing * length):
        raise InputError(f"missing={missing!r} leaves none of length={length} samples; lower it")
    subsample = options.subsample or 1  # at least 1
    return _build_from_signals(options, lambda part: make_waveforms(part, length, missing, subsample), SHAPES_OF_WAVES)


def build_cifar(options: Options, kind: str, statistics: Statistics) -> LabelledData:
    """Build CIFAR-10 or CIFAR-100."""
    from torchvision import datasets  # takes a second to import

    source = read_cifar(getattr(datasets, kind), options.data_path, options.download)
    return _build_from_tensors(options, source, statistics, flip_and_crop)


def build_imagenet(options: Options) -> LabelledData:
    """Build ImageNet as `build_imagefolder` does, at 224x224 pixels by default."""
    return build_imagefolder(_imagenet_options(options))


def build_imagefolder(options: Options) -> LabelledData:
    """Build a folder of images of the requested size; without one, all must have the size of the first image."""
    source = read_image_folder(options.data_path, with_classes=options.values is None)
    loaders, shape = stream_parts(options, source.parts, StreamLoader, _transform, IMAGENET_STATISTICS)
    train, test, val = loaders["train"], loaders["test"], loaders.get("val")
    statistics, task = _statistics(options, IMAGENET_STATISTICS), _task(options)
    return LabelledData(options.name, train, test, source.classes, shape, *statistics, val, source.left_out, task)


def build_imagenet_part(options: Options, part: str) -> LabelledPart:
    """Build one part of ImageNet as `build_imagefolder_part` does, at 224x224 pixels by default."""
    return build_imagefolder_part(_imagenet_options(options), part)


def build_imagefolder_part(options: Options, part: str) -> LabelledPart:
    """Build one part of such a folder, of which the others may be missing."""
    source = read_image_folder(options.data_path, part, with_classes=options.values is None)
    loaders, shape = stream_parts(options, source.parts, StreamLoader, _transform, IMAGENET_STATISTICS)
    return LabelledPart(source.folders[part], loaders[part], source.classes, shape, task=_task(options))


def build_part(options: Options, part: str) -> LabelledPart:
    """Build one part; for images in folders the other parts may be missing."""
    if options.name in PART_BUILDERS:
        check_choice("part", part, ("train", "val", "test"))
        return PART_BUILDERS[options.name](options, part)
    data = BUILDERS[options.name](options)
    check_choice("part", part, data.parts)
    if data.task == "ranking" and part == "train":
        raise InputError(f"part='train' of dataset={options.name!r} is what scores leave out; evaluate test")
    return LabelledPart(part, data.parts[part], data.classes, data.input_shape, data.kind, data.task, data.names)


BUILDERS: dict[str, Callable[[Options], LabelledData]] = {
    "cifar10": partial(build_cifar, kind="CIFAR10", statistics=CIFAR10_STATISTICS),
    "cifar100": partial(build_cifar, kind="CIFAR100", statistics=CIFAR100_STATISTICS),
    "imagenet": build_imagenet,
    "imagefolder": build_imagefolder,
    "digits": build_digits,
    "masks": partial(build_masks, statistics=IMAGENET_STATISTICS),
    "shapes": build_shapes,
    "airways": build_airways,
    "volumes": build_volumes,
    "grounds": build_grounds,
    "sequential_digits": build_digits,
    "sequential_cifar10": partial(build_cifar, kind="CIFAR10", statistics=CIFAR10_STATISTICS),
    "adding": build_adding,
    "waveforms": build_waveforms,
    **dict.fromkeys(GRAPH_SETS, build_graphs),
    **dict.fromkeys(INTERACTION_SETS, build_interactions),
    **dict.fromkeys(TRIPLE_SETS, build_triples),
    **dict.fromkeys(MIXTURE_SETS, build_mixtures),
    **dict.fromkeys(CLIP_SETS, build_clips),
    **dict.fromkeys(SCENE_SETS, build_scenes),
    "motions": build_motions,
    "flowfolder": build_flow_folder,
    "keypoints": build_keypoints,
    **dict.fromkeys(CLOUD_SETS, build_clouds),
    **dict.fromkeys(PHOTOGRAPH_SETS, build_photographs),
}

PART_BUILDERS: dict[str, Callable[[Options, str], LabelledPart]] = {
    "imagenet": build_imagenet_part,
    "imagefolder": build_imagefolder_part,
    "masks": partial(build_masks_part, statistics=IMAGENET_STATISTICS),
    "flowfolder": build_flow_part,
}
"""Builders of one part, where the others need not be there."""


def _build_from_tensors(
    options: Options, source: TensorSource, statistics: Statistics, augmentation: Augmentation
) -> LabelledData:
    channels, *size = source.train.images.shape[1:]
    height, width = _square(options.resize) or size
    order: Tensor | None = None
    has_labels = options.values is None
    shape: tuple[int, ...] = (channels, height, width)
    if options.name in RASTERS:
        order = raster_order(height * width, options.permuted, options.subsample or 1, options.average or 1)
        shape = (channels, len(order))

    def loader(part: str, tensors: Tensors, augment: Augmentation | None) -> TensorLoader:
        subset = options.subset(part, len(tensors.labels))
        settings = options.settings(part, statistics)
        labels = tensors.labels[subset] if has_labels else tensors.labels.new_zeros(len(subset))
        return TensorLoader(tensors.images[subset], labels, settings, options.resize, augment, order)

    train = loader("train", source.train, augmentation if options.augment else None)
    test = loader("test", source.test, None)
    kind, classes = "image" if order is None else "sequence", source.classes if has_labels else ()
    statistics = _statistics(options, statistics)
    return LabelledData(options.name, train, test, classes, shape, *statistics, task=_task(options), kind=kind)


def _task(options: Options) -> str:
    """Return the task of images."""
    return "classification" if options.values is None else "modelling"


def _statistics(options: Options, statistics: Statistics) -> Statistics:
    """Return what turns the inputs back into colours: of images of whole numbers, the largest becomes 1."""
    if options.values is None:
        return statistics
    return (0.0,) * len(statistics[0]), (1 / (options.values - 1),) * len(statistics[0])


def _build_from_signals(options: Options, make: Callable[[str], Signals], classes: tuple[str, ...]) -> LabelledData:
    def loader(part: str) -> SignalLoader:
        signals = make(part)
        subset = options.subset(part, len(signals.labels))
        settings = options.settings(part, UNCHANGED)
        return SignalLoader(Signals(signals.values[subset], signals.labels[subset]), settings)

    train, test = loader("train"), loader("test")
    shape = tuple(next(iter(test)).inputs.shape[1:])
    task = "regression" if options.name in REGRESSIONS else "classification"
    return LabelledData(options.name, train, test, classes, shape, *UNCHANGED, task=task, kind="sequence")


def _imagenet_options(options: Options) -> Options:
    return replace(options, resize=IMAGENET_SIDE if options.resize is None else options.resize)


def _square(side: int | None) -> Size | None:
    return None if side is None else (side, side)


def _transform(size: Size, fit: str, augment: bool) -> Callable[[Image.Image], Image.Image]:
    resize = partial(fit_picture, size=size, how=fit)
    if not augment:
        return resize
    from torchvision.transforms import v2  # takes a second to import

    # A picture that is cropped at random need not be cropped before.
    first = [] if fit == "crop" else [resize]
    augmentation: Callable[[Image.Image], Image.Image] = v2.Compose(
        [*first, v2.RandomResizedCrop(size), v2.RandomHorizontalFlip()]
    )
    return augmentation
