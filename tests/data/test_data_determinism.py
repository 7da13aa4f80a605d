import pytest
import torch

from convnn.data import Batch, Loader, load_data
from convnn.data.epochs import LoaderSettings
from convnn.data.seeds import Draws
from convnn.data.tensors import TensorLoader


def read(loader: Loader, epoch: int = 0) -> Batch:
    """Return all batches of an epoch as one."""
    loader.set_epoch(epoch)
    return Batch(*map(torch.cat, zip(*loader, strict=True)))


def same(one: Batch, other: Batch) -> bool:
    return all(map(torch.equal, one, other))


def test_same_seed_and_epoch_give_the_same_batches(load):
    assert same(read(load().train, epoch=3), read(load().train, epoch=3))
    assert same(read(load().test), read(load().test))


def test_an_epoch_can_be_read_again_and_out_of_turn(load):
    train = load().train
    first = read(train, epoch=1)
    read(train, epoch=0)
    assert same(first, read(train, epoch=1))


def test_other_epochs_have_another_order_and_other_pixels(load):
    train = load(noise=0.0).train
    first, second = read(train, epoch=0), read(train, epoch=1)
    assert not torch.equal(first.indices, second.indices)
    assert not torch.equal(first.inputs[first.indices.argsort()], second.inputs[second.indices.argsort()])


def test_other_seeds_have_another_order(load):
    assert not torch.equal(read(load(seed=0).train).indices, read(load(seed=1).train).indices)


def test_every_sample_comes_exactly_once(load):
    data = load()
    for loader in (data.train, data.test):
        for epoch in (0, 1):
            assert torch.equal(read(loader, epoch).indices.sort().values, torch.arange(loader.num_samples))


def test_indices_point_at_the_same_sample_in_every_epoch(load):
    train = load(augment=False, noise=0.0).train
    first, second = read(train, epoch=0), read(train, epoch=1)
    assert torch.equal(first.inputs[first.indices.argsort()], second.inputs[second.indices.argsort()])
    assert torch.equal(first.labels[first.indices.argsort()], second.labels[second.indices.argsort()])


def test_the_last_smaller_batch_is_kept(load):
    train = load().train
    assert [len(batch.labels) for batch in train] == [7, 7, 3]
    assert len(train) == 3


def test_testing_is_in_order_and_the_same_in_every_epoch(load):
    test = load().test
    first, second = read(test, epoch=0), read(test, epoch=5)
    assert torch.equal(first.indices, torch.arange(test.num_samples))
    assert same(first, second)


def test_the_global_generator_is_neither_used_nor_moved(load):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = read(load().train)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert same(first, read(load().train))


def test_batches_hold_float32_and_int64(load):
    for loader in (load().train, load().test):
        batch = next(iter(loader))
        assert (batch.inputs.dtype, batch.labels.dtype, batch.indices.dtype) == (
            torch.float32,
            torch.int64,
            torch.int64,
        )


def test_noise_has_the_standard_deviation_asked_for(load):
    noisy, clean = load(noise=0.5, augment=False), load(noise=0.0, augment=False)
    for part in ("train", "test"):
        noise = read(getattr(noisy, part)).inputs - read(getattr(clean, part)).inputs
        assert noise.std().item() == pytest.approx(0.5, rel=0.1)
        assert noise.mean().item() == pytest.approx(0, abs=0.05)


def test_training_noise_differs_between_epochs_and_steps(load):
    noisy, clean = load(noise=0.5, augment=False, batch_size=5), load(noise=0.0, augment=False, batch_size=5)
    noise = [read(noisy.train, epoch).inputs - read(clean.train, epoch).inputs for epoch in (0, 1)]
    assert not torch.allclose(noise[0][:5], noise[1][:5], atol=1e-3)
    assert not torch.allclose(noise[0][:5], noise[0][5:10], atol=1e-3)


def test_augmentation_draws_anew_in_every_epoch_and_step():
    seeds = []

    def note_seed(images: torch.Tensor, draws: Draws) -> torch.Tensor:
        seeds.append(draws.generator.initial_seed())
        return images

    settings = LoaderSettings(mean=(0.5,), std=(0.5,), device=torch.device("cpu"), batch_size=2, shuffle=True)
    loader = TensorLoader(torch.zeros(6, 1, 4, 4, dtype=torch.uint8), torch.arange(6), settings, augment=note_seed)
    for epoch in (0, 1):
        read(loader, epoch)
    assert len(set(seeds)) == 6


def test_limits_keep_a_seeded_subset(load):
    limits = {"limit_train": 5, "limit_test": 6, "augment": False, "noise": 0.0}
    data = load(**limits)
    assert (data.train.num_samples, data.test.num_samples) == (5, 6)
    assert len(read(data.test).labels) == 6
    assert same(read(data.test), read(load(**limits).test))
    assert not torch.equal(read(data.test).inputs, read(load(**limits, seed=1).test).inputs)


def test_a_limit_above_the_size_keeps_everything(load):
    assert load(limit_test=10**6).test.num_samples == load().test.num_samples


def test_batches_do_not_depend_on_the_number_of_workers(make_folder):
    path = make_folder(per_class=6)
    arguments = {"batch_size": 5, "augment": True, "noise": 0.1}
    here = load_data("imagefolder", path, num_workers=0, **arguments)
    workers = load_data("imagefolder", path, num_workers=2, **arguments)
    assert same(read(here.train, epoch=2), read(workers.train, epoch=2))
    assert same(read(here.test), read(workers.test))
