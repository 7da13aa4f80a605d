"""Images with the class of every pixel: generated shapes, and folders of images and masks."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from convnn.data.augment import flip_and_crop
from convnn.data.epochs import LoaderSettings
from convnn.data.images import Size, fit_picture, to_tensor
from convnn.data.interface import Batch, LabelledData, LabelledPart
from convnn.data.masks import IGNORED, MaskedFile, MaskSource, Values, read_mask, read_mask_folder
from convnn.data.options import Options, Statistics
from convnn.data.seeds import seeded_globally
from convnn.data.shapes import SHAPE_CLASSES, make_part
from convnn.data.stream import ImageFile, ImageFiles, Sample, StreamLoader, stream_parts
from convnn.data.tensors import Augmentation, TensorLoader
from convnn.errors import InputError

SHAPES_STATISTICS: Statistics = ((0.5, 0.5, 0.5), (0.2, 0.2, 0.2))

SMALLEST_PART = 0.25
"""The smallest share of an image that a random crop keeps; smaller parts seldom show what they are of."""

Pair = tuple[Image.Image, Image.Image]
"""An image, and its mask in grey."""


def build_shapes(options: Options) -> LabelledData:
    """Build the generated shapes; with augmentation they are mirrored and shifted."""
    side = options.resize

    def loader(part: str) -> MaskedTensorLoader:
        images, masks = make_part(part)
        subset, augment = options.subset(part, len(images)), options.augment and part == "train"
        settings = options.settings(part, SHAPES_STATISTICS)
        return MaskedTensorLoader(images[subset], masks[subset], settings, side, flip_and_crop if augment else None)

    train, test = loader("train"), loader("test")
    shape = (3, *((side, side) if side else train.size))
    return LabelledData(options.name, train, test, SHAPE_CLASSES, shape, *SHAPES_STATISTICS, task="segmentation")


def build_masks(options: Options, statistics: Statistics) -> LabelledData:
    """Build a folder of images and masks of the requested size; without one, all must have the size of the first."""
    source = read_mask_folder(options.data_path)
    loaders, shape = _stream(options, source, statistics)
    return LabelledData(
        options.name,
        loaders["train"],
        loaders["test"],
        source.values.classes,
        shape,
        *statistics,
        loaders.get("val"),
        source.left_out,
        task="segmentation",
    )


def build_masks_part(options: Options, part: str, statistics: Statistics) -> LabelledPart:
    """Build one part of such a folder, of which the others may be missing."""
    source = read_mask_folder(options.data_path, only=part)
    loaders, shape = _stream(options, source, statistics)
    return LabelledPart(source.folders[part], loaders[part], source.values.classes, shape, task="segmentation")


def _stream(
    options: Options, source: MaskSource, statistics: Statistics
) -> tuple[dict[str, "MaskLoader"], tuple[int, int, int]]:
    loader_of = partial(MaskLoader, values=source.values)
    return stream_parts(options, source.parts, loader_of, pair_transform, statistics)


def pair_transform(size: Size, fit: str, *, augment: bool) -> Callable[[Image.Image, Image.Image], Pair]:
    """Return the function that brings an image and its mask to a size together: classes are never interpolated.

    With `fit="pad"` the padding of a mask is not counted. With `augment` a random part of at least a quarter of the
    image is scaled to the size, and mirrored in half the cases.
    """

    def resize(image: Image.Image, mask: Image.Image) -> Pair:
        nearest = Image.Resampling.NEAREST
        return fit_picture(image, size, fit), fit_picture(mask, size, fit, resample=nearest, fill=IGNORED)

    if not augment:
        return resize
    from torchvision import tv_tensors  # takes a second to import
    from torchvision.transforms import v2

    changes = v2.Compose([v2.RandomResizedCrop(size, scale=(SMALLEST_PART, 1.0)), v2.RandomHorizontalFlip()])

    def change(image: Image.Image, mask: Image.Image) -> Pair:
        image, mask = (image, mask) if fit == "crop" else resize(image, mask)
        image, changed = changes(image, tv_tensors.Mask(torch.from_numpy(np.array(mask))))
        return image, Image.fromarray(changed.numpy())

    return change


class MaskedTensorLoader(TensorLoader):
    """Batches of images and masks in memory; what moves an image moves its mask.

    Args:
        images: (N, 3, H, W) uint8.
        masks: (N, H, W) uint8.
        settings, side: as in `TensorLoader`.
        augment: function that moves pixels of (B, 4, H, W) without changing their values, or None.
    """

    def __init__(
        self,
        images: Tensor,
        masks: Tensor,
        settings: LoaderSettings,
        side: int | None = None,
        augment: Augmentation | None = None,
    ) -> None:
        super().__init__(images, masks, settings, side, augment)
        self.size: Size = (images.shape[2], images.shape[3])

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of the current epoch, with labels (B, H, W) int64."""
        for step in self._steps():
            indices = step.indices.to(self._settings.device)
            images, masks = self._resize(self._images[indices]), self._labels[indices].unsqueeze(1)
            if masks.shape[-2:] != images.shape[-2:] and len(masks):
                masks = torch.nn.functional.interpolate(masks, size=images.shape[-2:], mode="nearest-exact")
            both = self._augment_batch(torch.cat([images, masks.expand(-1, 1, *images.shape[-2:])], dim=1), step)
            yield Batch(self._to_input(both[:, :3], step), both[:, 3].long(), indices)


