"""Filters on the smooth vectors of a graph, and recommendation by them (LCFN, Yu and Qin, ICML 2020)."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least
from convnn.nn.graphs._checks import check_features
from convnn.nn.graphs._user_items import UserItemEmbeddings
from convnn.ops.ragged import check_edges

SPARSEST = 512
"""Vertices up to which all eigenvectors are computed, of which only the smoothest are kept."""


class LowPassFilter(nn.Module):
    r"""A learned factor for each vector of a fixed basis; what lies outside of their span is left out.

    .. math:: y = P \operatorname{diag}(f) P^\top x

    (N, N) is never formed. f is drawn from N(1, 0.001).

    Args:
        basis: (N, k) P, such as eigenvectors of the graph: a buffer.

    Raises:
        InputError: the basis is no matrix; in forward: the features do not have N rows.

    Reference:
        Yu and Qin, "Graph Convolutional Network for Recommendation with Low-pass Collaborative Filters", ICML 2020.
    """

    basis: Tensor

    def __init__(self, basis: Tensor) -> None:
        super().__init__()
        if basis.dim() != 2 or not basis.is_floating_point():
            raise InputError(f"basis of shape {tuple(basis.shape)} and {basis.dtype} must be floating and (N, k)")
        self.register_buffer("basis", basis)
        self.weight = nn.Parameter(torch.empty(basis.shape[1], dtype=basis.dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the factors."""
        nn.init.normal_(self.weight, mean=1.0, std=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """Return features (N, C) from features (N, C)."""
        check_features(x)
        return filtered(x, self.basis, self.weight)


def filtered(x: Tensor, basis: Tensor, factors: Tensor) -> Tensor:
    """Return features (N, C) after a filter with these factors (k,) on a basis (N, k)."""
    if x.shape[0] != basis.shape[0]:
        raise InputError(f"basis of shape {tuple(basis.shape)} must have {x.shape[0]} rows, as x")
    return (basis * factors) @ (basis.T @ x)


class LCFN(UserItemEmbeddings):
    r"""Embeddings of users and items that pass a low-pass filter of either side's hypergraph in every layer.

    Users are vertices that share the items as hyperedges, and items are vertices that share users. With the smoothest
    eigenvectors P of users and Q of items (`hypergraph_bases`), and a map T that both sides share,

    .. math:: E^u_{l+1} = \sigma(P \operatorname{diag}(f^u_l) P^\top E^u_l T_l), \quad
        E^i_{l+1} = \sigma(Q \operatorname{diag}(f^i_l) Q^\top E^i_l T_l)

    with the logistic function; vectors of all depths are concatenated. `prepare` computes the bases, which are buffers;
    before, they are zero. Embeddings are drawn from N(0, 0.1), f from N(1, 0.001), T near the identity. Published
    experiments begin with embeddings of matrix factorisation.

    Args:
        num_users: number of users, U.
        num_items: number of items, I.
        dim: dimensions of the embeddings; vectors have (num_layers + 1) dim.
        num_layers: number of layers.
        user_frequencies: number of eigenvectors of the users, at most U.
        item_frequencies: number of those of the items, at most I.
        weigh_hyperedges: hyperedges of many vertices count less, 1 / their number.

    Raises:
        InputError: a number is out of range.

    Reference:
        Yu and Qin, "Graph Convolutional Network for Recommendation with Low-pass Collaborative Filters", ICML 2020.
        The loss is `convnn.objectives.ranking.bpr_loss`, which `decaying` belongs to.
    """

    user_basis: Tensor
    item_basis: Tensor

    def __init__(
        self,
        num_users: int,
        num_items: int,
        *,
        dim: int = 64,
        num_layers: int = 1,
        user_frequencies: int = 100,
        item_frequencies: int = 50,
        weigh_hyperedges: bool = False,
    ) -> None:
        super().__init__(num_users, num_items, dim=dim)
        check_at_least("num_layers", num_layers, 0)
        _check_frequencies("user_frequencies", user_frequencies, num_users)
        _check_frequencies("item_frequencies", item_frequencies, num_items)
        self.weigh_hyperedges = weigh_hyperedges
        self.register_buffer("user_basis", torch.zeros(num_users, user_frequencies))
        self.register_buffer("item_basis", torch.zeros(num_items, item_frequencies))
        self.user_factors = nn.ParameterList(torch.empty(user_frequencies) for _ in range(num_layers))
        self.item_factors = nn.ParameterList(torch.empty(item_frequencies) for _ in range(num_layers))
        self.transforms = nn.ParameterList(torch.empty(dim, dim) for _ in range(num_layers))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw embeddings, factors and maps."""
        super().reset_parameters()
        with torch.no_grad():
            for factors in (*self.user_factors, *self.item_factors):
                factors.normal_(1.0, 0.001)
            for matrix in self.transforms:
                near = torch.normal(torch.ones(len(matrix)), 0.001).diag()
                matrix.copy_(near + torch.normal(torch.zeros(matrix.shape), 0.001))

    def prepare(self, edge_index: Tensor) -> None:
        """Compute the bases of these interactions, the user and the item of each, (2, E)."""
        sizes = (self.users.num_embeddings, self.items.num_embeddings)
        widths = (self.user_basis.shape[1], self.item_basis.shape[1])
        found = hypergraph_bases(edge_index, *sizes, *widths, weighted=self.weigh_hyperedges)
        self.user_basis.copy_(found.users)
        self.item_basis.copy_(found.items)

    def forward(self, edge_index: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors of users (U, (L + 1) dim) and items (I, (L + 1) dim); interactions are not read again."""
        users, items = [self.users.weight], [self.items.weight]
        for of_users, of_items, matrix in zip(self.user_factors, self.item_factors, self.transforms, strict=True):
            users.append((filtered(users[-1], self.user_basis, of_users) @ matrix).sigmoid())
            items.append((filtered(items[-1], self.item_basis, of_items) @ matrix).sigmoid())
        return torch.cat(users, 1), torch.cat(items, 1)

    def decaying(self) -> list[Tensor]:
        """Return factors and maps: all of them decay in every batch, towards 0."""
        return [*self.user_factors, *self.item_factors, *self.transforms]


class Bases(NamedTuple):
    """The smoothest vectors of users (U, k_u) and items (I, k_i), orthonormal, smoothest first."""

    users: Tensor
    items: Tensor


def hypergraph_bases(
    edge_index: Tensor,
    num_users: int,
    num_items: int,
    user_frequencies: int,
    item_frequencies: int,
    *,
    weighted: bool = False,
) -> Bases:
    r"""Return the eigenvectors of the smallest eigenvalues of the Laplacians of both hypergraphs of interactions.

    With members H, the weight w of each hyperedge, its size :math:`D_e` and the degrees :math:`D_v = H w`,

    .. math:: L = I - S S^\top, \quad S = D_v^{-1/2} H \operatorname{diag}(w)^{1/2} D_e^{-1/2}

    so that they are the left singular vectors of S. Without weights both sides share S: one decomposition gives both.
    The largest entry of each is positive; inside an eigenspace of several vectors the choice is arbitrary.

    Args:
        edge_index: (2, E) int64, the user and the item of each interaction; equal ones count once.
        num_users: number of users, U.
        num_items: number of items, I.
        user_frequencies: number of eigenvectors of the users, 1 to U.
        item_frequencies: number of those of the items, 1 to I.
        weighted: hyperedges weigh 1 / their size; otherwise 1.

    Returns:
        Float64 matrices, on the CPU.

    Raises:
        InputError: there is no interaction, a user or item does not exist, or a number is out of range.
    """
    _check_frequencies("user_frequencies", user_frequencies, num_users)
    _check_frequencies("item_frequencies", item_frequencies, num_items)
    of_users, of_items = hypergraph_roots(edge_index, num_users, num_items, weighted=weighted)
    if weighted:
        users, _ = _singular_vectors(of_users, user_frequencies, 0)
        items, _ = _singular_vectors(of_items, item_frequencies, 0)
    else:
        users, items = _singular_vectors(of_users, user_frequencies, item_frequencies)
    return Bases(*(torch.from_numpy(_with_signs(basis)) for basis in (users, items)))


def hypergraph_roots(edge_index: Tensor, num_users: int, num_items: int, *, weighted: bool = False) -> tuple[Any, Any]:
    """Return S of users (U, I) and S of items (I, U), sparse; L = I - S S^T, see `hypergraph_bases`.

    Raises:
        InputError: there is no interaction, or a user or item does not exist.
    """
    from scipy import sparse

    check_edges(edge_index, num_users, num_items, ends=("users", "items"))
    if not edge_index.shape[1]:
        raise InputError("edge_index of shape (2, 0) must have at least one interaction")
    rows, columns = edge_index.unique(dim=1).cpu().numpy()
    members = sparse.csr_array((np.ones(len(rows)), (rows, columns)), shape=(num_users, num_items))

    def root(members: Any) -> Any:
        sizes = np.maximum(members.sum(0), 1e-10)
        weights = 1 / sizes if weighted else np.ones_like(sizes)
        degrees = np.maximum(members @ weights, 1e-10)
        return sparse.diags_array(degrees**-0.5) @ members @ sparse.diags_array((weights / sizes) ** 0.5)

    return root(members), root(members.T.tocsr())


def _singular_vectors(matrix: Any, left: int, right: int) -> tuple[Any, Any]:
    """Return the first left and right singular vectors, also those of value 0, in the order of falling values."""
    from scipy.sparse.linalg import svds

    smallest, most = min(matrix.shape), max(left, right)
    if smallest <= SPARSEST or 2 * most > smallest:
        vectors, _, others = np.linalg.svd(matrix.toarray())
        return vectors[:, :left], others[:right].T
    start = np.random.default_rng(0).standard_normal(smallest)
    vectors, values, others = svds(matrix, most, v0=start)
    order = np.argsort(-values, kind="stable")
    return vectors[:, order[:left]], others[order[:right]].T


def _with_signs(basis: Any) -> Any:
    """Return vectors (N, k) whose largest entry is positive."""
    if not basis.shape[1]:
        return basis
    largest = np.take_along_axis(basis, np.abs(basis).argmax(0)[None], 0)
    return np.ascontiguousarray(basis * np.where(largest < 0, -1.0, 1.0))


def _check_frequencies(name: str, number: int, vertices: int) -> None:
    if not 1 <= number <= vertices:
        kind = name.split("_")[0]
        raise InputError(f"{name}={number} must lie between 1 and {vertices}, the number of {kind}s")
