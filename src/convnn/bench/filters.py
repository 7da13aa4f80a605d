"""Filters of tasks: those whose outputs hardly depend on the inputs, which a wrong kernel passes too.

Outputs (S, ...) are those of S seeds. A task is thrown out if a filter is True.

Reference:
    Lange et al., "Towards Robust Agentic CUDA Kernel Benchmarking, Verification, and Optimization", arXiv 2509.14279.
"""

from collections.abc import Iterable

from torch import Tensor

from convnn.errors import InputError, check_choice, check_positive

SEEDS, THRESHOLD = 5, 0.01
FILTERS = ("output_range", "output_std", "output_axes", "input_impact", "init_impact")
DEFAULTS = FILTERS[:4]
"""The published `init_impact` is off: it draws new inputs too, so that it equals `output_std`."""


def output_range(outputs: Tensor, threshold: float = THRESHOLD) -> bool:
    """Return whether all outputs (S, ...) are smaller than the threshold in size.

    Raises:
        InputError: there are fewer than two seeds, or the threshold is not positive; so for all filters.
    """
    _check(outputs, threshold)
    return bool((outputs.abs() < threshold).all())


def output_std(outputs: Tensor, threshold: float = THRESHOLD) -> bool:
    """Return whether the unbiased standard deviation over the seeds is below the threshold for every element."""
    return _is_constant(outputs, 0, threshold)


def output_axes(outputs: Tensor, threshold: float = THRESHOLD) -> bool:
    """Return whether the outputs are constant along any axis, that of the seeds too.

    An axis of length 1 has no standard deviation, and never counts.
    """
    _check(outputs, threshold)
    return any(_is_constant(outputs, axis, threshold) for axis in range(outputs.dim()) if outputs.shape[axis] > 1)


def input_impact(outputs_one_model: Tensor, threshold: float = THRESHOLD) -> bool:
    """Return whether outputs of one model, for inputs of S seeds, are constant over the seeds."""
    return _is_constant(outputs_one_model, 0, threshold)


def task_flags(
    outputs: Tensor,
    outputs_one_model: Tensor | None = None,
    *,
    threshold: float = THRESHOLD,
    names: Iterable[str] = DEFAULTS,
) -> dict[str, bool]:
    """Return the verdict of each filter.

    Args:
        outputs: (S, ...), of S models for inputs of S seeds.
        outputs_one_model: (S, ...), of one model for these inputs; None where a task has no parameters: the same.
        threshold: h.
        names: some of `FILTERS`.

    Raises:
        InputError: a filter is unknown, there are fewer than two seeds, or the threshold is not positive.
    """
    of_one = outputs if outputs_one_model is None else outputs_one_model
    found = {}
    for name in names:
        check_choice("filter", name, FILTERS)
        if name == "input_impact":
            found[name] = input_impact(of_one, threshold)
        else:
            found[name] = {"output_range": output_range, "output_axes": output_axes}.get(name, output_std)(
                outputs, threshold
            )
    return found


def _is_constant(outputs: Tensor, axis: int, threshold: float) -> bool:
    _check(outputs, threshold)
    return bool((outputs.std(axis) < threshold).all())


def _check(outputs: Tensor, threshold: float) -> None:
    check_positive("threshold", threshold)
    seeds = outputs.shape[0] if outputs.dim() else 0
    if seeds < 2:
        raise InputError(f"outputs of {seeds} seeds must have at least two, for a standard deviation")
