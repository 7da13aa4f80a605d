"""Facts of the searches."""

from convnn.systems import System, register_family, register_system

register_family(
    "searches",
    "Searches",
    "Ways to find the neighbours that layers choose, for any queries and keys (B, T, C).",
)
register_system(
    System(
        family="searches",
        name="Faiss: inverted lists",
        number=60,
        selects="the K most similar of the keys in a few lists: those of the k-means centroids nearest to the query",
        weighs="any",
        aggregates="any",
        paper="arXiv 1702.08734",
        checked="Faiss: centroids, lists and keys; the definition in loops; with all lists open, the exact search",
        where="convnn.ops.select.nearest",
    )
)
