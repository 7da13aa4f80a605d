"""The judgement of a candidate: it runs here, so this belongs in a process of its own (`convnn.bench.verify`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import starmap
from typing import Any, NamedTuple

import torch
from torch import Tensor

from convnn.bench.agreement import Expected, expected, far, same_bits, trial_seeds
from convnn.bench.task import Case, Function, Task, cases_of, cast, draw, moved, placed, tensors
from convnn.bench.world import World
from convnn.errors import InputError, UnsupportedError, first_line

REASONS = {
    "exception": "it raised an error, crashed, or exceeded a limit",
    "patched": "it replaced functions of Python or PyTorch",
    "thread": "it left a thread or process running",
    "type": "a result is no plain tensor",
    "input_changed": "it changed an input",
    "alias": "a result shares memory with an input or an earlier result",
    "shape": "a result has another shape",
    "dtype": "a result has another type",
    "values": "a result is too far from the definition",
    "gradient": "a gradient is missing, or too far from the definition",
    "nondeterministic": "two calls have different bits",
}
"""The words by which a candidate is refused."""


@dataclass(frozen=True)
class Verdict:
    """The judgement of a candidate.

    Attributes:
        correct: whether every case agrees.
        reason: one of `REASONS`; empty if correct.
        detail: what was found, and in which case.
        max_difference: the largest difference from the definition that was seen, as a share of the tolerated one; NaN
            where nothing was compared.
        num_cases: cases that agree.
        unsupported: cases that the candidate says it does not compute, with its reason.
    """

    correct: bool
    reason: str = ""
    detail: str = ""
    max_difference: float = 0.0
    num_cases: int = 0
    unsupported: Sequence[str] = ()


class RefusalError(Exception):
    """A candidate is wrong."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class Draw(NamedTuple):
    """Inputs, and what the definition makes of them."""

    arguments: tuple[Any, ...]
    results: list[Expected]
    shares: list[bool]  # whether the definition's results share memory with its inputs
    upstream: list[Tensor | None]
    gradients: list[Expected | None]


