"""Processes that share batches, and epochs that start in the middle."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from convnn.data import Batch, LabelledData, load_data


def batches(data: LabelledData, part: str = "train", epoch: int = 2, first_step: int = 0) -> list[Batch]:
    loader = getattr(data, part)
    loader.set_epoch(epoch, first_step)
    return list(loader)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("count", [2, 3, 8])
def test_the_parts_of_a_batch_are_the_batch_to_the_bit(load, part, count):
    whole = batches(load(), part)
    parts = [batches(load(process_index=i, num_processes=count), part) for i in range(count)]
    assert len(load().train) == len(load(process_index=1, num_processes=2).train)
    for step, batch in enumerate(whole):
        together = Batch(*map(torch.cat, zip(*(mine[step] for mine in parts), strict=True)))
        assert all(map(torch.equal, together, batch))
        sizes = [len(mine[step].labels) for mine in parts]
        assert max(sizes) - min(sizes) <= 1


def test_resized_batches_are_shared_too_and_may_be_empty(load):
    whole = batches(load(resize=12))
    parts = [batches(load(resize=12, process_index=i, num_processes=5)) for i in range(5)]
    for step, batch in enumerate(whole):
        assert torch.equal(torch.cat([mine[step].inputs for mine in parts]), batch.inputs)
    assert any(len(mine[-1].labels) == 0 for mine in parts)


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("first_step", [0, 1, 2, 3])
def test_an_epoch_that_begins_later_has_the_rest_of_the_batches(load, part, first_step):
    whole, rest = batches(load(), part), batches(load(), part, first_step=first_step)
    assert len(rest) == len(whole) - first_step
    for one, other in zip(whole[first_step:], rest, strict=True):
        assert all(map(torch.equal, one, other))


@pytest.mark.slow
@pytest.mark.parametrize("examples", [20, pytest.param(60, marks=pytest.mark.long)])
def test_every_sample_goes_to_exactly_one_process(examples):
    @settings(max_examples=examples, deadline=None)
    @given(batch_size=st.integers(1, 40), count=st.integers(1, 9), samples=st.integers(1, 60))
    def check(batch_size, count, samples):
        seen = []
        for i in range(count):
            data = load_data("digits", batch_size=batch_size, limit_train=samples, process_index=i, num_processes=count)
            seen += [index for batch in batches(data) for index in batch.indices.tolist()]
        assert sorted(seen) == list(range(samples))

    check()
