"""Facts of the applications to knowledge graphs."""

from functools import partial

from convnn.nn.triples import _systems as _family  # noqa: F401
from convnn.systems import PUBLISHED, System, register_system

_fact = partial(System, family="knowledge")

register_system(
    _fact(
        number=28,
        name="Classifiers of unseen classes",
        selects="the neighbours of a class in a graph of words, and the class itself",
        weighs="by the degrees, D^-1/2 (A + I) D^-1/2",
        aggregates="a sum, after a linear map, through six layers: the weights of its classifier",
        paper="arXiv 1803.08035",
        checked=f"{PUBLISHED}, and its hits; GCNConv of PyTorch Geometric",
        where="convnn.tasks.knowledge.ZeroShotGCN convnn.tasks.knowledge.UnseenClasses",
    )
)