@dataclass
class Judge:
    """Judges one candidate.

    Args:
        task: the task.
        seed: seed of all inputs; one that the candidate's author does not know is best.
        device: where it runs.
    """

    task: Task
    seed: int
    device: str = "cpu"
    worst: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        cases = list(cases_of(self.task))
        seeds = trial_seeds(2 * len(cases), self.seed)
        self.prepared = [
            (case, self.prepare(case, seeds[2 * i]), self.prepare(case, seeds[2 * i + 1]))
            for i, case in enumerate(cases)
        ]
        self.world = World()

    def prepare(self, case: Case, seed: int) -> Draw:
        """Draw inputs, and compute what is expected: in float64, in the type of the case, and of inputs nearby."""
        arguments = draw(self.task, case, seed)
        versions = [cast(arguments, torch.float64), arguments]
        if case.values != "whole":  # whose ties would be none
            versions.append(moved(arguments, case.dtype, seed + 2))
        places = [placed(one, "dense", self.device) for one in versions]
        with torch.no_grad():
            found = [tensors(self.task.reference(*one)) for one in places]
        results = list(starmap(expected, zip(*found, strict=True)))
        own = [one for one in places[1] if isinstance(one, Tensor)]
        shares = [any(_shares(one, other) for other in own) for one in found[1]]
        if not self.task.has_gradients:
            return Draw(arguments, results, shares, [], [])
        upstream = _upstream(found[1], seed + 1)
        above = [upstream, upstream, moved(upstream, case.dtype, seed + 3)]
        grads = [gradients(self.task.reference, *pair) for pair in zip(places, above, strict=False)]
        expectations = [None if each[0] is None else expected(*each) for each in zip(*grads, strict=True)]
        return Draw(arguments, results, shares, upstream, expectations)

    def verdict(self, load: Callable[[], Function]) -> tuple[Verdict, Function | None]:
        """Load a candidate and judge it; return its function too, if it is right."""
        agreed = 0
        unsupported: list[str] = []
        try:
            function = self.guarded(load, "loading it")
            for case, first, second in self.prepared:
                reason = self.checked(function, case, first, second)
                agreed += not reason
                unsupported += [reason] if reason else []
            self.check_world()
        except RefusalError as refusal:
            return Verdict(False, refusal.reason, refusal.detail, self.worst, agreed, unsupported), None
        return Verdict(agreed > 0, "", "", self.worst, agreed, unsupported), function

    def checked(self, function: Function, case: Case, first: Draw, second: Draw) -> str:
        """Check one case, and return why the candidate does not compute it, or an empty string."""
        try:
            self.check(function, case, first, second)
        except UnsupportedError as error:
            return f"{case}: {first_line(error)}"
        except RefusalError as refusal:
            refusal.detail = f"{refusal.detail} ({case})"
            raise
        return ""

    def check(self, function: Function, case: Case, first: Draw, second: Draw) -> None:
        """Check results and gradients in one case.

        Raises:
            RefusalError: something is wrong.
            UnsupportedError: the candidate does not compute this.
        """
        arguments = placed(first.arguments, case.layout, self.device)
        results = self.call(function, arguments, first)
        kept = [one.clone() for one in results]
        refill(arguments, second.arguments)
        self.call(function, arguments, second)
        if not all(map(same_bits, results, kept)):
            raise RefusalError("alias", "a later call changes an earlier result")
        again = self.call(function, placed(first.arguments, case.layout, self.device), first)
        if self.task.is_repeatable and not all(map(same_bits, again, kept)):
            raise RefusalError("nondeterministic", "the same inputs give other bits")
        if first.gradients:
            found = [self.differentiate(function, case, first) for _ in range(2)]
            if self.task.is_repeatable and not all(map(_same_gradients, *found)):
                raise RefusalError("nondeterministic", "the same inputs give gradients of other bits")

    def call(self, function: Function, arguments: Sequence[Any], wanted: Draw) -> list[Tensor]:
        """Call a candidate without gradients, and check what it returns and leaves."""
        self.poison(wanted)
        before = _versions(arguments)
        with torch.no_grad():
            results = self.guarded(lambda: tensors(function(*arguments)), "calling it")
        if _versions(arguments) != before:  # also where the numbers are the same by chance
            raise RefusalError("input_changed", "an input is written to")
        self.inspect(results, arguments, wanted)
        return list(results)

    def inspect(self, results: Sequence[Any], arguments: Sequence[Any], wanted: Draw) -> None:
        """Check the results of a call, and that the inputs are as before."""
        self.check_world()
        if len(results) != len(wanted.results):
            raise RefusalError("shape", f"{len(results)} results, not {len(wanted.results)}")
        for one in results:
            if type(one) not in (Tensor, torch.nn.Parameter):
                raise RefusalError("type", f"a result is {type(one).__name__}, no plain tensor")
        self.check_inputs(arguments, wanted)
        for one, want, shares in zip(results, wanted.results, wanted.shares, strict=True):
            if not shares and any(_shares(one, other) for other in arguments if isinstance(other, Tensor)):
                raise RefusalError("alias", "a result shares memory with an input")
            self.compare(one, want, "values")

    def compare(self, found: Tensor, want: Expected, reason: str) -> None:
        """Check shape, type and values of a result or gradient."""
        if found.shape != want.exact.shape:
            word = "gradient" if reason == "gradient" else "shape"
            raise RefusalError(word, f"shape {tuple(found.shape)}, not {tuple(want.exact.shape)}")
        if found.dtype != want.dtype:
            raise RefusalError("gradient" if reason == "gradient" else "dtype", f"{found.dtype}, not {want.dtype}")
        apart = far(want, found)
        if apart is not None:
            raise RefusalError(reason, f"a difference of {apart:.2e}, where {want.tolerance:.2e} is tolerated")
        if want.tolerance:
            self.worst = max(self.worst, _share(found, want))

    def differentiate(self, function: Function, case: Case, wanted: Draw) -> list[Tensor | None]:
        """Compute the gradients of a candidate, and check them."""
        arguments = placed(wanted.arguments, case.layout, self.device)
        upstream = [None if one is None else one.clone() for one in wanted.upstream]
        found = self.guarded(lambda: gradients(function, arguments, upstream), "differentiating it", "gradient")
        self.check_world()
        self.check_inputs(arguments, wanted)
        if not all(map(_same_gradients, upstream, wanted.upstream)):
            raise RefusalError("input_changed", "the gradient of the result is changed")
        for place, (one, want) in enumerate(zip(found, wanted.gradients, strict=True)):
            if want is None:
                continue
            if one is None:
                if bool(want.exact.any()):
                    raise RefusalError("gradient", f"no gradient of input {place}")
                continue
            try:
                self.compare(one, want, "gradient")
            except RefusalError as refusal:
                raise RefusalError(refusal.reason, f"gradient of input {place}: {refusal.detail}") from None
        return found

    def guarded(self, action: Callable[[], Any], doing: str, reason: str = "exception") -> Any:
        """Run something of the candidate's; what it raises is a refusal.

        Raises:
            UnsupportedError: it says that it does not compute this.
            RefusalError: it raised anything else.
        """
        try:
            return action()
        except UnsupportedError:
            raise
        except Exception as error:
            kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
            raise RefusalError(reason, f"{doing}: {kind}{first_line(error)}") from None

    def check_world(self) -> None:
        """Check that nothing runs on, and nothing was replaced."""
        if left := self.world.left():
            raise RefusalError("thread", f"still running: {left}")
        if replaced := self.world.replaced():
            raise RefusalError("patched", f"replaced: {replaced}")

    def check_inputs(self, arguments: Sequence[Any], wanted: Draw) -> None:
        """Check that the inputs of a call are as before."""
        for place, (mine, before) in enumerate(zip(arguments, wanted.arguments, strict=True)):
            if isinstance(before, Tensor) and not same_bits(mine.detach().cpu(), before):
                raise RefusalError("input_changed", f"input {place} is changed")

    def poison(self, wanted: Draw) -> None:
        """Fill memory that the next allocations are likely to get: what is not written must not be right by chance."""
        for one in wanted.results:
            torch.full(one.exact.shape, 77, dtype=one.dtype, device=self.device)


