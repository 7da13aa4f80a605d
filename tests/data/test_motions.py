"""Pairs of images under a known motion: it is exact, and a function of the drawing, the epoch and the place."""

import pytest
import torch
from torch import Tensor

from convnn.data import load_data, motions
from convnn.data.motions import make_motion
from convnn.data.seeds import make_generator
from convnn.errors import InputError
from convnn.nn.matches.batch import ImagePairs


def batches(part: str = "train", epoch: int = 1, **arguments: object) -> list[ImagePairs]:
    data = load_data("motions", resize=16, batch_size=4, limit_train=8, limit_test=6, **arguments)
    loader = data.parts[part]
    loader.set_epoch(epoch)
    return [batch.inputs for batch in loader]


def test_the_flow_leads_to_the_same_place_of_the_canvas(monkeypatch: pytest.MonkeyPatch) -> None:
    def ramp(side: int, *_: object) -> Tensor:  # which cubic convolution reproduces to a tenth
        line = torch.arange(side + side // 2).float()
        return (0.5 * line + 0.8 * line.unsqueeze(1)).expand(1, 3, -1, -1)

    for name, value in {"_photograph": ramp, "_texture": ramp, "NOISE": 0.0, "GAIN": 0.0}.items():
        monkeypatch.setattr(motions, name, value)
    pair = make_motion(64, torch.Generator().manual_seed(1))
    change = 0.5 * pair.flow[:, 0] + 0.8 * pair.flow[:, 1]
    torch.testing.assert_close((pair.first - pair.second)[:, 0], change, atol=0.1, rtol=0)
    assert pair.flow.abs().max() > 2
    assert (pair.flow % 1).std() > 0.1  # it is no whole number


def test_pixels_that_leave_the_image_are_not_known() -> None:
    pair = make_motion(32, torch.Generator().manual_seed(0))
    row, column = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    x, y = pair.flow[0, 0] + column, pair.flow[0, 1] + row
    inside = (x >= -0.5) & (x <= 31.5) & (y >= -0.5) & (y <= 31.5)
    assert torch.equal(pair.known[0], inside)
    assert 0.5 < inside.double().mean() < 1


def test_each_image_has_noise_and_colours() -> None:
    pairs = [make_motion(32, torch.Generator().manual_seed(seed)) for seed in range(6)]
    assert all(0 <= one.first.min() and one.second.max() <= 255 for one in pairs)
    assert all(one.first.std() > 5 for one in pairs)


def test_training_has_new_motions_in_every_epoch_and_tests_have_not() -> None:
    first, second, again = batches(epoch=1), batches(epoch=2), batches(epoch=1)
    assert all(torch.equal(a.flow, b.flow) and torch.equal(a.first, b.first) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0].flow, second[0].flow)
    assert torch.equal(batches("test", 1)[0].first, batches("test", 2)[0].first)
    assert not torch.equal(batches("test")[0].first, batches("test", split=1)[0].first)
    assert [len(one.flow) for one in batches("test")] == [4, 2]


def test_processes_share_the_pairs() -> None:
    whole = batches(epoch=3)
    shares = [batches(epoch=3, process_index=index, num_processes=3) for index in range(3)]
    for step, one in enumerate(whole):
        assert torch.equal(one.second, torch.cat([share[step].second for share in shares]))


def test_parts_show_different_pieces_of_the_photographs() -> None:
    widths = [torch.tensor(motions.PHOTOGRAPHS[part]) for part in ("train", "test")]
    assert widths[0][1] <= widths[1][0]
    train, test = (motions._photograph(32, make_generator("x"), part) for part in ("train", "test"))
    assert train.shape == test.shape == (1, 3, 48, 48)
    assert not torch.equal(train, test)


def test_what_the_data_set_says() -> None:
    data = load_data("motions")
    assert (data.task, data.kind, data.input_shape) == ("modelling", "pair", (3, 64, 64))
    assert (data.train.num_samples, data.test.num_samples) == (400, 100)


@pytest.mark.parametrize(("name", "value"), [("augment", True), ("noise", 0.1)])
def test_arguments_of_other_images(name: str, value: object) -> None:
    with pytest.raises(InputError, match=f"{name}={value} changes images; dataset='motions' has image pairs"):
        load_data("motions", **{name: value})
