import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convnn.data import load_data, load_image
from convnn.errors import InputError

JPEG_ARCHIVE = Path(__file__).parents[2] / "../shared/data/cifar10-jpeg.zip"


def read_all(loader) -> None:
    for _ in loader:
        pass


def test_labels_follow_the_sorted_class_folders(make_folder):
    data = load_data("imagefolder", make_folder(classes=("dog", "cat")), num_workers=0)
    assert data.classes == ("cat", "dog")
    assert next(iter(data.test)).labels.tolist() == [0] * 4 + [1] * 4


@pytest.mark.parametrize("test_part", ["val", "test"])
def test_either_name_of_the_test_folder_is_read(make_folder, test_part):
    data = load_data("imagefolder", make_folder(parts=("train", test_part)), num_workers=0)
    assert data.test.num_samples == 8


def test_images_are_normalised_with_the_statistics_of_imagenet(make_folder):
    path = make_folder()
    data = load_data("imagefolder", path, num_workers=0)
    assert (data.mean, data.std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    pixels = torch.from_numpy(np.array(Image.open(path / "val/cat/0.png"))).permute(2, 0, 1)
    image = next(iter(data.test)).inputs[0]
    restored = image * torch.tensor(data.std).view(3, 1, 1) + torch.tensor(data.mean).view(3, 1, 1)
    torch.testing.assert_close(restored * 255, pixels.float())


def test_without_resize_the_first_training_image_gives_the_size(make_folder):
    data = load_data("imagefolder", make_folder(width=14, height=10), augment=True, num_workers=0)
    assert data.input_shape == (3, 10, 14)
    for loader in (data.train, data.test):
        assert next(iter(loader)).inputs.shape == (8, 3, 10, 14)


@pytest.mark.parametrize("augment", [False, True])
@pytest.mark.parametrize(("resize", "side"), [(None, 224), (16, 16)])
def test_imagenet_is_224_pixels_wide_unless_resized(make_folder, augment, resize, side):
    path = make_folder(per_class=1, width=20, height=30)
    data = load_data("imagenet", path, resize=resize, augment=augment, num_workers=0)
    assert data.input_shape == (3, side, side)
    for loader in (data.train, data.test):
        assert next(iter(loader)).inputs.shape == (2, 3, side, side)


def test_a_streamed_test_image_is_what_load_image_reads(make_folder):
    path = make_folder(width=20, height=30)
    data = load_data("imagefolder", path, resize=16, num_workers=0)
    image = load_image(path / "val/cat/0.png", data.input_shape, data.mean, data.std)
    assert torch.equal(next(iter(data.test)).inputs[:1], image)


def test_augmentation_changes_training_images_only(make_folder):
    path = make_folder()
    plain, augmented = (load_data("imagefolder", path, augment=augment, num_workers=0) for augment in (False, True))
    assert not torch.equal(next(iter(plain.train)).inputs, next(iter(augmented.train)).inputs)
    assert torch.equal(next(iter(plain.test)).inputs, next(iter(augmented.test)).inputs)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_an_image_of_another_size_is_named(make_folder, num_workers):
    path = make_folder()
    Image.new("RGB", (9, 5)).save(path / "val/dog/2.png")
    data = load_data("imagefolder", path, num_workers=num_workers)
    message = r"^the image .*dog.2\.png is 9x5 pixels, but the first training image is 12x12; set resize .*$"
    with pytest.raises(InputError, match=message):
        read_all(data.test)
    read_all(load_data("imagefolder", path, resize=8, num_workers=0).test)


def truncated_jpeg(path: Path) -> bytes:
    Image.effect_noise((64, 64), 50).save(path)
    return path.read_bytes()[:900]


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("content", ["empty", "truncated", "text"])
def test_a_broken_image_is_named_in_one_line(make_folder, content, num_workers):
    path = make_folder()
    broken = path / "train/dog/broken.jpg"
    broken.write_bytes({"empty": b"", "truncated": truncated_jpeg(broken), "text": b"hello"}[content])
    data = load_data("imagefolder", path, batch_size=2, num_workers=num_workers)
    with pytest.raises(InputError, match=r"^cannot read the image .*broken\.jpg: it is broken or not a picture$"):
        read_all(data.train)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loading_goes_on_after_a_broken_image_was_mended(make_folder, num_workers):
    path = make_folder()
    (path / "val/dog/1.png").write_bytes(b"")
    data = load_data("imagefolder", path, num_workers=num_workers)
    with pytest.raises(InputError):
        read_all(data.test)
    shutil.copy(path / "val/dog/0.png", path / "val/dog/1.png")
    assert len(next(iter(data.test)).labels) == 8


def test_a_broken_first_image_is_named_when_the_size_is_asked_of_it(make_folder):
    path = make_folder()
    (path / "train/cat/0.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"cannot read the image .*cat.0\.png"):
        load_data("imagefolder", path)


@pytest.mark.parametrize("dataset", ["imagefolder", "imagenet"])
def test_a_missing_data_path_is_named(tmp_path, dataset):
    with pytest.raises(InputError, match=r"^data_path='.*nowhere' is not an existing folder; .*train/ and val/"):
        load_data(dataset, tmp_path / "nowhere")


def test_a_missing_train_folder_is_named(make_folder):
    with pytest.raises(InputError, match=r"^data_path='.*' has no folder train/; images belong in train/"):
        load_data("imagefolder", make_folder(parts=("val",)))


def test_a_missing_test_folder_is_named(make_folder):
    with pytest.raises(InputError, match=r"^data_path='.*' has no folder val/ or test/; images belong in train/"):
        load_data("imagefolder", make_folder(parts=("train",)))


def test_an_empty_class_folder_is_named(make_folder):
    path = make_folder()
    (path / "train/fish").mkdir()
    with pytest.raises(InputError, match=r"^data_path='.*': train/ has no picture of the classes fish$"):
        load_data("imagefolder", path)


def test_a_folder_without_classes_is_named(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "val").mkdir()
    with pytest.raises(
        InputError, match=r"^data_path='.*': train/ has no class folders; pictures belong in train/<class>/$"
    ):
        load_data("imagefolder", tmp_path)


def test_different_classes_are_named(make_folder):
    path = make_folder()
    (path / "val/dog").rename(path / "val/wolf")
    with pytest.raises(InputError, match=r"classes of train/ and val/ must be the same, .* has dog, wolf$"):
        load_data("imagefolder", path)


def test_more_workers_than_cores_raise_no_warning(make_folder):
    data = load_data("imagefolder", make_folder(), num_workers=999)
    assert len(next(iter(data.test)).labels) == 8


@pytest.mark.slow
@pytest.mark.skipif(not JPEG_ARCHIVE.exists(), reason="the JPEG copy of CIFAR-10 is not here")
def test_real_jpeg_files_stream(tmp_path):
    with zipfile.ZipFile(JPEG_ARCHIVE) as archive:
        names = [name for name in archive.namelist() if name.endswith(("0000.jpg", "0001.jpg"))]
        archive.extractall(tmp_path, names)
    data = load_data("imagefolder", tmp_path, batch_size=6, augment=True, num_workers=2)
    assert (data.input_shape, data.num_classes) == ((3, 32, 32), 10)
    assert sum(len(batch.labels) for batch in data.train) == data.train.num_samples == 20
    assert torch.cat([batch.labels for batch in data.test]).tolist() == sorted(2 * list(range(10)))