def refill(arguments: Sequence[Any], numbers: Sequence[Any]) -> None:
    """Write other numbers into the memory of inputs.

    Raises:
        InputError: a seed changed the shape of an input.
    """
    for place, (mine, new) in enumerate(zip(arguments, numbers, strict=True)):
        if isinstance(mine, Tensor):
            if mine.shape != new.shape:
                raise InputError(
                    f"inputs must draw the same shapes for every seed; input {place} has {tuple(new.shape)}"
                )
            mine.copy_(new)


def _upstream(results: Sequence[Tensor], seed: int) -> list[Tensor | None]:
    """Draw the gradients of floating results."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(one.shape, generator=generator, dtype=torch.float64) for one in results]
    pairs = zip(drawn, results, strict=True)
    return [new.to(one.device, one.dtype) if one.is_floating_point() else None for new, one in pairs]


def gradients(function: Function, arguments: Sequence[Any], upstream: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Return the gradient of every floating input, None for others, from those of the results."""
    leaves = [
        one.detach().requires_grad_() if isinstance(one, Tensor) and one.is_floating_point() else one
        for one in arguments
    ]
    places = [i for i, one in enumerate(leaves) if isinstance(one, Tensor) and one.requires_grad]
    results = tensors(function(*leaves))
    pairs = [
        (one, grad.to(one.dtype))
        for one, grad in zip(results, upstream, strict=True)
        if grad is not None and one.requires_grad
    ]
    found: list[Tensor | None] = [None] * len(leaves)
    if not pairs:
        return found
    roots, grads = zip(*pairs, strict=True)
    for place, grad in zip(
        places, torch.autograd.grad(roots, [leaves[i] for i in places], grads, allow_unused=True), strict=True
    ):
        found[place] = grad
    return found


def _shares(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors lie in one storage."""
    return one.numel() > 0 and one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _versions(arguments: Sequence[Any]) -> list[int]:
    """Return how often PyTorch has written into each tensor."""
    return [one._version for one in arguments if isinstance(one, Tensor)]


def _share(found: Tensor, want: Expected) -> float:
    apart = (found.detach().double() - want.exact.double()).abs()
    finite = apart[apart.isfinite()]
    return float(finite.max()) / want.tolerance if finite.numel() else 0.0


def _same_gradients(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return same_bits(one, other)
