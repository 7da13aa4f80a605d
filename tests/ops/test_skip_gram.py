"""A pass of skip-gram: plain loops, the gradient of the loss, and groups of pairs in any order."""

import math

import pytest
import torch
from torch import Tensor

from convnn.errors import InputError
from convnn.graphs.embed import SkipGram
from convnn.ops.skip_gram import skip_gram
from threads import thread_counts

BACKENDS = ("auto", "reference")


def case(pairs: int = 30, nodes: int = 12, dim: int = 5, negatives: int = 3, seed: int = 0) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    vertex, context = (torch.randn(nodes, dim, dtype=torch.float64, generator=generator) for _ in range(2))
    positive = torch.randint(nodes, (pairs, 2), generator=generator)
    negative = torch.randint(nodes, (pairs, negatives), generator=generator)
    return vertex, context, positive, negative, torch.linspace(0.1, 0.01, pairs, dtype=torch.float64)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dim", "negatives"), [(1, 1), (5, 3), (17, 0), (32, 2)])
def test_steps_in_loops(backend: str, dim: int, negatives: int) -> None:
    vertex, context, positive, negative, rates = case(dim=dim, negatives=negatives)
    ours = vertex.clone(), context.clone()
    losses = skip_gram(*ours, positive, negative, rates, weight_decay=0.01, negative_weight=5.0, backend=backend)
    v, c = vertex.tolist(), context.tolist()
    for i, (head, tail) in enumerate(positive.tolist()):
        loss = 0.0
        for other, label, weight in [*((n, 0, 5.0) for n in negative[i].tolist()), (tail, 1, 1.0)]:
            share = 1 / (1 + math.exp(-sum(a * b for a, b in zip(v[head], c[other], strict=True))))
            by = rates[i].item() * weight
            new_v = [a - by * ((share - label) * b + 0.01 * a) for a, b in zip(v[head], c[other], strict=True)]
            c[other] = [b - by * ((share - label) * a + 0.01 * b) for a, b in zip(v[head], c[other], strict=True)]
            v[head] = new_v
            loss -= weight * math.log((share if label else 1 - share) + 1e-15)
        assert losses[i].item() == pytest.approx(loss / (1 + 5 * negatives), rel=1e-12)
    torch.testing.assert_close(ours[0], torch.tensor(v, dtype=torch.float64), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(ours[1], torch.tensor(c, dtype=torch.float64), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_core_and_definition_agree(dtype: torch.dtype) -> None:
    vertex, context, *rest = case(dim=19)
    found = [(vertex.to(dtype), context.to(dtype)) for _ in BACKENDS]
    found = [(v.clone(), c.clone()) for v, c in found]
    losses = [skip_gram(*ours, *rest, backend=name) for ours, name in zip(found, BACKENDS, strict=True)]
    torch.testing.assert_close(found[0], found[1])
    torch.testing.assert_close(losses[0], losses[1])


def test_a_small_step_follows_the_gradient() -> None:
    """To first order in the rate, with distinct nodes and no decay; the loss is not divided by the weights there."""
    model = SkipGram(8, 6, negative_weight=5.0, weight_decay=0.0, dtype=torch.float64, seed=3)
    torch.nn.init.normal_(model.context.weight)
    positive, negative = torch.tensor([[0, 1]]), torch.tensor([[2, 3]])
    loss = (model(positive, negative) * 11).sum()
    loss.backward()
    before = [one.weight.detach().clone() for one in (model.vertex, model.context)]
    slopes = [one.weight.grad.to_dense() for one in (model.vertex, model.context)]
    for rate in (1e-3, 1e-5):
        with torch.no_grad():
            model.vertex.weight.copy_(before[0])
            model.context.weight.copy_(before[1])
        assert model.step(positive, negative, torch.tensor([rate])).item() == pytest.approx(loss.item() / 11, abs=rate)
        for old, one, slope in zip(before, (model.vertex, model.context), slopes, strict=True):
            assert ((old - one.weight) / rate - slope).abs().max() < 100 * rate


def test_groups_in_any_order_and_on_any_number_of_threads() -> None:
    """Groups that share no row: bitwise equal whichever comes first."""
    _, _, positive, negative, rates = case(pairs=40, nodes=10, dim=16)
    vertex, context, *_ = case(nodes=20, dim=16)
    groups = torch.tensor([0, 40, 80])
    both = torch.cat([positive, positive + 10]), torch.cat([negative, negative + 10]), rates.repeat(2)
    swapped = tuple(one.roll(40, 0) for one in both)
    found = []
    for _ in thread_counts(1, 2):
        for order in (both, swapped):
            ours = vertex.clone(), context.clone()
            skip_gram(*ours, *order, groups=groups, weight_decay=0.01)
            found.append(ours)
    for ours in found[1:]:
        torch.testing.assert_close(ours, found[0], rtol=0, atol=0)


def test_bad_input() -> None:
    vertex, context, positive, negative, rates = case()
    with pytest.raises(InputError, match=r"rates of shape \(3,\) must be \(30,\)"):
        skip_gram(vertex, context, positive, negative, rates[:3])
    with pytest.raises(InputError, match="groups share heads"):
        skip_gram(vertex, context, positive, negative, rates, groups=torch.tensor([0, 15, 30]))
    with pytest.raises(InputError, match="ascend from 0 to 30"):
        skip_gram(vertex, context, positive, negative, rates, groups=torch.tensor([0, 15]))
    with pytest.raises(InputError, match="tails from 0 to 11 must lie between 0 and 5"):
        skip_gram(vertex, context[:6].clone(), positive, negative, rates)
    with pytest.raises(InputError, match="contiguous"):
        skip_gram(vertex.T, context, positive, negative, rates)
    with pytest.raises(InputError, match="must be as vertex"):
        skip_gram(vertex.float(), context, positive, negative, rates)
    with pytest.raises(InputError, match="int64"):
        skip_gram(vertex, context, positive.double(), negative, rates)
    with pytest.raises(InputError, match="negative_weight=-1"):
        SkipGram(3, 2, negative_weight=-1)
