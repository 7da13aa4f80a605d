import pytest
import torch

from convnn.data import load_data


def test_digits_are_split_the_same_way_for_every_seed():
    first, second = load_data("digits", seed=0), load_data("digits", seed=1)
    assert (first.train.num_samples, first.test.num_samples) == (1437, 360)
    one, other = (torch.cat([batch.inputs for batch in data.test]) for data in (first, second))
    assert torch.equal(one, other)


def test_digits_are_split_evenly_over_the_classes():
    labels = torch.cat([batch.labels for batch in load_data("digits").test])
    counts = labels.bincount(minlength=10)
    assert counts.min() >= 34
    assert counts.max() <= 38


def test_training_digits_have_mean_zero_and_standard_deviation_one():
    data = load_data("digits")
    images = torch.cat([batch.inputs for batch in data.train])
    assert data.input_shape == (1, 8, 8)
    assert data.classes == tuple("0123456789")
    assert images.mean().item() == pytest.approx(0, abs=1e-4)
    assert images.std().item() == pytest.approx(1, abs=1e-4)
    assert 0.25 < data.mean[0] < 0.4


def test_digits_are_never_mirrored():
    plain, augmented = load_data("digits", batch_size=2000), load_data("digits", batch_size=2000, augment=True)
    before, after = next(iter(plain.train)).inputs, next(iter(augmented.train)).inputs
    assert not torch.equal(before, after)
    # A crop that did not move shows whether it mirrored; one in nine does not.
    unmoved = (before == after).flatten(1).all(1).float().mean().item()
    assert unmoved == pytest.approx(1 / 9, abs=0.03)


def test_digits_can_be_resized():
    data = load_data("digits", resize=16)
    assert data.input_shape == (1, 16, 16)
    assert next(iter(data.train)).inputs.shape == (256, 1, 16, 16)
