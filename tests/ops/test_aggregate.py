"""The learned kernel over the ordered neighbours, against plain sums."""

import itertools

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.ops import Neighbors, aggregate


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _neighbors(batch: int, queries: int, K: int, length: int, scored: bool) -> Neighbors:
    generator = torch.Generator().manual_seed(1)
    indices = torch.randint(length, (batch, queries, K), generator=generator)
    return Neighbors(indices, _random(batch, queries, K, seed=2) if scored else None)


def _slow(values: Tensor, neighbors: Neighbors, weight: Tensor, bias: Tensor | None, groups: int) -> Tensor:
    batch, queries, K = neighbors.indices.shape
    outputs, width = weight.shape[:2]
    out = values.new_zeros(batch, queries, outputs)
    for b, i, o in itertools.product(range(batch), range(queries), range(outputs)):
        first_channel = o // (outputs // groups) * width
        total = 0.0 if bias is None else bias[o].item()
        for c, k in itertools.product(range(width), range(K)):
            score = 1.0 if neighbors.scores is None else neighbors.scores[b, i, k].item()
            value = values[b, neighbors.indices[b, i, k], first_channel + c].item()
            total += weight[o, c, k].item() * score * value
        out[b, i, o] = total
    return out


@pytest.mark.parametrize("scored", [False, True], ids=["plain", "scored"])
@pytest.mark.parametrize("with_bias", [False, True], ids=["no-bias", "bias"])
@pytest.mark.parametrize(("channels", "outputs", "groups"), [(1, 1, 1), (4, 3, 1), (4, 6, 2), (4, 4, 4), (3, 6, 3)])
@pytest.mark.parametrize("K", [1, 3, 7])
def test_convolve_equals_sums(K: int, channels: int, outputs: int, groups: int, with_bias: bool, scored: bool) -> None:
    values, neighbors = _random(2, 5, channels), _neighbors(2, 3, K, 5, scored)
    weight = _random(outputs, channels // groups, K, seed=3)
    bias = _random(outputs, seed=4) if with_bias else None
    out = aggregate.convolve(values, neighbors, weight, bias, groups=groups)
    torch.testing.assert_close(out, _slow(values, neighbors, weight, bias, groups), rtol=0, atol=1e-12)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("scored", [False, True], ids=["plain", "scored"])
def test_gradients(scored: bool, groups: int) -> None:
    values, weight = _random(2, 4, 2).requires_grad_(), _random(4, 2 // groups, 3, seed=3).requires_grad_()
    bias, (indices, scores, _) = _random(4, seed=4).requires_grad_(), _neighbors(2, 3, 3, 4, scored)
    inputs = [values, weight, bias, *([scores.requires_grad_()] if scored else [])]

    def convolve(values: Tensor, weight: Tensor, bias: Tensor, *scores: Tensor) -> Tensor:
        return aggregate.convolve(values, Neighbors(indices, *scores), weight, bias, groups=groups)

    assert torch.autograd.gradcheck(convolve, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(convolve, inputs, fast_mode=True)


def test_a_window_in_raster_order_is_a_convolution() -> None:
    x, weight = _random(2, 3, 11), _random(4, 3, 5, seed=1)
    windows = (torch.arange(7)[:, None] + torch.arange(5)).expand(2, -1, -1)
    out = aggregate.convolve(x.transpose(1, 2), Neighbors(windows), weight).transpose(1, 2)
    torch.testing.assert_close(out, torch.nn.functional.conv1d(x, weight))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_output_keeps_the_type_of_the_values(dtype: torch.dtype) -> None:
    values, weight, bias = _random(1, 5, 2).to(dtype), _random(2, 2, 3).to(dtype), _random(2).to(dtype)
    neighbors = _neighbors(1, 4, 3, 5, scored=True)
    out = aggregate.convolve(values, neighbors._replace(scores=neighbors.scores.float()), weight, bias)
    assert out.dtype == dtype
    exact = _slow(values.double(), neighbors, weight.double(), bias.double(), 1)
    torch.testing.assert_close(out.double(), exact, rtol=0.05, atol=0.05)


def test_autocast_computes_in_its_own_type() -> None:
    values, weight, bias = _random(1, 5, 2).float(), _random(2, 2, 3).float(), _random(2).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = aggregate.convolve(values, _neighbors(1, 4, 3, 5, scored=False), weight, bias)
    assert out.dtype == torch.bfloat16


@pytest.mark.parametrize("batch", [0, 2])
def test_empty_batches_and_lists(batch: int) -> None:
    values, weight = torch.zeros(batch, 5, 2), torch.zeros(3, 2, 4)
    queries = 0 if batch else 6
    indices = torch.zeros(batch, queries, 4, dtype=torch.long)
    assert aggregate.convolve(values, Neighbors(indices), weight).shape == (batch, queries, 3)


@pytest.mark.parametrize(
    ("values", "weight", "groups", "message"),
    [
        ((2, 5, 4), (3, 4, 2), 1, r"weight of shape \(3, 4, 2\) must be \(C_out, 4, 3\) for 4 channels, 3 neighbours"),
        ((2, 5, 4), (3, 5, 3), 1, r"weight of shape \(3, 5, 3\) must be \(C_out, 4, 3\)"),
        ((2, 5, 4), (4, 4, 3), 2, r"weight of shape \(4, 4, 3\) must be \(C_out, 2, 3\) .* groups=2"),
        ((2, 5, 4), (3, 2, 3), 2, r"groups=2 must divide the 4 input and 3 output channels"),
        ((2, 5, 4), (6, 1, 3), 3, r"groups=3 must divide the 4 input and 6 output channels"),
        ((2, 5, 4), (4, 4, 3), 0, r"groups=0 must divide"),
        ((5, 4), (4, 4, 3), 1, r"values of shape \(5, 4\) and torch.float32 must be floating and \(B, T, C\)"),
    ],
    ids=["K", "channels", "group-width", "outputs", "inputs", "no-group", "axes"],
)
def test_errors(values: tuple[int, ...], weight: tuple[int, ...], groups: int, message: str) -> None:
    neighbors = Neighbors(torch.zeros(2, 6, 3, dtype=torch.long))
    with pytest.raises(ValueError, match=message) as error:
        aggregate.convolve(torch.zeros(values), neighbors, torch.zeros(weight), groups=groups)
    assert isinstance(error.value, InputError)


def test_gathered_rows_are_those_of_the_neighbours() -> None:
    values, indices = torch.randn(2, 7, 3, requires_grad=True), torch.randint(7, (2, 5, 4))
    rows = aggregate.gather(values, Neighbors(indices))
    for image, query, k in itertools.product(range(2), range(5), range(4)):
        assert torch.equal(rows[image, query, k], values[image, indices[image, query, k]])
    rows.sum().backward()
    counts = torch.stack([one.flatten().bincount(minlength=7) for one in indices])
    assert torch.equal(values.grad, counts[..., None].expand(-1, -1, 3).float())
    with pytest.raises(InputError, match=r"neighbors\.indices of shape"):
        aggregate.gather(values, Neighbors(indices[:1]))
