"""Facts of how kernels are judged."""

from convnn.systems import FAMILIES, System, register_family, register_system

if "bench" not in FAMILIES:
    register_family(
        "bench",
        "Kernels held to account",
        "They judge kernels that others, or this library, have written: whether a kernel computes what its definition"
        " says, and how fast.",
    )


def register_traces() -> None:
    """Register the curation of reasoning traces."""
    register_system(
        System(
            family="bench",
            name="ConCuR: curation of reasoning traces",
            number=37,
            selects="traces whose kernel is right and faster than the definition; of each task the shortest",
            weighs="by length, then by speed-up; equal ones by lowest index",
            aggregates="shares that are right and fast by rank of length inside of a task; difficulty by mean length",
            paper="arXiv 2510.07356",
            checked="the definition in loops; scipy's rank correlation; planted and random traces",
            where="convnn.bench.traces.curate convnn.bench.traces.trace_statistics",
        )
    )


def register_tiles() -> None:
    """Register the vocabulary of the Triton kernels."""
    register_system(
        System(
            family="bench",
            name="ThunderKittens: tiles",
            number=110,
            selects="rows by index, or the keys that a mask and the order leave",
            weighs="products of tiles; a softmax that is summed as its scores come; decay with distance",
            aggregates="sums in registers, stored once; blocks in an order that finds in the cache what it reads",
            paper="arXiv 2410.20399",
            checked="formulas in float64, forward and all gradients, in the interpreter; compiled for sm_80, sm_90",
            where="convnn.backends.triton.attend convnn.backends.triton.attend_linearly",
        )
    )


register_traces()
register_tiles()
