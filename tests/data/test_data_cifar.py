import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from convnn.data import denormalise, load_data
from convnn.data.images import channel_values
from convnn.errors import InputError

PER_FILE = 6
KINDS = {"cifar10": (CIFAR10, "labels", 10), "cifar100": (CIFAR100, "fine_labels", 100)}
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}


def write_pickle(path: Path, content: object) -> str:
    """Write the file and return its MD5 sum."""
    path.write_bytes(pickle.dumps(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def cifar(request, tmp_path, monkeypatch):
    """Write a tiny CIFAR in the official layout, patch torchvision's MD5 sums, and return the name of the data set."""
    name = request.param
    kind, label_key, num_classes = KINDS[name]
    folder = tmp_path / kind.base_folder
    folder.mkdir()
    random = np.random.default_rng(0)

    def write_part(file: str) -> list[str]:
        data = random.integers(0, 256, (PER_FILE, 3072), dtype=np.uint8)
        labels = random.integers(0, num_classes, PER_FILE).tolist()
        return [file, write_pickle(folder / file, {"data": data, label_key: labels})]

    for files in ("train_list", "test_list"):
        monkeypatch.setattr(kind, files, [write_part(file) for file, _ in getattr(kind, files)])
    names = {kind.meta["key"]: [f"class {number}" for number in range(num_classes)]}
    md5 = write_pickle(folder / kind.meta["filename"], names)
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": md5})
    return name


def refuse(*_, **__):
    pytest.fail("downloaded")


both = pytest.mark.parametrize("cifar", list(KINDS), indirect=True)
cifar10 = pytest.mark.parametrize("cifar", ["cifar10"], indirect=True)


@both
def test_the_official_layout_is_read(cifar, tmp_path):
    kind, label_key, num_classes = KINDS[cifar]
    data = load_data(cifar, tmp_path)
    assert data.name == cifar
    assert (data.input_shape, data.num_classes, data.classes[1]) == ((3, 32, 32), num_classes, "class 1")
    assert data.train.num_samples == PER_FILE * len(kind.train_list)
    batch = next(iter(data.test))
    stored = pickle.loads((tmp_path / kind.base_folder / kind.test_list[0][0]).read_bytes())
    assert batch.labels.tolist() == stored[label_key]
    pixels = torch.from_numpy(stored["data"]).view(-1, 3, 32, 32)
    mean, std = STATISTICS[cifar]
    torch.testing.assert_close(batch.inputs, (pixels / 255 - channel_values(mean)) / channel_values(std))
    assert torch.equal((denormalise(batch.inputs, data.mean, data.std) * 255).round().byte(), pixels)


@cifar10
def test_resizing_changes_the_shape_and_keeps_the_colours(cifar, tmp_path):
    data, resized = load_data(cifar, tmp_path), load_data(cifar, tmp_path, resize=8)
    assert resized.input_shape == (3, 8, 8)
    small, large = next(iter(resized.test)).inputs, next(iter(data.test)).inputs
    assert small.shape == (PER_FILE, 3, 8, 8)
    torch.testing.assert_close(small.mean((2, 3)), large.mean((2, 3)), atol=0.05, rtol=0)
    # Antialiasing averages white noise over 4x4 pixels and more; plain bilinear weights of 2x2 would halve its spread.
    assert small.std() < 0.35 * large.std()


@cifar10
def test_augmentation_changes_training_images_only(cifar, tmp_path):
    plain, augmented = load_data(cifar, tmp_path), load_data(cifar, tmp_path, augment=True)
    assert not torch.equal(next(iter(plain.train)).inputs, next(iter(augmented.train)).inputs)
    assert torch.equal(next(iter(plain.test)).inputs, next(iter(augmented.test)).inputs)


@cifar10
@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_changed_file_is_never_unpickled(cifar, tmp_path, file, monkeypatch):
    (tmp_path / "cifar-10-batches-py" / file).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    loaded = []
    unpickle = pickle.load
    monkeypatch.setattr(pickle, "load", lambda source, **options: loaded.append(source.name) or unpickle(source))
    with pytest.raises(InputError, match=r"^data_path='.*' holds no intact copy of CIFAR10 in cifar-10-batches-py/"):
        load_data(cifar, tmp_path)
    assert not [name for name in loaded if name.endswith(file)]


def test_absent_files_are_never_downloaded_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "download", refuse)
    with pytest.raises(InputError, match=r"holds no intact copy of CIFAR10 .*pass download=True, or unpack https://"):
        load_data("cifar10", tmp_path)


def test_a_missing_data_path_advises_to_download(tmp_path):
    with pytest.raises(InputError, match=r"^data_path='.*nowhere' is not an existing folder; .*download=True"):
        load_data("cifar100", tmp_path / "nowhere")


@cifar10
def test_download_leaves_an_intact_copy_alone(cifar, tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", refuse)
    assert load_data(cifar, tmp_path, download=True).test.num_samples == PER_FILE


@pytest.mark.parametrize("error", [OSError("no network"), RuntimeError("File not found or corrupted."), EOFError()])
def test_a_failed_download_is_one_sentence(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fail)
    with pytest.raises(InputError, match=r"^download=True cannot fetch CIFAR10 into data_path=.* by hand$") as caught:
        load_data("cifar10", tmp_path / "new", download=True)
    assert "\n" not in str(caught.value)
