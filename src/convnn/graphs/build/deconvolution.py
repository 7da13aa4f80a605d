r"""The graph behind an observed one, by unrolled steps that undo a convolution (GDN, arXiv 2205.09575).

The observed matrix is thought to be a polynomial of the latent adjacency A, as correlations or diffusion would make it,
:math:`A_O = H(A) = h_0 I + h_1 A + h_2 A^2 + ...`, and A is sought by

.. math:: \min_{A \ge 0} \tfrac12 \lVert A_O - H(A) \rVert_F^2 + \lambda \lVert A \rVert_1

A proximal step whose gradient leaves out :math:`A^2, A^3, ...` is affine in A, with a soft threshold; its coefficients
become the parameters of a layer.
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnn.errors import InputError, check_at_least
from convnn.ops.edges import from_dense

_SPREAD = 1 / 3
"""Standard deviation of the first coefficients."""
_LEAST = 1e-12
"""What is added to the largest entry before dividing by it."""


class GDNLayer(nn.Module):
    r"""A proximal step on graphs S of several channels, towards the one behind the observed A.

    .. math::
        Z_o = \operatorname*{mean}_i \Bigl( \alpha_{oi} S_i + \beta_{oi} (S_i A + A S_i)
        + \sum_{k=0}^{K} w_{oki} T_k(A) \Bigr) \odot (1 - I), \qquad
        Y_o = \max \Bigl( 0, \frac{Z_o}{\max |Z_o|} - \tau_o \Bigr)

    with Chebyshev polynomials T, for which the eigenvalues of A should lie in [-1, 1]. The divisor is that of each
    channel and graph, and carries no gradient. Symmetric graphs stay symmetric. The coefficient of :math:`T_0 = I` has
    no effect, since the diagonal is 0; it is there as in the published parameters.

    Args:
        in_channels: channels of S.
        out_channels: channels of the output.
        order: K, at least 1, since :math:`T_0` does not show the observed graph.
        normalize: divide by the largest entry.
        learn_tau: whether the thresholds are parameters, or a buffer.
        tau_scale: factor of the first thresholds, which go from 0.01 to 0.9 over the channels. High ones start nearly
            dead, and a channel that is 0 everywhere has no gradient; published is 1, or 0.1 where they are drawn anew.

    Shapes:
        s (B, C_in, N, N), observed (B, N, N); output (B, C_out, N, N).

    Raises:
        InputError: an argument is out of range, a shape is wrong, or a threshold is negative: call `clamp_` after each
            step of an optimizer.

    Reference:
        Wasserman et al., "Learning Graph Structure from Convolutional Mixtures", arXiv 2205.09575, and the
        first author's library.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        order: int = 1,
        *,
        normalize: bool = True,
        learn_tau: bool = True,
        tau_scale: float = 1.0,
    ) -> None:
        super().__init__()
        for name, value in (("in_channels", in_channels), ("out_channels", out_channels), ("order", order)):
            check_at_least(name, value, 1)
        if not 0 <= tau_scale <= 1:
            raise InputError(f"tau_scale={tau_scale!r} must lie between 0 and 1")
        self.in_channels, self.out_channels, self.order, self.normalize = in_channels, out_channels, order, normalize
        self.tau_scale = tau_scale
        self.alpha = nn.Parameter(torch.empty(out_channels, in_channels))
        self.beta = nn.Parameter(torch.empty(out_channels, in_channels))
        self.weight = nn.Parameter(torch.empty(out_channels, order + 1, in_channels))
        self.tau: Tensor
        if learn_tau:
            self.tau = nn.Parameter(torch.empty(out_channels))
        else:
            self.register_buffer("tau", torch.empty(out_channels))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw coefficients near those of a step that keeps S and adds A, and set the thresholds."""
        nn.init.normal_(self.alpha, 1, _SPREAD)
        nn.init.normal_(self.beta, 0, _SPREAD)
        nn.init.normal_(self.weight, 0, _SPREAD)
        with torch.no_grad():
            self.weight[:, 1] = 1
            self.tau.copy_(self.tau_scale * torch.linspace(0.01, 0.9, self.out_channels))

    @torch.no_grad()
    def clamp_(self, most: float = 0.99) -> "GDNLayer":
        """Project the thresholds to [0, most], as after each step of training."""
        self.tau.clamp_(0, most)
        return self

    def forward(self, s: Tensor, observed: Tensor, *, normalize: bool | None = None) -> Tensor:
        """Map (B, C_in, N, N) to (B, C_out, N, N); `normalize` is as the layer was built if it is None."""
        shape = (observed.shape[0], self.in_channels, *observed.shape[1:])
        if observed.dim() != 3 or s.shape != shape:
            raise InputError(f"s of shape {tuple(s.shape)} must be {shape}, for observed {tuple(observed.shape)}")
        if not torch.compiler.is_compiling() and bool((self.tau < 0).any()):
            raise InputError(f"tau has {self.tau.min().item()}; thresholds must be at least 0, see `clamp_`")
        a = observed.unsqueeze(1)
        mixed = torch.einsum("oi, bimn -> bomn", self.alpha, s)
        mixed = mixed + torch.einsum("oi, bimn -> bomn", self.beta, s @ a + a @ s)
        for weight, power in zip(self.weight.sum(2).T, chebyshev(observed, self.order), strict=True):
            mixed = mixed + weight[:, None, None] * power.unsqueeze(1)
        z = mixed / self.in_channels
        z = z * (1 - torch.eye(z.shape[-1], dtype=z.dtype, device=z.device))
        if self.normalize if normalize is None else normalize:
            z = z / (z.detach().abs().amax((2, 3), keepdim=True) + _LEAST)
        return F.relu(z - self.tau[:, None, None])

    def extra_repr(self) -> str:
        """Show what the layer was built with."""
        return f"{self.in_channels}, {self.out_channels}, order={self.order}, normalize={self.normalize}"


class GDN(nn.Module):
    """Find the graph behind an observed one, by several `GDNLayer` and a mean over channels.

    The first layer begins with the prior; the last one does not divide by its largest entry. A trained network reads
    graphs of any size, if the prior fits. One layer of order 1 without a prior ranks pairs as the observed graph does.

    Args:
        depth: number of layers, at least 1.
        channels: of all layers.
        order: see `GDNLayer`.
        share: repeat one layer, for which the prior is repeated over its channels (the published code fails with more
            than one).
        learn_tau: see `GDNLayer`.
        tau_scale: see `GDNLayer`.

    Shapes:
        observed (B, N, N) or (N, N), symmetric; divide it by its largest absolute eigenvalue first. prior (N, N),
        symmetric, or (N (N - 1) / 2,), its upper triangle row by row, or None for 0; its diagonal is not read. Output
        as `observed`: scores of at least 0.

    Raises:
        InputError: an argument is out of range, the observed graph is not square, finite and symmetric, or the prior
            does not fit.

    Reference:
        Wasserman et al., "Learning Graph Structure from Convolutional Mixtures", arXiv 2205.09575. Published training:
        `edge_hinge`, Adam with rate 0.01 and betas (0.85, 0.99), `clamp_` after each step.

    Example:
        >>> GDN(3, 4)(torch.eye(5)).shape
        torch.Size([5, 5])
    """

    def __init__(
        self,
        depth: int,
        channels: int,
        order: int = 1,
        *,
        share: bool = False,
        learn_tau: bool = True,
        tau_scale: float = 1.0,
    ) -> None:
        super().__init__()
        check_at_least("depth", depth, 1)
        check_at_least("channels", channels, 1)
        self.depth = depth
        widths = [channels] if share else [1] + [channels] * (depth - 1)
        self.in_channels = widths[0]
        self.layers = nn.ModuleList(
            GDNLayer(width, channels, order, learn_tau=learn_tau, tau_scale=tau_scale) for width in widths
        )

    def clamp_(self, most: float = 0.99) -> "GDN":
        """Project the thresholds of all layers to [0, most], as after each step of training."""
        for layer in self.layers:
            cast(GDNLayer, layer).clamp_(most)
        return self

    def forward(self, observed: Tensor, prior: Tensor | None = None) -> Tensor:
        """Return scores of the pairs of nodes."""
        check_symmetric("observed", observed)
        batch = observed.unsqueeze(0) if observed.dim() == 2 else observed
        s = _prior(prior, batch).expand(batch.shape[0], self.in_channels, -1, -1)
        for i in range(self.depth):
            layer = self.layers[i % len(self.layers)]
            s = layer(s, batch, normalize=i < self.depth - 1)
        return s.mean(1).view_as(observed)


def chebyshev(a: Tensor, order: int) -> list[Tensor]:
    """Return the Chebyshev polynomials of matrices (..., N, N), of degree 0 to `order`, which is at least 1."""
    powers = [torch.eye(a.shape[-1], dtype=a.dtype, device=a.device).expand_as(a), a]
    while len(powers) <= order:
        powers.append(2 * a @ powers[-1] - powers[-2])
    return powers


def upper_triangle(matrices: Tensor) -> Tensor:
    """Return the entries (..., N (N - 1) / 2) above the diagonals of matrices (..., N, N), row by row."""
    rows, columns = torch.triu_indices(matrices.shape[-2], matrices.shape[-1], offset=1, device=matrices.device)
    return matrices[..., rows, columns]


def edge_hinge(scores: Tensor, labels: Tensor, *, margin: float = 0.25) -> Tensor:
    r"""Return the hinge loss of edges: a sum over pairs, and the mean of that over graphs.

    .. math:: \sum_{y = 0} \max(0, s - m) + \sum_{y > 0} \max(0, 1 - m - s)

    Args:
        scores: (B, P), of each pair of nodes; see `upper_triangle`.
        labels: (B, P), above 0 where there is an edge.
        margin: m, in [0, 0.5].

    Raises:
        InputError: shapes are wrong or differ, or the margin is out of range.

    Reference:
        Wasserman et al., arXiv 2205.09575.
    """
    _check_pairs(scores, labels)
    if not 0 <= margin <= 0.5:
        raise InputError(f"margin={margin!r} must lie between 0 and 0.5")
    off = torch.where(labels > 0, 1 - margin - scores, scores - margin)
    return off.relu().sum(1).mean()


def edge_se(scores: Tensor, labels: Tensor) -> Tensor:
    r"""Return :math:`\lVert s - y \rVert^2`, as a mean over graphs; shapes and errors as in `edge_hinge`."""
    _check_pairs(scores, labels)
    return (scores - labels).square().sum(1).mean()


def edge_nse(scores: Tensor, labels: Tensor) -> Tensor:
    r"""Return :math:`\lVert s - y \rVert^2 / \lVert y \rVert^2`, as a mean over graphs.

    Shapes and errors are as in `edge_hinge`; a graph without edges is refused as well.
    """
    _check_pairs(scores, labels)
    sizes = labels.to(scores.dtype).square().sum(1)
    if bool((sizes == 0).any()):
        graph = int((sizes == 0).nonzero()[0])
        raise InputError(f"labels[{graph}] has no edge; every graph must have one, since its size is divided by")
    return ((scores - labels).square().sum(1) / sizes).mean()


def best_threshold(scores: Tensor, labels: Tensor, *, count: int = 200) -> float:
    """Return the threshold above which scores are edges with the fewest errors; of equal ones the lowest.

    Args:
        scores: (B, P) of graphs that the threshold is not judged by.
        labels: (B, P), above 0 where there is an edge.
        count: how many thresholds are compared, evenly spaced from the lowest to the highest score.

    Raises:
        InputError: shapes are wrong or differ, or count is less than 1.
    """
    _check_pairs(scores, labels)
    check_at_least("count", count, 1)
    flat, is_edge = scores.detach().flatten(), labels.flatten() > 0
    thresholds = torch.linspace(float(flat.min()), float(flat.max()), count, dtype=flat.dtype, device=flat.device)
    right = torch.stack([((flat > threshold) == is_edge).sum() for threshold in thresholds])
    return float(thresholds[right.argmax()])


def to_edge_index(scores: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return the edges (2, E) of scores (B, N, N) or (N, N) above a threshold, and these scores (E,).

    Node n of graph b is node b N + n.

    Raises:
        InputError: the scores are not square.
    """
    _check_square("scores", scores)
    return from_dense(scores, scores > threshold)


