"""The engine: against loops, block by block against the whole, by neighbourhood, and how much memory it takes."""

import math
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from convnn.errors import InputError
from convnn.objectives.contrastive import ArcCosine, Cosine, Distance, Mixture, Pairs

SCORES = {
    "cosine": Cosine(0.3),
    "gauss": Distance(0.5),
    "laplace": Distance(0.5, gamma=1.0),
    "root": Distance(0.5, gamma=0.5),
    "city": Distance(0.4, gamma=1.0, p=1.0),
    "third": Distance(0.4, gamma=2.0, p=3.0),
    "largest": Distance(0.4, gamma=1.5, p=math.inf),
    "mixture": Mixture(Distance(0.5), Distance(0.3, gamma=1.0), 0.3),
    **{f"arc{order}": ArcCosine(order, 0.6) for order in (1, 2, 3)},
}


def rows(count: int, width: int = 5, *, seed: int = 0) -> Tensor:
    found = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return 0.8 * torch.nn.functional.normalize(found, dim=1)


def score_in_loops(name: str, u: Tensor, v: Tensor) -> float:
    """Return the score of two rows, by the formulas of the docstrings."""
    score = SCORES[name]
    if name == "cosine":
        return (u @ v / u.norm() / v.norm()).item() / 0.3
    if isinstance(score, Distance):
        return -((u - v).norm(p=score.p).item() ** score.gamma) / score.temperature
    if name == "mixture":
        d = math.dist(u.tolist(), v.tolist())
        return math.log(0.3 * math.exp(-(d**2) / 0.5) + 0.7 * math.exp(-d / 0.3))
    t = math.acos(0.6 * (u @ v).item() + 0.4)
    rest = math.pi - t
    kernels = {
        1: rest,
        2: math.sin(t) + rest * math.cos(t),
        3: 3 * math.sin(t) * math.cos(t) + rest * (1 + 2 * math.cos(t) ** 2),
    }
    return math.log(kernels[int(name[3])])


@pytest.mark.parametrize("name", SCORES)
def test_every_reduction_is_that_of_its_definition(name: str) -> None:
    queries, keys, bias = rows(4), rows(6, seed=1), torch.randn(6, dtype=torch.double)
    own, weight = torch.tensor([2, 0, 5, 1]), torch.rand(4, 6, dtype=torch.double).round(decimals=1)
    pairs = Pairs(queries, keys, SCORES[name], own=own, bias=bias)
    for i in range(4):
        scores = [score_in_loops(name, queries[i], keys[j]) + bias[j].item() for j in range(6)]
        assert pairs.at(torch.full((4,), 3))[i].item() == pytest.approx(scores[3], abs=1e-12)
        others = [math.exp(s) for j, s in enumerate(scores) if j != own[i]]
        assert pairs.log_partition()[i].item() == pytest.approx(math.log(sum(others)), abs=1e-12)
        likes = [weight[i, j].item() * math.exp(s) for j, s in enumerate(scores) if j != own[i]]
        assert pairs.share(weight)[i].item() == pytest.approx(sum(likes) / sum(others), abs=1e-12)
        no_own = weight.clone()
        no_own[i, own[i]] = 0
        total = sum(no_own[i, j].item() * s for j, s in enumerate(scores) if j != own[i])
        assert pairs.total(no_own.masked_fill(own.unsqueeze(1) == torch.arange(6), 0))[i].item() == pytest.approx(total)


def gradients(function: Callable[[Pairs], Tensor], score, rows_at_once: int | None) -> list[Tensor]:
    """Return a loss and its gradients for queries, keys and bias."""
    leaves = [rows(9), rows(7, seed=1), torch.randn(7, dtype=torch.double)]
    leaves[2] = torch.linspace(-1, 1, 7, dtype=torch.double)
    for leaf in leaves:
        leaf.requires_grad_()
    queries, keys, bias = leaves
    pairs = Pairs(queries, keys, score, own=torch.arange(9) % 7, own_score=0.5, bias=bias, rows=rows_at_once)
    out = function(pairs)
    weights = torch.linspace(0.5, 2, 9, dtype=torch.double)
    return [out, *torch.autograd.grad((out * weights).sum(), leaves)]


REDUCTIONS: dict[str, Callable[[Pairs], Tensor]] = {
    "partition": lambda pairs: pairs.log_partition(),
    "among": lambda pairs: pairs.log_partition(pairs.nearest(3)),
    "share": lambda pairs: pairs.share(torch.eye(9, 7, dtype=torch.double) + 0.1),
    "total": lambda pairs: pairs.total(torch.ones(9, 7, dtype=torch.double)),
}


