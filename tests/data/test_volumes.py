"""Volumes from files: archives and pairs, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from convnn.data.volumes import read_volumes
from convnn.errors import InputError

SHAPE = (2, 3, 4)
IMAGE = np.arange(24).reshape(SHAPE)


def test_archives_and_pairs_are_read_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "c.npz", image=IMAGE.astype(">f8"), mask=IMAGE > 5, spacing=[1, 1, 2])
    np.savez(tmp_path / "a.npz", image=IMAGE.astype(np.int16))
    np.save(tmp_path / "b.npy", IMAGE.astype(np.float32))
    np.save(tmp_path / "b_mask.npy", (IMAGE % 3).astype(np.uint8))
    (tmp_path / "notes.txt").write_text("other")
    first, second, third = read_volumes(tmp_path)
    assert [first.name, second.name, third.name] == ["a", "b", "c"]
    assert [one.volume.dtype for one in (first, second, third)] == [torch.float32, torch.float32, torch.float64]
    for one in (first, second, third):
        assert torch.equal(one.volume, torch.arange(24).view(1, *SHAPE).to(one.volume.dtype))
    assert first.mask is None
    assert torch.equal(second.mask, torch.arange(24).view(SHAPE) % 3)
    assert torch.equal(third.mask, (torch.arange(24).view(SHAPE) > 5).long())


BAD = {
    "axes": ({"image": IMAGE[0]}, r"has an image of shape \(3, 4\) and int64, which must be \(D, H, W\) real$"),
    "complex": ({"image": IMAGE * 1j}, r"has an image of shape \(2, 3, 4\) and complex128, which must be"),
    "text": ({"image": IMAGE.astype(str)}, r"has an image of shape \(2, 3, 4\) and <U21, which must be"),
    "objects": ({"image": IMAGE.astype(object)}, "cannot be read as arrays of NumPy: Object arrays"),
    "no image": ({"mask": IMAGE}, "must have an array 'image', but has 'mask'$"),
    "nothing": ({}, "must have an array 'image', but has nothing$"),
    "mask": (
        {"image": IMAGE, "mask": IMAGE[:1]},
        r"has a mask of shape \(1, 3, 4\) and int64, which must be \(2, 3, 4\) of whole numbers$",
    ),
    "floating mask": (
        {"image": IMAGE, "mask": IMAGE / 2},
        r"has a mask of shape \(2, 3, 4\) and float64, which must be",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arrays_are_named(name: str, tmp_path: Path) -> None:
    arrays, message = BAD[name]
    np.savez(tmp_path / "one.npz", **arrays)
    with pytest.raises(InputError, match=f"^'{tmp_path}/one.npz' {message}"):
        read_volumes(tmp_path)


def test_bad_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must have volumes, NAME.npz or NAME.npy, but has none$"):
        read_volumes(tmp_path)
    with pytest.raises(InputError, match=r"but there is no such folder$"):
        read_volumes(tmp_path / "none")
    for name, content in (("a.npz", b"PK\x03\x04 cut"), ("a.npy", b""), ("a.npy", b"no array")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}' cannot be read as arrays of NumPy: "):
            read_volumes(tmp_path)
        (tmp_path / name).unlink()
