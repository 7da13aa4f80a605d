"""Facts of the layers that filter by functions of the graph's matrix."""

from functools import partial

from convnn.nn.graphs import _family  # noqa: F401
from convnn.nn.graphs._deferred import Deferred, DeferredPlain
from convnn.nn.registry import register_layer
from convnn.systems import PUBLISHED, System, register_system

_fact = partial(System, family="graphs")
_register = partial(register_layer, reads="graphs")

_GIBBS = {"mu": 3.0, "xi": 4.0, "stigma": 0.5, "heta": 2.0}
_SERIES = {"hops": 10, "damping": "jackson", **_GIBBS, "homophily": "auto"}
_BJORCK = {"bjorck_order": 2, "bjorck_steps": 25, "bjorck_beta": 0.5}
_OF_BASES = {"degree_exponents": (), "support": "dense", "hops": None, "normalize": False, "self_loops": True}

_register(
    "ChebGibbs",
    Deferred("spectra.chebyshev", "ChebGibbs", **_SERIES),
    _fact(
        number=63,
        name="ChebGibbsNet: damped Chebyshev filter",
        published="ChebGibbsProp",
        when="filters of high order that do not oscillate, as the last layer",
        selects="the nodes within K hops",
        weighs="by the degrees, with plus where neighbours are alike and minus where they differ",
        aggregates="a Chebyshev series of the adjacency, learned coefficients times fixed damping factors",
        paper="arXiv 2412.01789",
        checked=f"{PUBLISHED}; ChebConv of PyTorch Geometric; its response on every eigenvector",
        where="convnn.nn.graphs.ChebGibbs convnn.nn.graphs.ChebGibbsProp convnn.nn.graphs.ChebGibbsNet"
        " convnn.nn.graphs.gibbs_damping",
    ),
)
Deferred("spectra.chebyshev", "ChebGibbsProp", **_SERIES)
Deferred("spectra.chebyshev", "ChebGibbsNet", hidden=32, dropout=0.1, hops=10)
Deferred("spectra.chebyshev", "gibbs_damping", damping="jackson", **_GIBBS)
Deferred("spectra.chebyshev", "node_homophily")
_register(
    "Holo",
    Deferred(
        "spectra.holomorphic",
        "Holo",
        hops=3,
        out_weight=0.5,
        learn_out_weight=False,
        degree_exponent=-0.25,
        power_damping="exp",
        zero_order=False,
        holo_basis="powers",
    ),
    _fact(
        number=61,
        name="HoloNets: holomorphic filters",
        published="FaberConv",
        when="directed graphs, in which in- and out-neighbours mean different things",
        selects="the nodes within K hops along the edges, and against them",
        weighs="by the product of both ends' degrees to a power",
        aggregates="a polynomial of the adjacency for either direction, or of its resolvent",
        paper="arXiv 2310.02232",
        checked=f"{PUBLISHED}; DirGNNConv, TAGConv and GCNConv of PyTorch Geometric; Cauchy's integral",
        where="convnn.nn.graphs.Holo convnn.nn.graphs.HoloNet",
    ),
)
Deferred(
    "spectra.holomorphic",
    "HoloNet",
    hidden=64,
    layers=3,
    jump="max",
    slope=-1.0,
    normalize=False,
    dropout=0.0,
    learn_out_weight=False,
)
_register(
    "GCORN",
    Deferred("spectra.orthonormal", "GCORN", orthonormal="bjorck", **_BJORCK),
    _fact(
        number=85,
        name="GCORN: orthonormal weights",
        published="GCORN",
        when="features that somebody may tamper with",
        selects="the nodes that edges lead from, and the node itself",
        weighs="by the degrees, D^-1/2 (A + I) D^-1/2",
        aggregates="a sum, then a linear map that is kept orthonormal, so that it enlarges no difference",
        paper="arXiv 2404.17947",
        checked=f"{PUBLISHED}; the polar factor of the weight, and its gradient; GCNConv of PyTorch Geometric",
        where="convnn.nn.graphs.GCORN convnn.nn.graphs.GCORNNet convnn.nn.graphs.Bjorck convnn.nn.graphs.bjorck"
        " convnn.nn.graphs.expected_robustness convnn.nn.graphs.robustness_bound",
    ),
)
Deferred("spectra.orthonormal", "GCORNNet", hidden=16, dropout=0.5)
Deferred("spectra.polar", "Bjorck", order=2, steps=25, beta=0.5)
Deferred("spectra.polar", "bjorck", order=2, steps=25, beta=0.5)
Deferred("spectra.polar", "OrthonormalLinear", orthonormal="bjorck", order=2, steps=25, beta=0.5)
Deferred("spectra.robustness", "expected_robustness", samples=100, generator=None)
Deferred("spectra.robustness", "robustness_bound", edge_weight=None)
Deferred("spectra.robustness", "in_balls")
Deferred("spectra.robustness", "distances")
Deferred("spectra.robustness", "noise_attack", generator=None)
Deferred("spectra.robustness", "gradient_attack", steps=20, nodes=None)
register_system(
    _fact(
        number=21,
        name="InvGC: inverse convolution of embeddings",
        selects="the K points of a bank with the largest inner products, or all",
        weighs="by the inner product, less its mean where all are chosen",
        aggregates="a sum, subtracted from the point, which is then scaled to length 1",
        paper="arXiv 2310.13276",
        checked=f"{PUBLISHED}; SimpleConv of PyTorch Geometric on the same edges; points that are their own bank",
        where="convnn.nn.graphs.inverse_convolution convnn.nn.graphs.InvGC convnn.nn.graphs.InvGCRetrieval",
    )
)
Deferred("spectra.inverse", "inverse_convolution", K=None, center=None, normalize=True)
Deferred("spectra.inverse", "share_of")
Deferred("spectra.inverse", "InvGC", K=None, rate=None, center=None, normalize=True)
Deferred("spectra.inverse", "InvGCRetrieval", K=None, rate=None, center=None)
_register(
    "PDF",
    Deferred(
        "spectra.decomposition",
        "PDF",
        exponents="-0.3,-0.35,-0.4",
        hops=2,
        support="sparse",
        support_hops=1,
        normalize_bases=False,
        linear_filter=False,
        shared_filter=False,
        edge_softmax=True,
    ),
    _fact(
        number=49,
        name="PDF: decomposition and filter learned together",
        published="PDF",
        when="graphs of a few hundred nodes, whose best normalisation is not known",
        selects="the nodes within some hops, or all",
        weighs="a learned function of the entries of several matrices' powers at the pair, for each channel",
        aggregates="a sum, with an MLP beside it",
        paper="arXiv 2305.06102",
        checked=f"{PUBLISHED}; TAGConv, ChebConv and GCNConv of PyTorch Geometric; dense matrices",
        where="convnn.nn.graphs.PDF convnn.nn.graphs.PDFConv convnn.nn.graphs.PDFFilter convnn.nn.graphs.PDFNet"
        " convnn.nn.graphs.pdf_bases convnn.nn.graphs.PDFBases",
    ),
)
Deferred(
    "spectra.decomposition",
    "PDFFilter",
    linear=False,
    shared=False,
    hidden=None,
    batch_norm=True,
    last_activation=True,
    edge_softmax=True,
    dropout=0.0,
)
Deferred("spectra.decomposition", "PDFConv", activation="gelu", batch_norm=True, dropout=0.0)
Deferred(
    "spectra.decomposition",
    "PDFNet",
    hidden=256,
    layers=4,
    pool="max",
    activation="gelu",
    batch_norm=True,
    edge_softmax=True,
    dropout=0.0,
)
Deferred("spectra.decomposition", "PDFBases")
Deferred("spectra.decomposition", "filtered_sum", nodes=None)
Deferred("spectra.pair_bases", "pdf_bases", **_OF_BASES)
register_layer(
    "LCFN",
    DeferredPlain(
        "spectra.low_pass",
        "LCFN",
        dim=64,
        num_layers=1,
        user_frequencies=100,
        item_frequencies=50,
        weigh_hyperedges=False,
    ),
    _fact(
        number=23,
        name="LCFN: low-pass collaborative filters",
        published="LCFN",
        when="recommendation from noisy choices of users who fall into groups",
        selects="all users, or all items, that share smooth vectors of the interactions",
        weighs="by the smoothest eigenvectors of the users' or the items' hypergraph, with learned factors",
        aggregates="a filter P diag(f) P^T, a matrix and a logistic function; all depths side by side",
        paper="ICML 2020, Yu and Qin",
        checked=f"{PUBLISHED}, of bases, loss and ranking; dense Laplacians and their projectors; HGNN's matrix",
        where="convnn.nn.graphs.LCFN convnn.nn.graphs.LowPassFilter convnn.nn.graphs.hypergraph_bases",
    ),
    reads="interactions",
    fixed=("dim",),
)
DeferredPlain("spectra.low_pass", "LowPassFilter")
DeferredPlain("spectra.low_pass", "hypergraph_bases", weighted=False)
DeferredPlain("spectra.low_pass", "hypergraph_roots", weighted=False)
