"""Facts of the caches of keys and values."""

from functools import partial

from convnn.systems import System, register_family, register_system

register_family(
    "caches",
    "Caches of keys and values",
    "Which tokens of a text stay in the cache of an attention layer, and which of them each next token reads. Each of"
    " them can be in every layer of a model that generates text.",
)
_fact = partial(System, family="caches", weighs="softmax of the scaled inner products", aggregates="a sum")

register_system(
    _fact(
        name="SnapKV",
        selects="the tokens of a prompt to which its last tokens attend most, and those last ones",
        paper="arXiv 2404.14469",
        checked="the definition in loops; attention to all tokens, for a budget of all",
        where="convnn.nn.tokens.caches.SnapKVCache convnn.nn.tokens.caches.window_importance",
    )
)
register_system(
    _fact(
        name="GraphKV",
        number=97,
        selects="as SnapKV, when the most important tokens have lowered the scores of those with similar keys",
        paper="arXiv 2509.00388",
        checked="the published figure; numbers of the definition; the definition in loops; SnapKV, without neighbours"
        " or with orthogonal keys; attention to all tokens, for a budget of all",
        where="convnn.nn.tokens.caches.GraphKVCache convnn.nn.tokens.caches.decay_neighbors",
    )
)
register_system(
    _fact(
        name="LouisKV",
        number=67,
        selects="where the query turns, the clusters of keys and past segments whose mean key is most similar to it",
        paper="arXiv 2510.11292",
        checked="numbers of the definition; the definition in loops; scikit-learn's KMeans; attention to the top"
        " tokens, for clusters of one; attention to all tokens, for a budget of all",
        where="convnn.nn.tokens.caches.ClusteredCache",
    )
)
register_system(
    _fact(
        name="StreamingLLM: attention sinks",
        selects="the first tokens of a prompt and the last ones",
        paper="arXiv 2309.17453",
        checked="the definition in loops; attention to all tokens, for a budget of all",
        where="convnn.nn.tokens.caches.SinkCache",
    )
)