def check_symmetric(name: str, graphs: Tensor) -> None:
    """Refuse what are no symmetric matrices.

    Raises:
        InputError: the shape or type is wrong, or an entry is not finite, or not that of the transpose beyond rounding.
    """
    _check_square(name, graphs)
    if torch.compiler.is_compiling():
        return
    if not bool(graphs.isfinite().all()):
        raise InputError(f"{name} must be finite")
    most = graphs.detach().abs().max() if graphs.numel() else graphs.new_zeros(())
    apart = (graphs - graphs.mT).detach().abs()
    if bool((apart > 1e3 * torch.finfo(graphs.dtype).eps * most).any()):
        raise InputError(f"{name} must be symmetric; it differs from its transpose by up to {apart.max().item():.1e}")


def _check_square(name: str, graphs: Tensor) -> None:
    if graphs.dim() not in (2, 3) or graphs.shape[-1] != graphs.shape[-2] or not graphs.is_floating_point():
        raise InputError(
            f"{name} of shape {tuple(graphs.shape)} and {graphs.dtype} must be floating and (N, N) or (B, N, N)"
        )


def _check_pairs(scores: Tensor, labels: Tensor) -> None:
    if scores.dim() != 2 or scores.shape != labels.shape:
        raise InputError(
            f"scores of shape {tuple(scores.shape)} and labels of shape {tuple(labels.shape)} must both be (B, P), a"
            " number for each pair of nodes"
        )


def _prior(prior: Tensor | None, observed: Tensor) -> Tensor:
    """Return a prior as a matrix (N, N) without diagonal, for observed graphs (B, N, N)."""
    nodes = observed.shape[1]
    if prior is None:
        return observed.new_zeros(nodes, nodes)
    pairs = nodes * (nodes - 1) // 2
    if prior.dim() == 2:
        check_symmetric("prior", prior)
        prior = upper_triangle(prior)
    if prior.shape != (pairs,):
        raise InputError(f"prior must be symmetric ({nodes}, {nodes}) or have {pairs} entries, not {prior.numel()}")
    rows, columns = torch.triu_indices(nodes, nodes, offset=1, device=observed.device)
    upper = observed.new_zeros(nodes, nodes).index_put((rows, columns), prior.to(observed.dtype))
    return upper + upper.T
