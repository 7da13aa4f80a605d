"""Images with masks: folders, what values mean, what moves together, and generated shapes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convnn.data import load_data, load_part
from convnn.data.masks import read_mask
from convnn.data.shapes import SHAPE_CLASSES, make_part, make_shapes
from convnn.errors import InputError

SIZE = (24, 16)
"""Width and height of the images of the folder."""


def save(folder: Path, name: str, values: np.ndarray, mode: str | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values)
    if mode == "P":
        picture.putpalette([number // 3 for number in range(768)])
    picture.save(folder / name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder in which the red channel of an image is 40 times the class of each pixel."""
    generator = np.random.default_rng(0)
    for part, count in (("train", 5), ("val", 3)):
        for number in range(count):
            classes = generator.integers(0, 3, (SIZE[1] // 4, SIZE[0] // 4), dtype=np.uint8).repeat(4, 0).repeat(4, 1)
            save(tmp_path / part / "images", f"{number}.png", np.stack([40 * classes, classes, classes], 2))
            save(tmp_path / part / "masks", f"{number}.png", classes, mode="P" if number % 2 else None)
    return tmp_path


def red(batch: object) -> torch.Tensor:
    """Return the red channel of a batch, from 0 to 255."""
    return 255 * (batch.inputs[:, 0] * 0.229 + 0.485)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("augment", [False, True])
def test_what_moves_an_image_moves_its_mask(fit: str, augment: bool, folder: Path) -> None:
    data = load_data("masks", folder, resize=32, fit=fit, augment=augment, batch_size=5, num_workers=0)
    batch = next(iter(data.train))
    assert batch.labels.shape == (5, 32, 32)
    assert batch.labels.dtype == torch.long
    counted = batch.labels != 255
    assert counted.all() == (fit != "pad")
    agree = ((red(batch) / 40).round() == batch.labels)[counted]  # but where colours are interpolated
    assert agree.double().mean() > 0.75
    assert ((red(batch) < 1) | counted | (fit != "pad")).double().mean() > 0.95  # padding is black and not counted


def test_without_resizing_every_pixel_is_as_it_is_stored(folder: Path) -> None:
    data = load_data("masks", folder, batch_size=2, num_workers=0)
    assert (data.input_shape, data.classes, data.task) == ((3, 16, 24), ("0", "1", "2"), "segmentation")
    for batch in data.test:
        assert torch.equal((red(batch) / 40).round().long(), batch.labels)


def test_batches_are_a_function_of_seed_and_epoch_on_any_number_of_processes(folder: Path) -> None:
    def batches(epoch: int, **settings: int) -> list[tuple]:
        data = load_data("masks", folder, resize=16, augment=True, batch_size=4, **{"num_workers": 0} | settings)
        data.train.set_epoch(epoch)
        return [(batch.inputs, batch.labels) for batch in data.train]

    whole = batches(1)
    parts = [batches(1, num_workers=2, num_processes=2, process_index=index) for index in (0, 1)]
    for both, *shares in zip(whole, *parts, strict=True):
        for place in (0, 1):
            assert torch.equal(both[place], torch.cat([share[place] for share in shares]))
    assert not torch.equal(whole[0][1], batches(2)[0][1])
    kept = load_data("masks", folder, keep_images=True, batch_size=2, num_workers=0).test
    assert all(torch.equal(a.labels, b.labels) for a, b in zip(list(kept), list(kept), strict=True))


def test_masks_of_0_and_255_are_two_classes_and_others_leave_255_out(folder: Path) -> None:
    for path in folder.glob("*/masks/*.png"):
        Image.fromarray(np.where(read_mask(str(path)) == 2, 255, 0).astype(np.uint8)).save(path)
    data = load_data("masks", folder, batch_size=9, num_workers=0)
    assert data.classes == ("background", "foreground")
    assert torch.equal(next(iter(data.test)).labels, ((red(next(iter(data.test))) / 40).round() == 2).long())
    (folder / "classes.txt").write_text("sky\nbird\n")
    assert load_data("masks", folder).classes == ("sky", "bird")
    (folder / "classes.txt").write_bytes("\ufeffsky\r\nbird\r\nplane\r\n".encode())  # as Windows writes it
    data = load_data("masks", folder, batch_size=9, num_workers=0)
    assert data.classes == ("sky", "bird", "plane")
    assert next(iter(data.test)).labels.unique().tolist() == [0, 255]  # which is now not counted


def test_one_part_is_enough_to_evaluate(folder: Path) -> None:
    part = load_part("masks", folder, "test", num_workers=0)
    assert (part.name, part.loader.num_samples, part.task) == ("val", 3, "segmentation")


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "RGB", "LA"])
def test_masks_of_many_modes_have_the_same_values(mode: str, tmp_path: Path) -> None:
    values = np.array([[0, 1], [1, 0]], dtype=np.uint8)
    stored = {"1": values.astype(bool), "RGB": values[..., None].repeat(3, 2), "I;16": values.astype(np.uint16)}
    stored["LA"] = np.stack([values, np.full_like(values, 255)], 2)
    save(tmp_path, "mask.png", stored.get(mode, values), mode)
    assert read_mask(str(tmp_path / "mask.png")).tolist() == values.tolist()


