"""Facts of fetching features."""

from convnn.systems import System, register_system

register_system(
    System(
        family="graph_tools",
        name="PyTorch-Direct",
        number=82,
        selects="the rows of a table in the host's memory that a sampler names",
        weighs="not at all: each row is copied bit by bit",
        aggregates="one dense table, by threads that begin at a line of memory, while earlier rows are in use",
        paper="arXiv 2103.03330",
        checked="the published address computations, byte by byte; the kernel in Triton's interpreter, not on a GPU",
        where="convnn.graphs.fetch.HostFeatures convnn.graphs.fetch.Prefetcher convnn.graphs.fetch.gather_plan",
    )
)
