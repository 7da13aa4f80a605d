from dataclasses import dataclass
from pathlib import Path

import torch

from convnn.data.epochs import LoaderSettings
from convnn.data.images import FITS
from convnn.data.seeds import derive_seed, make_generator
from convnn.errors import InputError, check_at_least, check_choice

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""Mean and standard deviation of each channel, of images scaled to [0, 1]."""


ON_BAD_IMAGE = ("error", "skip")


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
    process_index: int = 0
    num_processes: int = 1

    def __post_init__(self) -> None:
        check_at_least("batch_size", self.batch_size, 1)
        check_at_least("num_workers", self.num_workers, 0)
        check_choice("fit", self.fit, FITS)
        check_choice("on_bad_image", self.on_bad_image, ON_BAD_IMAGE)
        for name in ("resize", "limit_train", "limit_test"):
            if getattr(self, name) is not None:
                check_at_least(name, getattr(self, name), 1)
        if self.keep_images and self.augment:
            raise InputError("keep_images=True stores images that augment=True changes in every epoch; leave out one")
        if not 0 <= self.noise < float("inf"):
            raise InputError(f"noise={self.noise!r} must be a standard deviation of at least 0")

    def settings(self, part: str, statistics: Statistics) -> LoaderSettings:
        """Return the settings of the loader of a part; each part has its own random numbers."""
        mean, std = statistics
        return LoaderSettings(
            mean=mean,
            std=std,
            batch_size=self.batch_size,
            shuffle=part == "train",
            noise=self.noise,
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
