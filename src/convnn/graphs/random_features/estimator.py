"""The estimator of features of nodes by random walks."""

import warnings
from typing import Any, TypeVar

import torch
from scipy.sparse import csr_array, get_index_dtype
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from convnn.errors import InputError, UnsupportedError, check_at_least, check_choice, check_positive
from convnn.graphs.adjacency import DENSE
from convnn.graphs.random_features.modulations import Series, coefficients, regularized
from convnn.graphs.random_features.scaling import (
    NORMALIZATIONS,
    Graph,
    scale_of,
    scaled_weights,
    to_tensors,
    weight_matrix,
)
from convnn.graphs.random_features.walking import FeatureWalks, Loads
from convnn.ops.halting import HaltingWalks, Reinforcement, check_halting
from convnn.ops.ragged import Lists
from convnn.ops.walks import Stream, stream_of

OUTPUTS = ("torch", "scipy")
Self = TypeVar("Self", bound="GraphRandomFeatures")


class GraphRandomFeatures(BaseEstimator):
    r"""Describe each node by where walks from it halt, so that inner products are unbiased for a kernel of the graph.

    .. math:: \Phi_{ij} = \frac{1}{m} \sum_{\text{walks from } i} \; \sum_{t :\, v_t = j} f_t \, \ell_t, \qquad
        \mathbb{E}\, \Phi = \sum_t f_t U^t, \qquad
        \mathbb{E}\, \Phi \Phi'^\top = K = \sum_k \Bigl( \sum_{p=0}^{k} f_p f_{k-p} \Bigr) U^k

    with the loads of `HaltingWalks`, and :math:`\Phi'` of walks independent of those of :math:`\Phi`. From the same
    walks, the diagonal of :math:`\Phi \Phi^\top` is biased upwards by the variance, and the rest is not. U is the
    scaled matrix of weights; see `scaled_weights`. About m / p_halt entries of a row are not 0, whatever the size of
    the graph: cost and memory grow linearly with it. Walks select, f and loads weigh, products aggregate.

    The error falls as m^{-1/2} where the variance is finite. That needs walks that are long enough, or rare long ones
    outweigh all others: without weights and for f = 1, :math:`s^2 < 1 - p` for the scale s of U, since the mean of
    squared loads is a power of :math:`s^2 A D^{-1} / (1 - p)`.

    Args:
        modulation: f, a name of `MODULATIONS`, a list or tensor of its first numbers, beyond which it is 0, or a
            function of k that returns a number. Gradients of all results reach a tensor, such as a
            `torch.nn.Parameter`, and the tensors that a function returns. It may be changed after `fit`.
        alpha: coefficients of the kernel instead, in the same forms, from which f is deconvolved; see `deconvolved`.
        walks: m, at least 1, from each node.
        p_halt: probability to halt before a step, above 0 and below 1; walks have (1 - p) / p steps on average.
        normalization: "laplacian", "adjacency" or None; see `scaled_weights`.
        sigma2: :math:`\sigma^2` of the scale, above 0.
        antithetic: see `HaltingWalks`; needs an even m, and lowers the error by a few percent.
        reinforcement: see there; a q-GRF. It hurts unless it is weak.
        max_length: the most steps; of the kernel the powers of U up to it are kept in each factor.
        output: "torch" for sparse tensors, whose products PyTorch differentiates, or "scipy" for a `csr_array`, which
            scikit-learn reads.
        random_state: seed, or the stream of the numbers.

    Attributes:
        matrix_: U (N, N), a `csr_array`.
        n_nodes_: N.
        loads_: `Loads` of the walks.

    Raises:
        InputError: in `fit`, an argument is out of range, or the graph is not symmetric, has a weight that is not
            finite or, if it is normalised, negative.

    Example:
        >>> ring = torch.tensor([[0, 1, 2, 3, 1, 2, 3, 0], [1, 2, 3, 0, 0, 1, 2, 3]])
        >>> features = GraphRandomFeatures("diffusion", walks=10_000).fit(ring)
        >>> features.transform().shape, features.kernel()[0].mul(10).round().tolist()
        (torch.Size([4, 4]), [11.0, 3.0, 1.0, 3.0])

    Reference:
        Choromanski, arXiv 2305.00156; Reid et al., arXiv 2310.04859.
    """

    matrix_: csr_array
    n_nodes_: int
    loads_: Loads

    def __init__(
        self,
        modulation: str | Series = "regularized_2",
        *,
        alpha: Series | None = None,
        walks: int = 16,
        p_halt: float = 0.1,
        normalization: str | None = "laplacian",
        sigma2: float = 1.0,
        antithetic: bool = False,
        reinforcement: Reinforcement | None = None,
        max_length: int | None = None,
        output: str = "torch",
        random_state: int | Stream = 0,
    ) -> None:
        self.modulation = modulation
        self.alpha = alpha
        self.walks = walks
        self.p_halt = p_halt
        self.normalization = normalization
        self.sigma2 = sigma2
        self.antithetic = antithetic
        self.reinforcement = reinforcement
        self.max_length = max_length
        self.output = output
        self.random_state = random_state

    def fit(self: Self, graph: Graph, edge_weight: Tensor | None = None, num_nodes: int | None = None) -> Self:
        """Walk on a graph: edges (2, E) int64, each both ways, with weights (E,), or a symmetric matrix (N, N)."""
        run = self.begin(graph, edge_weight, num_nodes)
        while not run.is_over:
            run.advance()
        return self.finish(run)

    def begin(self, graph: Graph, edge_weight: Tensor | None = None, num_nodes: int | None = None) -> FeatureWalks:
        """Return what `fit` runs to its end and then finishes, to be advanced, kept and restored."""
        self._check()
        self.matrix_ = scaled_weights(weight_matrix(graph, edge_weight, num_nodes), self.normalization, self.sigma2)
        self.n_nodes_ = self.matrix_.shape[0]
        starts, columns, values = to_tensors(self.matrix_)
        self._walker = HaltingWalks(
            Lists(starts, columns, self.n_nodes_),
            values,
            p_halt=self.p_halt,
            antithetic=self.antithetic,
            reinforcement=self.reinforcement,
            max_length=self.max_length,
        )
        self._stream = stream_of(self.random_state)
        self._others: Loads | None = None
        return FeatureWalks(self._walker, self.walks, self._stream)

    def finish(self: Self, run: FeatureWalks) -> Self:
        """Take the loads of a run that is over."""
        if not run.is_over:
            raise InputError(f"run has done {run.done} of {run.total} nodes; advance it until it is over")
        self.loads_ = run.loads()
        return self

    def transform(self, nodes: Tensor | None = None) -> Any:
        """Return Phi (N, N), sparse, or its rows of some nodes (n,) int64."""
        return self._sparse(self._of(self._loads(), nodes), self.output)

    def fit_transform(self, graph: Graph, edge_weight: Tensor | None = None, num_nodes: int | None = None) -> Any:
        """Walk on a graph, and return Phi (N, N); see `fit`."""
        return self.fit(graph, edge_weight, num_nodes).transform()

    def features_by_length(self) -> list[Any]:
        """Return the stack of Phi_t (N, N), sparse, for t = 0, 1, ..., whose mean is U^t; Phi is their sum by f."""
        loads = self._loads()
        order = loads.steps.sort(stable=True).indices
        rows, ends = loads.rows, loads.steps.bincount().tolist()
        found = []
        for places in order.split(ends):
            starts = torch.nn.functional.pad(rows[places].bincount(minlength=self.n_nodes_).cumsum(0), (1, 0))
            one = Loads(starts, loads.columns[places], torch.zeros_like(loads.steps[places]), loads.loads[places])
            found.append(_matrix(one, torch.ones(1, dtype=torch.float64), self.n_nodes_, self.output))
        return found

    def kernel(
        self,
        rows: Tensor | None = None,
        columns: Tensor | None = None,
        *,
        independent: bool = True,
        symmetrize: bool = False,
    ) -> Tensor:
        r"""Return :math:`\Phi \Phi'^\top`, dense (N, N) or (n, k) of some rows (n,) and columns (k,).

        Args:
            rows: node numbers, int64; None for all.
            columns: node numbers, int64; None for all.
            independent: take the features of columns from other walks, which are made when they are first needed, with
                the numbers that follow. Unbiased, but neither symmetric nor positive semidefinite; otherwise both, and
                biased on the diagonal.
            symmetrize: return the mean of the matrix and its transpose, of all nodes, which is unbiased too.

        Raises:
            UnsupportedError: the matrix of more than 20,000 nodes was asked for; there is `kernel_product`.
        """
        if max(self._count(rows), self._count(columns)) > DENSE:
            raise UnsupportedError(
                f"kernel of {self.n_nodes_} nodes would be dense; give rows and columns of at most {DENSE}, or take"
                " kernel_product"
            )
        if symmetrize and (rows is not None or columns is not None):
            raise InputError("symmetrize=True needs the kernel of all nodes, without rows or columns")
        left = self._sparse(self._of(self._loads(), rows), "torch")
        right = self._sparse(self._of(self._second(independent), columns), "torch")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")  # PyTorch goes by CSR inside
            found: Tensor = (left @ right.T).to_dense()
        return (found + found.T) / 2 if symmetrize else found

    def kernel_product(self, y: Tensor, *, independent: bool = True) -> Tensor:
        r"""Return :math:`\Phi (\Phi'^\top y)`, an estimate of K y for y (N,) or (N, C), without the matrix K."""
        y = self._checked_rows("y", y)
        left, right = self._sparse(self._loads(), "torch"), self._sparse(self._second(independent), "torch")
        return left @ (right.T @ y)

    def laplacian_kernel(self, d: float = 2.0, *, independent: bool = True) -> Tensor:
        r"""Return an estimate of the d-regularised Laplacian kernel :math:`(I + \sigma^2 L)^{-d}`, dense (N, N).

        It is :math:`(1 + \sigma^2)^{-d}` times the kernel of the modulation `regularized(d)`, from the same walks; for
        d = 1 with about half the error of the published product of the kernel for d = 2 with I - U.

        Raises:
            InputError: d is not positive, or U is not normalised by the Laplacian.
        """
        if self.normalization != "laplacian":
            raise InputError(f"normalization={self.normalization!r} must be 'laplacian' for a kernel of the Laplacian")
        before, self.modulation, self.alpha = (self.modulation, self.alpha), regularized(d), None
        try:
            return self.kernel(independent=independent) / (1 + self.sigma2) ** d
        finally:
            self.modulation, self.alpha = before

    def solve(self, b: Tensor) -> Tensor:
        r"""Return an estimate of :math:`(I - U)^{-1} b` for b (N,) or (N, C), by f = 1, whatever the modulation is.

        With "laplacian", x / (1 + sigma2) solves :math:`(I + \sigma^2 L) x = b`.

        Raises:
            InputError: b has another length, or the series diverges, because the scale of U is 1 or more.
        """
        loads, b = self._loads(), self._checked_rows("b", b)
        self._check_convergence("solve")
        return _matrix(loads, torch.ones(loads.length, dtype=torch.float64), self.n_nodes_, "torch") @ b

    def _sparse(self, loads: Loads, output: str) -> Any:
        """Return features of rows whose walks left these loads."""
        check_choice("output", output, OUTPUTS)
        if isinstance(self.modulation, str) and self.modulation.startswith("regularized") and self.alpha is None:
            self._check_convergence(f"modulation={self.modulation!r}")
        return _matrix(loads, coefficients(self.modulation, self.alpha, loads.length), self.n_nodes_, output)

    def _loads(self) -> Loads:
        check_is_fitted(self, "loads_")
        return self.loads_

    def _second(self, independent: bool) -> Loads:
        """Return the loads of the other walks, which are made once."""
        if not independent:
            return self._loads()
        if self._others is None:
            run = FeatureWalks(self._walker, self.walks, self._stream)
            while not run.is_over:
                run.advance()
            self._others = run.loads()
        return self._others

    def _of(self, loads: Loads, nodes: Tensor | None) -> Loads:
        if nodes is None:
            return loads
        self._count(nodes)
        if nodes.numel() and not 0 <= int(nodes.min()) <= int(nodes.max()) < self.n_nodes_:
            raise InputError(f"nodes must lie between 0 and {self.n_nodes_ - 1}")
        return loads.of(nodes)

    def _count(self, nodes: Tensor | None) -> int:
        check_is_fitted(self, "loads_")
        if nodes is None:
            return self.n_nodes_
        if not isinstance(nodes, Tensor) or nodes.dim() != 1 or nodes.dtype != torch.long:
            raise InputError("nodes must be one list of int64, numbers of nodes of the graph that was fitted")
        return nodes.shape[0]

    def _checked_rows(self, name: str, values: Tensor) -> Tensor:
        self._loads()
        if not isinstance(values, Tensor):
            raise InputError(f"{name} of type {type(values).__name__} must be a tensor ({self.n_nodes_},), or (N, C)")
        if values.dim() not in (1, 2) or values.shape[0] != self.n_nodes_:
            raise InputError(f"{name} of shape {tuple(values.shape)} must be ({self.n_nodes_},), or with columns")
        return values.double()

    def _check_convergence(self, what: str) -> None:
        if self.normalization == "adjacency" and scale_of("adjacency", self.sigma2) >= 1:
            raise InputError(f"{what} needs sigma2={self.sigma2} below 1 with normalization='adjacency'")

    def _check(self) -> None:
        check_at_least("walks", self.walks, 1)
        if self.antithetic and self.walks % 2:
            raise InputError(f"walks={self.walks} must be even, since antithetic walks come in pairs")
        check_halting(self.p_halt)
        check_positive("sigma2", self.sigma2)
        if self.normalization is not None:
            check_choice("normalization", self.normalization, NORMALIZATIONS)
        check_choice("output", self.output, OUTPUTS)
        coefficients(self.modulation, self.alpha, 1)
        if not isinstance(self.random_state, Stream):
            check_at_least("random_state", self.random_state, 0)


def _matrix(loads: Loads, f: Tensor, nodes: int, output: str) -> Any:
    """Return the sums of f times loads over steps, (n, N), sparse; f is 0 beyond its end."""
    kept = loads.steps < f.shape[0]
    rows, columns, steps = loads.rows[kept], loads.columns[kept].long(), loads.steps[kept].long()
    values = f.index_select(0, steps) * loads.loads[kept]
    is_first = torch.ones_like(kept[: rows.shape[0]])
    is_first[1:] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
    rows, columns = rows[is_first], columns[is_first]
    sums = values.new_zeros(rows.shape[0]).index_add(0, is_first.cumsum(0) - 1, values)
    shape = (loads.starts.shape[0] - 1, nodes)
    if output == "torch":
        return torch.sparse_coo_tensor(
            torch.stack([rows, columns]), sums, shape, is_coalesced=True, check_invariants=False
        )
    starts = torch.nn.functional.pad(rows.bincount(minlength=shape[0]).cumsum(0), (1, 0))
    kind = get_index_dtype(maxval=max(*shape, sums.shape[0]))  # scikit-learn reads int32 alone
    arrays = sums.detach().numpy(), columns.numpy().astype(kind), starts.numpy().astype(kind)
    return csr_array(arrays, shape=shape)
