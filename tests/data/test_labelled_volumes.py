"""Data sets of volumes: batches of what the files and the maker have, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from convnn.data import load_data, load_part
from convnn.data.airways import make_airways
from convnn.errors import InputError

GENERATOR = np.random.default_rng(0)
SIZE = (4, 6, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two volumes to train on, one to test on, of three classes."""
    for part, names in (("train", "ab"), ("test", "c")):
        (tmp_path / part).mkdir()
        for name in names:
            save(tmp_path / part / f"{name}.npz")
    return tmp_path


def save(path: Path, size: tuple[int, ...] = SIZE, values: tuple[int, ...] = (0, 1, 2), **arrays: np.ndarray) -> None:
    mask = np.resize(np.array(values, dtype=np.uint8), size)
    np.savez(path, **({"image": GENERATOR.normal(3, 2, size), "mask": mask} | arrays))


def test_every_epoch_has_each_airway_once_with_its_mask_and_branches() -> None:
    data = load_data("airways", batch_size=5, limit_train=7, seed=3)
    trees = make_airways(32, seed=0)
    assert (data.input_shape, data.classes, data.kind) == ((1, 24, 24, 24), ("tissue", "airway"), "volume")
    seen: list[int] = []
    for batch in data.train:
        assert batch.labels.dtype == torch.int64
        for volume, mask, index in zip(batch.inputs, batch.labels, batch.indices, strict=True):
            [number] = (trees.volumes == volume).flatten(1).all(1).nonzero().flatten().tolist()
            assert torch.equal(mask, trees.masks[number])
            assert torch.equal(data.train.branches[index], trees.branches[number])
            seen.append(number)
    assert len(set(seen)) == 7
    assert data.test.num_samples == 8


def test_files_are_read_with_mean_0_and_deviation_1(folder: Path) -> None:
    data = load_data("volumes", folder, batch_size=2)
    assert (data.input_shape, data.classes, data.val) == ((1, *SIZE), ("0", "1", "2"), None)
    [batch] = data.test
    with np.load(folder / "test/c.npz") as file:
        image = file["image"]
        np.testing.assert_allclose(batch.inputs[0, 0], (image - image.mean()) / image.std(), rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(batch.labels[0], file["mask"])
    assert data.test.branches is None
    assert load_part("volumes", folder, part="train").kind == "volume"


def test_masks_of_0_and_255_are_binary_and_names_are_read(folder: Path) -> None:
    for path in ("train/a", "train/b", "test/c"):
        save(folder / f"{path}.npz", values=(0, 255), image=np.ones(SIZE))
    data = load_data("volumes", folder)
    [batch] = data.test
    assert data.classes == ("background", "foreground")
    assert batch.labels.unique().tolist() == [0, 1]
    assert not batch.inputs.any()  # a constant volume
    (folder / "classes.txt").write_text("air\nbone\nskin\n")
    data = load_data("volumes", folder)
    assert data.classes == ("air", "bone", "skin")
    assert next(iter(data.test)).labels.unique().tolist() == [0, 255]


def test_val_is_the_test_part_where_there_is_no_other(folder: Path) -> None:
    (folder / "test").rename(folder / "val")
    assert load_data("volumes", folder).val is None
    (folder / "test").mkdir()
    save(folder / "test/d.npz")
    assert load_data("volumes", folder).val.num_samples == 1


WRONG = {
    "has the value 7 at (0, 0, 0); with the 3 classes of this set values are 0 to 2": {"values": (7, 1)},
    "is 4x6x4 voxels, but the first one is 4x6x8": {"size": (4, 6, 4)},
    "has values that are not finite": {"image": np.full(SIZE, np.nan)},
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_volume_is_named(message: str, folder: Path) -> None:
    save(folder / "test/c.npz", **WRONG[message])
    with pytest.raises(InputError) as caught:
        load_data("volumes", folder)
    assert message in str(caught.value)
    assert f"{Path('test') / 'c'}" in str(caught.value)


def test_values_without_end_are_no_classes(folder: Path) -> None:
    np.savez(folder / "train/a.npz", image=np.zeros(SIZE), mask=np.full(SIZE, 10**6))
    with pytest.raises(InputError, match=r"has the value 1000000 at \(0, 0, 0\); with the 255 classes"):
        load_data("volumes", folder)


def test_what_lacks_is_named(folder: Path) -> None:
    np.savez(folder / "train/a.npz", image=np.zeros(SIZE))
    with pytest.raises(InputError, match=r"the volume .*train.a has no mask; add the array 'mask', or a_mask.npy"):
        load_data("volumes", folder)
    for name in "ab":
        save(folder / f"train/{name}.npz", values=(0,))
    with pytest.raises(InputError, match=r"has masks of the class 0 only in train/, so there is nothing to learn"):
        load_data("volumes", folder)
    (folder / "test/c.npz").unlink()
    (folder / "test").rmdir()
    with pytest.raises(InputError, match=r"has no folder val/ or test/; volumes, NAME.npz with image and mask"):
        load_data("volumes", folder)
    with pytest.raises(InputError, match=r"^resize=8 changes images; dataset='volumes' has volumes, so leave it out$"):
        load_data("volumes", folder, resize=8)
