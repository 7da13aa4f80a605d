"""Folders of pictures as users have them."""

import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from convnn.data import load_data, load_part
from convnn.data.folders import pictures_below, read_class_folders
from convnn.errors import InputError


def names(path: Path, part: str = "train") -> list[str]:
    root = path / part
    return [str(Path(file.path).relative_to(root)) for file in read_class_folders(path, part).files]


FOUR = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(4)]


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "__MACOSX", "@eaDir", ".cache/deep"])
def test_hidden_folders_are_no_classes_and_hold_no_pictures(make_folder, hidden):
    path = make_folder()
    for place in ("train", "val", "train/cat"):
        (path / place / hidden).mkdir(parents=True)
        shutil.copy(path / "train/cat/0.png", path / place / hidden / "0.png")
    data = load_data("imagefolder", path, num_workers=0)
    assert data.classes == ("cat", "dog")
    assert names(path) == FOUR
    assert data.left_out == ()


def test_what_systems_leave_beside_pictures_is_passed_over(make_folder):
    path = make_folder()
    for name in ("._0.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        for place in ("train", "train/cat"):
            (path / place / name).write_bytes(b"\0\1")
    assert names(path) == FOUR
    assert load_data("imagefolder", path, num_workers=0).left_out == ()


@pytest.mark.parametrize("ending", ["gif", "jfif", "jp2", "avif", "tga", "JPE", "qoi"])
def test_what_pillow_reads_is_read(make_folder, ending):
    path = make_folder(per_class=1)
    kind = {"jp2": "JPEG2000", "jfif": "JPEG", "jpe": "JPEG"}.get(ending.lower(), ending.upper())
    if kind == "AVIF":
        pytest.importorskip("PIL._avif")
    Image.open(path / "train/cat/0.png").save(path / f"train/cat/1.{ending}", kind)
    data = load_data("imagefolder", path, num_workers=0)
    assert data.train.num_samples == 3
    assert next(iter(data.train)).inputs.shape == (3, 3, 12, 12)


def test_files_that_are_no_pictures_are_named(make_folder):
    path = make_folder()
    others = [path / "train/cat/notes.txt", path / "train/dog/film.mpg", path / "val/dog/phone.heic"]
    for other in others:
        other.write_text("no picture")
    data = load_data("imagefolder", path, num_workers=0)
    assert data.left_out == tuple(map(str, others))
    assert names(path) == FOUR


def test_files_are_in_the_order_of_folders_and_names(make_folder):
    path = make_folder(per_class=2)
    for name in ("b/1.png", "a/2.png", "a/10.png"):
        (path / "train/cat" / name).parent.mkdir(exist_ok=True)
        shutil.copy(path / "train/cat/0.png", path / "train/cat" / name)
    ours = ["cat/0.png", "cat/1.png", "cat/a/10.png", "cat/a/2.png", "cat/b/1.png", "dog/0.png", "dog/1.png"]
    assert names(path) == ours


@pytest.mark.parametrize("target", [".", "..", "../..", "inner", "../dog/back"])
def test_no_file_is_visited_through_a_loop(make_folder, target):
    path = make_folder()
    (path / "train/cat/inner").mkdir()
    (path / "train/cat/inner/again").symlink_to("../../cat", target_is_directory=True)
    (path / "train/dog/back").symlink_to("../dog", target_is_directory=True)
    (path / "train/cat/link").symlink_to(target, target_is_directory=True)
    (path / "train/all").symlink_to(".", target_is_directory=True)
    assert [name for name in names(path) if "dog" not in name] == FOUR[:4] or target == "../dog/back"
    assert len(names(path)) == len(FOUR) + (4 if target == "../dog/back" else 0)


def test_a_link_to_pictures_elsewhere_is_followed(make_folder, tmp_path):
    path = make_folder()
    shutil.move(path / "train/dog", path / "dogs")
    (path / "train/dog").symlink_to(path / "dogs", target_is_directory=True)
    assert names(path) == FOUR


def test_a_link_to_itself_is_a_file_that_cannot_be_read(make_folder):
    path = make_folder()
    (path / "train/cat/9.png").symlink_to("9.png")
    assert len(names(path)) == 9
    with pytest.raises(InputError, match=r"cannot read the image .*9\.png"):
        list(load_data("imagefolder", path, num_workers=0).train)


def test_a_folder_that_cannot_be_read_is_told_and_the_others_go_on(make_folder, monkeypatch):
    path, scandir, refused = str(make_folder() / "train"), os.scandir, []

    def refuse_dogs(folder):
        if Path(folder).name == "dog":
            raise PermissionError(13, "Permission denied", folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse_dogs)
    assert pictures_below(path, refused.append) == [f"{path}/{name}" for name in FOUR[:4]]
    assert [error.filename for error in refused] == [f"{path}/dog"]


def test_three_parts_are_three(make_folder):
    path = make_folder(parts=("train", "val", "test"))
    (path / "val/cat/0.png").unlink()
    data = load_data("imagefolder", path, num_workers=0)
    assert {name: part.num_samples for name, part in data.parts.items()} == {"train": 8, "val": 7, "test": 8}
    assert data.validation is data.val


@pytest.mark.parametrize("part", ["val", "test"])
def test_of_two_parts_the_other_is_the_test_part(make_folder, part):
    data = load_data("imagefolder", make_folder(parts=("train", part)), num_workers=0)
    assert list(data.parts) == ["train", "test"]
    assert data.validation is data.test


def test_a_test_folder_without_classes_is_left_out_beside_val(make_folder):
    path = make_folder()
    (path / "test").mkdir()
    shutil.copy(path / "val/cat/0.png", path / "test/0.png")
    data = load_data("imagefolder", path, num_workers=0)
    assert list(data.parts) == ["train", "test"]
    assert data.left_out == (str(path / "test") + "/",)


def test_the_classes_of_three_parts_must_be_the_same(make_folder):
    path = make_folder(parts=("train", "val", "test"))
    (path / "test/dog").rename(path / "test/wolf")
    with pytest.raises(InputError, match=r"classes of train/ and test/ must be the same, .* has dog, wolf$"):
        load_data("imagefolder", path)


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_a_part_is_opened_without_the_others(make_folder, part):
    one = load_part("imagefolder", make_folder(parts=(part,)), part, num_workers=0)
    assert (one.name, one.classes, one.input_shape) == (part, ("cat", "dog"), (3, 12, 12))
    assert sum(len(batch.labels) for batch in one.loader) == one.loader.num_samples == 8


def test_the_test_part_may_be_in_val(make_folder):
    assert load_part("imagefolder", make_folder(parts=("val",)), "test", num_workers=0).name == "val"


@pytest.mark.parametrize(("part", "others"), [("train", ("val",)), ("val", ("train", "test")), ("test", ("train",))])
def test_a_part_that_is_missing_is_named(make_folder, part, others):
    with pytest.raises(InputError, match=rf"^data_path='.*' has no folder .*{part}/"):
        load_part("imagefolder", make_folder(parts=others), part)


def test_a_part_that_a_set_does_not_have_is_named():
    with pytest.raises(InputError, match=r"^part='val' is not one of train, test"):
        load_part("digits", "", "val")


def test_the_limit_keeps_some_of_val_too(make_folder):
    path = make_folder(parts=("train", "val", "test"))
    data = load_data("imagefolder", path, num_workers=0, limit_test=3)
    assert {name: part.num_samples for name, part in data.parts.items()} == {"train": 8, "val": 3, "test": 3}


@pytest.mark.parametrize("augment", [False, True])
def test_training_pictures_are_fitted_as_asked(make_folder, augment):
    path = make_folder(parts=())
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (path / part / name).mkdir(parents=True)
            Image.new("RGB", (30, 10), (255, 255, 255)).save(path / part / name / "0.png")
    images = {}
    for fit in ("crop", "pad", "stretch"):
        data = load_data("imagefolder", path, resize=30, fit=fit, augment=augment, num_workers=0)
        images[fit] = next(iter(data.train)).inputs
    black = {fit: bool((one < 0).any()) for fit, one in images.items()}
    assert black == {"crop": False, "pad": True, "stretch": False}
