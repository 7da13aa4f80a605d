"""Images that are decoded once give the same batches from memory."""

import shutil
from pathlib import Path

import pytest
import torch

from convnn.data import Batch, load_data
from convnn.errors import InputError
from pairwise import each


def epochs_of(path: Path, *, keep: bool, epochs: int = 3, first_step: int = 0, **settings) -> list[Batch]:
    """Return the training batches of some epochs, the first from a step on, with test images in between."""
    given = {"batch_size": 3, "noise": 0.1, "num_workers": 0} | settings
    data = load_data("imagefolder", path, keep_images=keep, **given)
    batches = []
    for epoch in range(epochs):
        data.train.set_epoch(epoch, first_step if epoch == 0 else 0)
        batches += [*data.train, *data.test]
    return batches


def assert_same(ones: list[Batch], others: list[Batch]) -> None:
    assert len(ones) == len(others)
    for one, other in zip(ones, others, strict=True):
        for a, b in zip(one, other, strict=True):
            assert torch.equal(a, b)
            assert a.device == b.device


@pytest.mark.slow
@each(num_workers=[0, 2], first_step=[0, 2], processes=[(0, 1), (1, 2)])
def test_batches_are_the_same(make_folder, num_workers: int, first_step: int, processes: tuple[int, int]) -> None:
    path, (index, count) = make_folder(), processes
    settings = {"num_workers": num_workers, "process_index": index, "num_processes": count, "first_step": first_step}
    assert_same(epochs_of(path, keep=True, **settings), epochs_of(path, keep=False, **settings))


def test_a_file_is_read_once(make_folder) -> None:
    path = make_folder()
    expected = epochs_of(path, keep=False)
    data = load_data("imagefolder", path, keep_images=True, batch_size=3, noise=0.1, num_workers=0)
    batches = []
    for epoch in range(3):
        data.train.set_epoch(epoch)
        batches += [*data.train, *data.test]
        if epoch == 0:
            shutil.rmtree(path)
    assert_same(batches, expected)


def test_broken_images_stay_left_out_and_are_named(make_folder) -> None:
    path = make_folder()
    broken = path / "train" / "dog" / "2.png"
    broken.write_bytes(b"")
    kept, read = (epochs_of(path, keep=keep, on_bad_image="skip") for keep in (True, False))
    assert_same(kept, read)
    data = load_data("imagefolder", path, keep_images=True, on_bad_image="skip", num_workers=0)
    for epoch in range(2):
        data.train.set_epoch(epoch)
        assert sum(len(batch.labels) for batch in data.train) == 7
        assert len(data.train.broken) == 1
        assert str(broken) in next(iter(data.train.broken))


def test_augmented_images_are_not_kept(make_folder) -> None:
    with pytest.raises(
        InputError, match=r"^keep_images=True stores images that augment=True changes in every epoch; leave"
    ):
        load_data("imagefolder", make_folder(), keep_images=True, augment=True)