class MaskedFiles(ImageFiles):
    """Decoded images of one epoch, each with its mask as a fourth channel."""

    def __init__(
        self,
        files: Sequence[MaskedFile],
        values: Values,
        transform: Callable[[Image.Image, Image.Image], Pair],
        required_size: Size | None,
        seed: int,
        epoch: int,
    ) -> None:
        super().__init__([ImageFile(file.path, 0) for file in files], lambda image: image, required_size, seed, epoch)
        self._masks = [file.mask for file in files]
        self._values = values
        self._transform_pair = transform

    def __getitem__(self, index: int) -> Sample | InputError:
        """Read one sample: (4, H, W) uint8 pixels and classes, 0 in place of a class, and its position."""
        path, mask_path = self._files[index].path, self._masks[index]
        try:
            image, mask = self._read(path), Image.fromarray(self._values.labels(read_mask(mask_path), mask_path))
            if image.size != mask.size:
                sizes = ["x".join(map(str, picture.size)) for picture in (mask, image)]
                raise InputError(f"the mask {mask_path} is {sizes[0]} pixels, but its image {path} is {sizes[1]}")
        except InputError as error:
            return error
        with seeded_globally("augment", *self._key, index):
            image, mask = self._transform_pair(image, mask)
        return torch.cat([to_tensor(image), to_tensor(mask)]), 0, index


class MaskLoader(StreamLoader):
    """Batches of image files with masks, decoded by worker processes.

    Args:
        files: the samples.
        transform: function of an image and its mask; may use torch's global generator.
        others: those of `StreamLoader`.
        values: what the values of the masks mean.
    """

    channels = 4

    def __init__(
        self,
        files: Sequence[MaskedFile],
        transform: Callable[[Image.Image, Image.Image], Pair],
        *others: object,
        values: Values,
        **settings: object,
    ) -> None:
        images = [ImageFile(file.path, 0) for file in files]
        super().__init__(images, lambda image: image, *others, **settings)  # type: ignore[arg-type]
        self._samples = partial(MaskedFiles, files, values, transform)

    def _dataset(self, seed: int, epoch: int) -> ImageFiles:
        return self._samples(self._required_size, seed, epoch)

    def _batch(self, step: object, images: Tensor, labels: Tensor, indices: Tensor) -> Batch:
        """Return the batch, with the fourth channel as labels (B, H, W) int64."""
        batch = super()._batch(step, images[:, :3], labels, indices)  # type: ignore[arg-type]
        return batch._replace(labels=images[:, 3].long())
