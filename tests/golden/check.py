"""Comparison of our results with the published numbers."""

from dataclasses import dataclass

import torch
from torch import Tensor

from convnn.errors import InputError, UnsupportedError
from golden.case import Case
from golden.entry import Refused, entry_of
from golden.run import results

STATUSES = ("agrees", "differs", "refused", "unknown")
ROUNDING = 1e-12
"""An error that is always accepted: an exact 0 may be computed as 1e-17 here and as 2e-17 there."""


RESULTS = ("output", "loss", "grad")
"""Name prefixes of tensors that must be compared; others, intermediate results, may be."""


@dataclass(frozen=True)
class Verdict:
    """A status with details; `unseen` are the tensors of the file that were not read."""

    status: str
    detail: str = ""
    unseen: tuple[str, ...] = ()

    def __str__(self) -> str:
        unseen = f"not compared: {', '.join(self.unseen)}" if self.unseen else ""
        return ": ".join(filter(None, [self.status, "; ".join(filter(None, [self.detail, unseen]))]))


def check(case: Case) -> Verdict:
    """Check one file; any error is part of its verdict."""
    entry = entry_of(case)
    if entry is None:
        return Verdict("unknown", "the table has no entry")
    try:
        with entry.draws(case):
            found = results(case, entry)
    except (Refused, InputError, UnsupportedError) as reason:
        return Verdict("refused", str(reason))
    except Exception as error:
        return Verdict("differs", f"{type(error).__name__}: {error}{_unread(case)}")
    problems = [difference(name, value, case.tensors[name], entry.tolerance) for name, value in found.items()]
    unseen = tuple(name for name in case.tensors.unread if name not in entry.aside and "num_batches" not in name)
    problems = [problem for problem in problems if problem]
    problems += [f"nothing of ours is {name}" for name in unseen if name.startswith(RESULTS)]
    if not found:
        problems.append("nothing comes out that the file has")
    if not problems:
        return Verdict("agrees", unseen=unseen)
    others = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return Verdict("differs", f"{problems[0]}{others}{_unread(case)}", unseen)


def difference(name: str, ours: Tensor, theirs: Tensor, tolerance: float) -> str:
    """Return where two tensors differ most and by how much, or an empty string if they agree."""
    if ours.shape != theirs.shape:
        return f"{name} has shape {tuple(ours.shape)}, published {tuple(theirs.shape)}"
    if not theirs.numel():
        return ""
    if theirs.dtype.is_floating_point or theirs.dtype.is_complex:
        error = (ours - theirs).abs().masked_fill((ours == theirs) | (ours.isnan() & theirs.isnan()), 0)
        finite = theirs.abs()[theirs.isfinite()]
        largest = finite.max().item() if finite.numel() else 0.0
        allowed = max(tolerance * largest, ROUNDING)
    else:
        error, allowed, largest = (ours.long() - theirs.long()).abs(), 0, theirs.long().abs().max().item()
    is_wrong = ~(error <= allowed)
    if not is_wrong.any():
        return ""
    worst = error.nan_to_num(torch.inf).argmax() if error.is_floating_point() else error.argmax()
    place = ", ".join(str(i.item()) for i in torch.unravel_index(worst, error.shape))
    return f"{name}[{place}] by {error.flatten()[worst].item():.1e} of {largest:.1e}"


def _unread(case: Case) -> str:
    """Return the options that the entry does not read: the first suspects for a difference."""
    options = [f"{name}={case.config.data[name]!r}" for name in case.config.unread]
    return f" (not read of its configuration: {', '.join(options)})" if options else ""