@pytest.mark.parametrize("reduction", REDUCTIONS.values(), ids=REDUCTIONS)
@pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
def test_blocks_are_the_whole_with_gradients(score, reduction: Callable[[Pairs], Tensor]) -> None:
    whole = gradients(reduction, score, None)
    for step in (1, 4, 8):
        for ours, theirs in zip(gradients(reduction, score, step), whole, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


@pytest.mark.parametrize("score", [SCORES["root"], SCORES["arc1"], SCORES["city"], SCORES["cosine"]])
def test_gradients_are_the_differences(score) -> None:
    keys, own = rows(6, 3), torch.arange(6)

    def loss(z: Tensor) -> Tensor:
        pairs = Pairs(z, z, score, own=own, rows=4)
        return pairs.log_partition() - pairs.at(own.roll(3))

    assert torch.autograd.gradcheck(loss, keys.requires_grad_())


def test_equal_and_opposite_rows_have_finite_gradients() -> None:
    z = torch.nn.functional.normalize(rows(4, 3), dim=1)
    z = torch.cat([z, z[:2], -z[:1], torch.zeros(1, 3, dtype=torch.double)]).requires_grad_()
    for score in SCORES.values():
        pairs = Pairs(z, z, score, own=torch.arange(8))
        (slope,) = torch.autograd.grad((pairs.log_partition() - pairs.at(torch.arange(8).roll(1))).sum(), z)
        assert slope.isfinite().all(), score


def test_all_neighbours_are_the_whole_and_the_nearest_most_of_it() -> None:
    z, own = rows(40), torch.arange(40)
    for score in (SCORES["cosine"], SCORES["gauss"], SCORES["arc2"]):
        pairs = Pairs(z, z, score, own=own, rows=16)
        whole = pairs.log_partition()
        torch.testing.assert_close(pairs.log_partition(pairs.nearest(39)), whole, rtol=0, atol=1e-12)
        scores = score(z, z).fill_diagonal_(-math.inf)
        chosen = scores.topk(5, 1).values
        torch.testing.assert_close(pairs.log_partition(pairs.nearest(5)), chosen.logsumexp(1), rtol=0, atol=1e-12)


def test_what_is_excluded_is_not_chosen() -> None:
    z, own = rows(12), torch.arange(12)
    pairs = Pairs(z, z, Cosine(), own=own)
    excluded = torch.stack([own.roll(1), own.roll(5)], 1)
    scores = Cosine()(z, z).fill_diagonal_(-math.inf).scatter(1, excluded, -math.inf)
    assert torch.equal(pairs.nearest(4, excluded=excluded).indices[0], scores.topk(4, 1).indices)
    assert pairs.nearest(9, excluded=excluded).K == 9
    assert pairs.nearest(3, method="clustered", probes=2, lists=4).indices.shape == (1, 12, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    z = rows(6).to(dtype)
    pairs = Pairs(z, z, Cosine(0.1))
    assert torch.equal(pairs.log_partition(), Pairs(z.float(), z.float(), Cosine(0.1)).log_partition())
    wide = z.float()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Pairs(wide, wide, Cosine(0.1)).log_partition(), pairs.log_partition())


class Largest(TorchDispatchMode):
    """Remembers how many entries the largest tensor has that an operation returns."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, tuple | list) else [out]:
            if isinstance(one, Tensor):
                self.entries = max(self.entries, one.numel())
        return out


@pytest.mark.parametrize("name", ["cosine", "gauss", "laplace", "arc3"])
def test_no_tensor_is_larger_than_a_block(name: str) -> None:
    z = rows(300).requires_grad_()
    with Largest() as seen:
        Pairs(z, z, SCORES[name], own=torch.arange(300), rows=7).log_partition().sum().backward()
    assert seen.entries == 7 * 300


MEMORY = """
import resource, torch
from convnn.objectives.contrastive import Cosine, Pairs
N = 65_536
z = torch.nn.functional.normalize(torch.randn(N, 16), dim=1).requires_grad_()
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
pairs = Pairs(z, z, Cosine(0.5), own=torch.arange(N))
(pairs.log_partition() - pairs.at(torch.arange(N).roll(N // 2))).mean().backward()
assert z.grad.isfinite().all()
print((peak() - before) / 2**20)
"""


@pytest.mark.long
def test_65536_rows_take_less_than_a_gibibyte() -> None:
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert 0.05 < float(done.stdout) < 1  # one matrix of all pairs has 16


WRONG = {
    "queries": (lambda z: Pairs(z[0], z, Cosine()), r"^queries of shape \(5,\) and torch.float64 must be floating and"),
    "integers": (lambda z: Pairs(z, z.long(), Cosine()), r"^keys of shape \(6, 5\) and torch.int64 must be floating"),
    "width": (lambda z: Pairs(z, z[:, 1:], Cosine()), r"^keys of shape \(6, 4\) must be \(M, 5\), as wide as the"),
    "own": (lambda z: Pairs(z, z, Cosine(), own=torch.arange(5)), r"^own of shape \(5,\) and torch.int64 must be \(6,"),
    "bias": (lambda z: Pairs(z, z, Cosine(), bias=z[0]), r"^bias of shape \(5,\) must be \(6,\), one for each key$"),
    "rows": (lambda z: Pairs(z, z, Cosine(), rows=0), "^rows=0 must be an integer of at least 1$"),
    "weight": (lambda z: Pairs(z, z, Cosine()).share(z), r"^weight of shape \(6, 5\) must be \(6, 6\), for each query"),
    "negative": (lambda z: Pairs(z, z, Cosine()).total(z @ z.mT), "^weight has entries that are negative or NaN"),
    "K": (lambda z: Pairs(z, z, Cosine(), own=torch.arange(6)).nearest(6), "^K=6 must be at most 5, the number of key"),
    "temperature": (lambda z: Cosine(0), "^temperature=0 must be a positive number$"),
    "gamma": (lambda z: Distance(gamma=-1), "^gamma=-1 must be a positive number$"),
    "p": (lambda z: Distance(p=0.5), "^p=0.5 must be at least 1, for a norm$"),
    "share": (lambda z: Mixture(Cosine(), Cosine(), 2), "^weight=2 must lie between 0 and 1$"),
    "order": (lambda z: ArcCosine(4), "^order=4 must be 1, 2 or 3$"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(rows(6))
