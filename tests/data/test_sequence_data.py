"""Sequences: images pixel by pixel, the adding problem, and waveforms sampled at irregular times."""

from pathlib import Path

import pytest
import torch

from convnn.data import LabelledData, load_data, load_part
from convnn.errors import InputError
from data.test_data_cifar import cifar, cifar10  # noqa: F401 (a fixture)


def _all(part: object) -> tuple[torch.Tensor, torch.Tensor]:
    batches = list(part)
    return torch.cat([batch.inputs for batch in batches]), torch.cat([batch.labels for batch in batches])


@pytest.fixture(scope="module")
def digits() -> torch.Tensor:
    return _all(load_data("digits").test)[0]


def test_digits_are_those_of_the_images_row_by_row(digits: torch.Tensor) -> None:
    data = load_data("sequential_digits")
    values, labels = _all(data.test)
    assert torch.equal(values, digits.reshape(360, 1, 64))
    assert torch.equal(labels, _all(load_data("digits").test)[1])
    assert (data.input_shape, data.kind, data.num_classes) == ((1, 64), "sequence", 10)


def test_a_permutation_is_one_of_all_pixels_and_that_of_its_seed(digits: torch.Tensor) -> None:
    first, again, other = (_all(load_data("sequential_digits", permuted=seed).test)[0] for seed in (5, 5, 6))
    raster = digits.flatten(2)
    assert torch.equal(first, again)
    assert torch.equal(first.sort(-1).values, raster.sort(-1).values)
    assert not torch.equal(first, raster)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("step", [2, 3, 64, 100])
