"""Networks of core diffusion, on one graph and on snapshots of a graph that changes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_choice
from convnn.nn.graphs.temporal.cores import CELLS, CoreDiffusion
from convnn.words import counted

FORMS = ("connective", "structural")
ACTIVATIONS = {"none": nn.Identity, "selu": nn.SELU}


def _widths(layers: int, in_channels: int, hidden: int, out_channels: int) -> list[tuple[int, int]]:
    """Return the input and output channels of layers in a row."""
    return list(pairwise([in_channels, *[hidden] * (layers - 1), out_channels]))


class CoreStack(nn.Module):
    """Layers of core diffusion, one after the other.

    Args:
        in_channels: channels of the first layer.
        hidden_channels: channels between layers.
        out_channels: channels of the last.
        num_layers: number of layers.
        rnn: as in `CoreDiffusion`.
        max_cores: as in `CoreDiffusion`.

    Raises:
        InputError: a number is out of range, or the recurrent network is unknown.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        num_layers: int = 1,
        *,
        rnn: str = "gru",
        max_cores: int | None = None,
    ) -> None:
        super().__init__()
        check_at_least("num_layers", num_layers, 1)
        widths = _widths(num_layers, in_channels, hidden_channels, out_channels)
        self.layers = nn.ModuleList(CoreDiffusion(i, o, rnn=rnn, max_cores=max_cores) for i, o in widths)

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        """Map features (N, F) to (N, out_channels); arguments and errors are those of `CoreDiffusion`."""
        for layer in self.layers:
            x = layer(x, edge_index, edge_weight)
        return x


class CGCN(nn.Module):
    """The network of one graph: linear maps of the features, then core diffusion.

    Args:
        in_channels: F.
        out_channels: channels of the result.
        hidden_channels: channels between linear maps, and, in the connective form, after the last one.
        form: "connective", for nodes that are linked to be near each other, or "structural", for nodes in similar
            places; then the linear maps end in out_channels, and their result Z is returned too.
        linear_layers: number of linear maps.
        core_layers: number of layers of core diffusion.
        activation: "none", or "selu" after every linear map.
        rnn: as in `CoreDiffusion`.
        max_cores: as in `CoreDiffusion`.
        bias: of the linear maps.

    Raises:
        InputError: a number is out of range, or a name is unknown.

    Reference:
        Liu et al., arXiv 2003.09902. Its connective form has one linear map, two layers of cores and no activation, the
        structural one three, one and SELU; both 500 hidden channels and 128 in the result.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        hidden_channels: int = 500,
        form: str = "connective",
        linear_layers: int = 1,
        core_layers: int = 2,
        activation: str = "none",
        rnn: str = "gru",
        max_cores: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_choice("form", form, FORMS)
        check_choice("activation", activation, ACTIVATIONS)
        numbers = {"in_channels": in_channels, "out_channels": out_channels, "hidden_channels": hidden_channels}
        for name, number in (numbers | {"linear_layers": linear_layers, "core_layers": core_layers}).items():
            check_at_least(name, number, 1)
        self.form = form
        between = hidden_channels if form == "connective" else out_channels
        widths = _widths(linear_layers, in_channels, hidden_channels, between)
        self.linear = nn.Sequential(
            *(part for i, o in widths for part in (nn.Linear(i, o, bias=bias), ACTIVATIONS[activation]()))
        )
        self.cores = CoreStack(between, out_channels, out_channels, core_layers, rnn=rnn, max_cores=max_cores)

    def embed(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return Y (N, out_channels), and Z, the mapped features; arguments and errors are those of `CoreDiffusion`."""
        z = self.linear(x)
        return self.cores(z, edge_index, edge_weight), z

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return Y, in the structural form with Z; see `embed`."""
        y, z = self.embed(x, edge_index, edge_weight)
        return y if self.form == "connective" else (y, z)


class CTGCN(nn.Module):
    r"""The network of snapshots: a CGCN of its own for each, then a recurrent network over time.

    .. math:: Y = \operatorname{LayerNorm}(\operatorname{GRU}(Y_1, \dots, Y_T)), \qquad Y_t = \operatorname{CGCN}_t(x_t)

    All snapshots have the same N nodes, of which some may have no edge yet. Since every snapshot has its own weights,
    there are as many of them in every call.

    Args:
        in_channels: F.
        out_channels: channels of the result.
        snapshots: T.
        hidden_channels, form, linear_layers, core_layers, activation, rnn, max_cores: as in `CGCN`; the recurrent
            network over time is of the same kind.
        bias: of the linear maps and of the recurrent network over time.

    Raises:
        InputError: a number is out of range, or a name is unknown.

    Reference:
        Liu et al., "K-Core based Temporal Graph Convolutional Network for Dynamic Graphs", arXiv 2003.09902. In the
        published code, the first snapshot decides how many cores are read of the others; here each has its own. The
        losses are those of `convnn.objectives.snapshots`; with the structural one, it takes Z for the embedding, not
        Y.

    Example:
        >>> x, edges = torch.randn(2, 4, 8), torch.tensor([[0, 0, 1], [1, 2, 2]])
        >>> CTGCN(8, 4, 2, hidden_channels=6)(x, [edges[:, :1], edges]).shape
        torch.Size([2, 4, 4])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        snapshots: int,
        *,
        hidden_channels: int = 500,
        form: str = "connective",
        linear_layers: int = 1,
        core_layers: int = 2,
        activation: str = "none",
        rnn: str = "gru",
        max_cores: int | None = None,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_at_least("snapshots", snapshots, 1)
        check_choice("rnn", rnn, CELLS)
        self.form = form
        self.snapshots = nn.ModuleList(
            CGCN(
                in_channels,
                out_channels,
                hidden_channels=hidden_channels,
                form=form,
                linear_layers=linear_layers,
                core_layers=core_layers,
                activation=activation,
                rnn=rnn,
                max_cores=max_cores,
                bias=bias,
            )
            for _ in range(snapshots)
        )
        self.rnn = CELLS[rnn](out_channels, out_channels, bias=bias)
        self.norm = nn.LayerNorm(out_channels)

    def forward(
        self,
        x: Tensor | Sequence[Tensor],
        edge_indices: Sequence[Tensor],
        edge_weights: Sequence[Tensor | None] | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Return Y (T, N, out_channels), in the structural form with Z, of the same shape.

        Args:
            x: (T, N, F), or T tensors (N, F).
            edge_indices: T tensors (2, E_t) int64, as in `CoreDiffusion`.
            edge_weights: T tensors (E_t,), or None for 1.

        Raises:
            InputError: there are not T snapshots, or one of them is refused by `CoreDiffusion`.
        """
        count = len(self.snapshots)
        edge_weights = [None] * count if edge_weights is None else edge_weights
        for name, of_snapshots in (("x", x), ("edge_indices", edge_indices), ("edge_weights", edge_weights)):
            found = of_snapshots.shape[0] if isinstance(of_snapshots, Tensor) else len(of_snapshots)
            if found != count:
                raise InputError(
                    f"{name} has {counted(found, 'snapshot')}; it must have {count}, for each of which the model has"
                    " weights"
                )
        graphs = zip(self.snapshots, x, edge_indices, edge_weights, strict=True)
        of_each = [cast(CGCN, snapshot).embed(*graph) for snapshot, *graph in graphs]
        y, z = (torch.stack(one) for one in zip(*of_each, strict=True))
        y = self.norm(self.rnn(y)[0])
        return y if self.form == "connective" else (y, z)
