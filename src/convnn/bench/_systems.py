"""Facts of how kernels are judged."""

from convnn.systems import System, register_family, register_system

register_family(
    "bench",
    "Kernels held to account",
    "They judge kernels that others, or this library, have written: whether a kernel computes what its definition says,"
    " and how fast.",
)
register_system(
    System(
        family="bench",
        name="KernelBench: tasks and scores",
        number=86,
        selects="tasks, each a definition in plain PyTorch, and the kernels that claim to compute them",
        weighs="right or wrong on drawn inputs; by the time of the definition over that of the kernel",
        aggregates="the share that is right and more than p times as fast, geometric means, pass@k",
        paper="arXiv 2502.10517",
        checked="the published code, scores, verdicts, seeds and static checks; combinations counted one by one",
        where="convnn.bench.Task convnn.bench.fast_p convnn.bench.geometric_mean_speedup convnn.bench.pass_at_k"
        " convnn.bench.static_checks",
    )
)
register_system(
    System(
        family="bench",
        name="robust-kbench: kernels that cheat",
        number=48,
        selects="inputs of many shapes, signs, sizes, types and layouts that a kernel has not seen",
        weighs="results and every gradient against the definition in float64, to a tolerance that it sets",
        aggregates="one word: right, or why not; filters of tasks, and a search among kernels that are right",
        paper="arXiv 2509.14279",
        checked="the published code, forward, backward and filters; 36 planted kernels that cheat, five bad and three"
        " good foreign ones",
        where="convnn.bench.verify convnn.bench.time convnn.bench.filters.task_flags convnn.bench.evolve",
    )
)
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
        where="convnn.backends.triton.flash.attend convnn.backends.triton.linear.attend_linearly",
    )
)
