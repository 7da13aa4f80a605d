"""How far a result may be from the definition."""

import pytest
import torch

from convnn.bench.agreement import difference, expected, far, is_close, same_bits, trial_seeds
from convnn.errors import InputError

X = torch.randn(40, 30, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_an_honest_sum_in_another_order_agrees_at_any_scale() -> None:
    for scale in (1e-20, 1e-7, 1.0, 1e12):
        x = (scale * X).float()
        want = expected(x.double().sum(1), x.sum(1))
        assert far(want, x.flip(1).sum(1)) is None
        assert far(want, x.half().float().sum(1)) is not None
        assert far(want, torch.zeros(40)) is not None


def test_infinite_and_missing_numbers_must_be_where_they_are() -> None:
    exact = torch.tensor([1.0, torch.inf, torch.nan, -torch.inf], dtype=torch.float64)
    want = expected(exact, exact.float())
    assert far(want, exact.float()) is None
    for place, wrong in ((0, torch.nan), (1, 1.0), (1, -torch.inf), (2, 0.0), (3, torch.nan)):
        found = exact.float()
        found[place] = wrong
        assert far(want, found) == torch.inf


def test_what_overflows_in_its_type_may_overflow() -> None:
    exact = torch.tensor([1e30, 1.0], dtype=torch.float64)
    want = expected(exact, exact.half())
    assert far(want, torch.tensor([torch.inf, 1.0], dtype=torch.float16)) is None
    assert far(want, torch.tensor([0.0, 1.0], dtype=torch.float16)) is not None


def test_whole_numbers_must_be_equal() -> None:
    want = expected(torch.tensor([3, 4]), torch.tensor([3, 4]))
    assert far(want, torch.tensor([3, 4])) is None
    assert far(want, torch.tensor([3, 5])) == 1


def test_where_terms_cancel_inputs_nearby_decide() -> None:
    x = torch.tensor([1.0, -1.0, 1e-7], dtype=torch.float64)
    exact, rounded = x.sum()[None], x.sum()[None].float()
    found = rounded + 1e-7
    assert far(expected(exact, rounded), found) is not None
    nearby = (x * (1 + 2**-24 * torch.tensor([1.0, -1.0, 1.0]))).sum()[None]
    assert far(expected(exact, rounded, nearby), found) is None


def test_the_published_rule_is_scaled_by_one_of_the_two() -> None:
    reference, candidate = torch.tensor([0.0]), torch.tensor([1.0])
    assert is_close(reference, candidate, 0.5)
    assert not is_close(reference, candidate, 0.5, scaled_by="reference")
    assert not is_close(torch.tensor([torch.nan]), torch.tensor([torch.nan]), 1.0)
    assert difference(reference, candidate) == (1.0, 1.0)
    with pytest.raises(InputError, match="scaled_by"):
        is_close(reference, candidate, 0.5, scaled_by="both")


def test_bits_tell_zeros_apart() -> None:
    assert same_bits(torch.tensor([torch.nan, 1.0]), torch.tensor([torch.nan, 1.0]))
    assert not same_bits(torch.tensor(0.0), torch.tensor(-0.0))
    assert not same_bits(torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    assert same_bits(X.mT, X.mT.contiguous())


def test_trials_have_the_published_seeds() -> None:
    torch.manual_seed(42)
    assert trial_seeds(3) == [int(torch.randint(0, 2**32 - 1, (1,))) for _ in range(3)]
    with pytest.raises(InputError, match="trials=0"):
        trial_seeds(0)