def test_every_nth_sample_is_kept_from_the_first_on(step: int, digits: torch.Tensor) -> None:
    data = load_data("sequential_digits", subsample=step)
    assert torch.equal(_all(data.test)[0], digits.flatten(2)[..., ::step])
    assert data.input_shape == (1, -(-64 // step))


@pytest.mark.parametrize("step", [1, 2, 5, 64])
def test_samples_are_means_of_their_neighbours(step: int, digits: torch.Tensor) -> None:
    data = load_data("sequential_digits", average=step)
    expected = torch.nn.functional.avg_pool1d(digits.flatten(2), step)
    torch.testing.assert_close(_all(data.test)[0], expected)
    assert data.input_shape == (1, 64 // step)


def test_images_are_resized_augmented_and_made_noisy_before_they_become_sequences() -> None:
    given = {"resize": 4, "augment": True, "noise": 0.1, "seed": 3, "batch_size": 50}
    image = next(iter(load_data("digits", **given).train)).inputs
    sequence = next(iter(load_data("sequential_digits", **given).train)).inputs
    assert torch.equal(sequence, image.reshape(50, 1, 16))


@cifar10
def test_cifar_has_three_channels_and_1024_samples(cifar: str, tmp_path: Path) -> None:  # noqa: F811
    image = next(iter(load_data(cifar, tmp_path).test)).inputs
    data = load_data("sequential_cifar10", tmp_path)
    assert torch.equal(next(iter(data.test)).inputs, image.flatten(2))
    assert data.input_shape == (3, 1024)
    assert data.mean == (0.4914, 0.4822, 0.4465)


def test_the_sum_of_the_two_marked_numbers_is_to_be_found() -> None:
    data = load_data("adding", length=20, limit_train=300)
    values, labels = _all(data.train)
    assert (data.input_shape, data.task, data.classes) == ((2, 20), "regression", ("sum",))
    assert values.shape == (300, 2, 20)
    for (numbers, marks), label in zip(values, labels, strict=True):
        first, second = marks.nonzero().flatten().tolist()
        assert first < 10 <= second
        assert label.item() == pytest.approx((numbers[first] + numbers[second]).item())
    assert 0 <= values.min() <= values.max() < 1 + 1e-6


def test_waveforms_lack_a_share_of_their_samples_and_say_when_the_others_were_taken() -> None:
    values, labels = _all(load_data("waveforms", length=50, missing=0.4).test)
    signals, times = values.unbind(1)
    assert values.shape == (500, 2, 30)
    assert (times.diff(dim=1) > 0).all()
    assert 0 <= times.min() <= times.max() < 1
    torch.testing.assert_close(times * 50, (times * 50).round())
    assert labels.unique().tolist() == [0, 1, 2, 3]
    assert signals[labels == 1].abs().mean().item() == pytest.approx(1, abs=0.02)  # the square is 1 or -1


def test_waveforms_are_periodic_as_their_names_say() -> None:
    """Without missing samples, spectrum and slopes of the classes are those of the shapes."""
    values, labels = _all(load_data("waveforms", length=256, missing=0.0).test)
    sine, triangle, sawtooth = (values[labels == label, 0] for label in (0, 2, 3))
    assert sine.square().mean().item() == pytest.approx(1 / 2 + 0.01, abs=0.03)
    assert triangle.square().mean().item() == pytest.approx(1 / 3 + 0.01, abs=0.03)
    assert (sawtooth.diff(dim=1) > -1.4).float().mean() > 0.97  # it falls once a period, by 2


def test_parts_differ_and_are_the_same_whenever_they_are_made() -> None:
    for name in ("adding", "waveforms"):
        first, again = load_data(name, seed=1), load_data(name, seed=2)
        assert torch.equal(_all(first.test)[0], _all(again.test)[0])
        assert not torch.equal(_all(first.test)[0][:100], next(iter(first.train)).inputs[:100])


def test_one_part_alone() -> None:
    part = load_part("waveforms", "", "test", subsample=3, limit_test=7)
    assert (part.input_shape, part.loader.num_samples) == ((2, 30), 7)


def test_processes_share_the_batches_of_a_single_one() -> None:
    def batches(**given: int) -> list[torch.Tensor]:
        data: LabelledData = load_data("waveforms", batch_size=7, limit_train=20, **given)
        return [batch.inputs for batch in data.train]

    shares = [batches(process_index=i, num_processes=3) for i in range(3)]
    for whole, *parts in zip(batches(), *shares, strict=True):
        assert torch.equal(whole, torch.cat(parts))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"dataset": "digits", "permuted": 0},
            "permuted=0 is for sequential_digits, .*; dataset='digits'",
        ),
        ({"dataset": "adding", "subsample": 2}, "subsample=2 is for .*; dataset='adding' does not read it"),
        ({"dataset": "adding", "missing": 0.1}, "missing=0.1 is for waveforms; dataset='adding' does not read it"),
        (
            {"dataset": "sequential_digits", "length": 9},
            "length=9 is for adding, waveforms, clouds, ply; dataset='seq",
        ),
        (
            {"dataset": "adding", "noise": 0.1},
            "noise=0.1 changes images; dataset='adding' has signals, so leave",
        ),
        ({"dataset": "waveforms", "resize": 8}, "resize=8 changes images; dataset='waveforms' has signals"),
        ({"dataset": "waveforms", "augment": True}, "augment=True changes images; dataset='waveforms' has signals"),
        ({"dataset": "waveforms", "missing": 1.0}, "missing=1.0 leaves none of length=128 samples; lower it"),
        ({"dataset": "waveforms", "missing": -0.1}, "missing=-0.1 must lie between 0 and 1"),
        ({"dataset": "waveforms", "missing": float("nan")}, "missing=nan must lie between 0 and 1"),
        ({"dataset": "adding", "length": 1}, "length=1 must be an integer of at least 2"),
        (
            {"dataset": "sequential_digits", "subsample": 2, "average": 2},
            "subsample=2 and average=2 both lower the sampling rate; give one of them",
        ),
        ({"dataset": "sequential_digits", "average": 65}, "average=65 is more than the 64 samples of a sequence"),
        ({"dataset": "waveforms", "average": 2}, "average=2 is for .*; dataset='waveforms' does not read it"),
        ({"dataset": "sequential_digits", "subsample": 0}, "subsample=0 must be an integer of at least 1"),
        ({"dataset": "sequential_digits", "permuted": -1}, "permuted=-1 must be an integer of at least 0"),
    ],
)
def test_arguments_that_a_data_set_cannot_use_are_refused(given: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"^{message}"):
        load_data(**given)