def _lose(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, values: object) -> Callable[[Path], None]:
    return lambda folder: Image.fromarray(np.array(values, dtype=np.uint8)).save(folder / name)


ROWS = np.zeros((16, 24), dtype=np.uint8)
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "no mask": (_lose("val/masks/1.png"), r"the image .*val/images/1.png has no mask .*val/masks/1.png \(or .bmp"),
    "other size": (_write("val/masks/1.png", ROWS[:8]), r"the mask .*1.png is 24x8 pixels, but its image .* is 24x16"),
    "no class": (
        _write("val/masks/1.png", ROWS + 7),
        "the mask .*1.png has the value 7 in row 0, column 0; with",
    ),
    "colours": (_write("val/masks/1.png", np.eye(3)[None] * 255), "the mask .*1.png is in colours; save it with a pal"),
    "between classes": (
        lambda f: Image.fromarray(ROWS + np.float32(0.5)).save(f / "val/masks/1.png", "TIFF"),
        "the mask .*1.png has the value 0.5; classes are whole numbers",
    ),
    "broken": (
        lambda f: (f / "val/masks/1.png").write_text("x"),
        "cannot read the image .*val/masks/1.png: it is",
    ),
    "two masks": (_write("train/masks/1.bmp", ROWS), "the masks .*1.(bmp|png) and .*1.(bmp|png) have the same name"),
    "no folder": (lambda f: (f / "val").rename(f / "v"), "has no folder val/images/ or test/images/; images belong in"),
    "one name": (lambda f: (f / "classes.txt").write_text("sky"), "classes.txt' has 1 line and 1 name; it must have"),
    "a name twice": (
        lambda f: (f / "classes.txt").write_text("a\na\nb"),
        "classes.txt' has 3 lines and 2 names; it",
    ),
}


@pytest.mark.parametrize("fault", BAD)
def test_what_is_wrong_is_one_sentence_that_names_the_file(fault: str, folder: Path) -> None:
    break_it, message = BAD[fault]
    break_it(folder)
    with pytest.raises(InputError, match=message) as caught:
        list(load_data("masks", folder, batch_size=2, num_workers=0).test)
    assert "\n" not in str(caught.value)


def test_masks_of_one_class_teach_nothing(folder: Path) -> None:
    for path in folder.glob("*/masks/*.png"):
        Image.fromarray(ROWS).save(path)
    with pytest.raises(InputError, match="has 5 masks of the class 0 only, so there is nothing to learn"):
        load_data("masks", folder)


def test_a_broken_pair_can_be_skipped(folder: Path) -> None:
    (folder / "val/masks/1.png").write_text("x")
    data = load_data("masks", folder, batch_size=9, num_workers=0, on_bad_image="skip")
    assert next(iter(data.test)).indices.tolist() == [0, 2]
    assert len(data.test.broken) == 1


def test_shapes_have_their_areas_and_are_always_the_same() -> None:
    images, classes = make_shapes(300, torch.Generator().manual_seed(3), side=64)
    assert images.shape == (300, 3, 64, 64)
    assert images.dtype == classes.dtype == torch.uint8
    alone = [one for one in classes if len(one.unique()) == 2 and not one[[0, -1]].any() and not one[:, [0, -1]].any()]
    sizes = {kind: [float((one == kind).sum()) for one in alone if (one == kind).any()] for kind in (1, 2, 3)}
    means = [np.mean(found) for found in sizes.values()]
    assert max(means) < 1.4 * min(means)  # all three have the area of the disc
    assert all(torch.equal(a, b) for a, b in zip(make_part("test"), make_part("test"), strict=True))
    data = load_data("shapes", batch_size=64, limit_train=64, resize=24, augment=True)
    batch = next(iter(data.train))
    assert (batch.inputs.shape, batch.labels.shape, data.classes) == ((64, 3, 24, 24), (64, 24, 24), SHAPE_CLASSES)
