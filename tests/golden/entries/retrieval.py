"""Inverse convolution of embeddings (InvGC, arXiv 2310.13276)."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from convnn.nn import graphs
from golden.case import Case
from golden.entry import Entry

BANKS = ("x", "reference")


def _of_all(case: Case) -> Callable[..., Tensor]:
    return partial(graphs.inverse_convolution, r=case.config["r"], normalize=case.config["if_norm"])


def _of_nearest(case: Case) -> Callable[..., Tensor]:
    K = graphs.share_of(case.tensors["reference"], case.config["pool_rate"])
    return partial(_of_all(case), K=K)


def _retrieval(case: Case) -> Callable[..., dict[str, Tensor]]:
    config = case.config
    rate = config["pool_rate"] if config["local_adj"] else None
    movers = graphs.InvGCRetrieval(config["r_g"], config["r_q"], rate=rate)

    def call(gallery: Tensor, queries: Tensor, gallery_bank: Tensor, query_bank: Tensor) -> dict[str, Tensor]:
        moved = movers.fit(gallery_bank, query_bank).transform(gallery)
        similarity = moved @ queries.T
        return {"message": moved, "output": similarity.T if config["query_first"] else similarity}

    return call


ENTRIES = {
    "InvGC_func": Entry(_of_all, inputs=BANKS, gradients={"reference": "grad_reference"}),
    "InvGC_LocalADJ_func": Entry(_of_nearest, inputs=BANKS, gradients={"reference": "grad_reference"}),
    "InvGC": Entry(_retrieval, inputs=("test_gallery", "test_query", "train_gallery", "train_query")),
}
