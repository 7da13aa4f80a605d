"""The diffusion of scene graphs as a network with a loss of its own, for the Trainer and the command line."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import torch

from convnn.errors import InputError, check_at_least, check_at_most
from convnn.models._own_loss import Answer, OwnLoss
from convnn.models._registry import register_model
from convnn.models.scene_graphs.diffusion import SceneGraphDiffusion
from convnn.nn import LayerFactory
from convnn.ops.edm import EDMSampler
from convnn.ops.scene_graphs import SceneGraphs, blank_graphs

WINDOW = 8
"""Side of the windows of the denoiser, where the table of pairs is larger."""
MOST_NAMES = 1 << 16


class SceneGraphNetwork(OwnLoss):
    r"""A `SceneGraphDiffusion` that learns from scene graphs.

    The terms are the weighted squared errors of relations and of nodes, and, with `iou`, what the boxes lack in
    overlap, at random levels of noise. Tables that do not suit the denoiser are made larger: the N x N pairs to the
    next multiple of 2 to the number of levels but one, and beyond 8 of 8 times this.

    Args:
        layer: function from channels to the layer that embeds the pairs, a convolution of 1 x 1 as published.
        in_channels: N, the most objects.
        num_classes: not read.
        width: factor on d_hidden.
        num_categories: number of categories.
        num_predicates: number of relations, that there is none included.
        d_hidden: channels of the first level, even and a multiple of the heads.
        num_layers: number of blocks of a level.
        levels: number of resolutions.
        num_heads: heads of the first level; each further one has twice as many, as it has channels.
        type_code, iou, iou_weight: code, iou and iou_weight of `SceneGraphDiffusion`.
        self_condition: give the network its own earlier estimate, in half of the steps of training and in samples.
        shuffle_nodes: put objects into a random order in training.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Xu et al., "Joint Generative Modeling of Scene Graphs and Images via Diffusion Models", arXiv 2401.01130.
    """

    default_layer: ClassVar[str] = "Conv2d"
    data: ClassVar[str] = "scenes"
    defaults: ClassVar[Mapping[str, Any]] = {
        "dataset": "made_scenes",
        "optimizer": "adam",
        "lr": 4e-3,
        "scheduler": "cosine",
        "weight_decay": 0.0,
        "batch_size": 32,
        "clip_grad_norm": 10.0,
        "num_epochs": 25,
    }
    sampler: EDMSampler = EDMSampler(steps=32, churn=0.0)

    def __init__(
        self,
        layer: LayerFactory,
        *,
        in_channels: int = 4,
        num_classes: int = 0,
        width: float = 1.0,
        num_categories: int = 5,
        num_predicates: int = 4,
        d_hidden: int = 32,
        num_layers: int = 2,
        levels: int = 1,
        num_heads: int = 4,
        type_code: str = "scalar",
        iou: str = "none",
        iou_weight: float = 0.1,
        self_condition: bool = False,
        shuffle_nodes: bool = False,
    ) -> None:
        super().__init__(in_channels, num_classes, width)
        for name, value in {"num_categories": num_categories, "num_predicates": num_predicates}.items():
            check_at_least(name, value, 1)
            check_at_most(name, value, MOST_NAMES)
        check_at_least("levels", levels, 1)
        self.shuffle_nodes = shuffle_nodes
        self.terms = ("relations", "nodes") if iou == "none" else ("relations", "nodes", "boxes")
        channels = self.scaled(d_hidden)
        self.diffusion = SceneGraphDiffusion(
            blank_graphs(0, room_for(in_channels, levels), _numbers(num_categories), _numbers(num_predicates)),
            code=type_code,
            iou=iou,
            iou_weight=iou_weight,
            dim=channels,
            depths=(num_layers,) * levels,
            heads=tuple(num_heads << level for level in range(levels)),
            window=WINDOW,
            mlp_ratio=2.0,
            noise_channels=2 * channels,
            self_condition=self_condition,
        )
        denoiser = self.diffusion.denoiser
        denoiser.embed = layer(denoiser.embed.in_channels, channels)  # type: ignore[assignment]

    @classmethod
    def sizes(cls, shape: tuple[int, ...]) -> dict[str, int]:
        """Return the numbers of categories and of predicates of data (N, K, R)."""
        _, categories, predicates = shape
        return {"num_categories": categories, "num_predicates": predicates}

    def prepare_from(self, batches: Iterable[SceneGraphs]) -> None:
        """Count how many objects the graphs of training have, as samples will."""
        counts = self.diffusion.size_counts
        counts.zero_()
        for graphs in batches:
            counts += graphs.sizes.bincount(minlength=len(counts))

    def forward(self, x: SceneGraphs) -> Answer:  # type: ignore[override]
        """Return the loss of scene graphs.

        Raises:
            InputError: they have more objects than N, or other numbers of categories or predicates.
        """
        if not len(x):  # of which windows have none; processes that share a batch may have no graph
            answer = self(self.example((x.flags.shape[1],), device=x.flags.device))
            return Answer({name: 0 * term for name, term in answer.terms.items()})
        graphs = self._as_known(x)
        found = self.diffusion.loss(graphs.shuffled() if self.training and self.shuffle_nodes else graphs)
        parts = {"relations": found.relations, "nodes": found.nodes, "boxes": found.weight * found.boxes}
        return Answer({name: parts[name].sum() for name in self.terms})

    def sample(self, count: int, shape: tuple[int, ...] = (), temperature: float = 1.0) -> SceneGraphs:
        """Draw scene graphs with as many objects as those of training; categories and predicates are numbers.

        Raises:
            InputError: the temperature is not 1, or the network has not been trained.
        """
        if temperature != 1:
            raise InputError(f"temperature={temperature} must be 1: noise is removed from what the network has learned")
        if not self.diffusion.size_counts.any():
            raise InputError("network=SceneGraphNetwork has seen no graphs, so it knows no number of objects to draw")
        return self.diffusion.sample(count, self.sampler).resized(self.in_channels)

    def example(self, shape: tuple[int, ...], count: int = 1, device: torch.device | str = "cpu") -> SceneGraphs:
        """Return scene graphs of one object in the middle."""
        names = self.diffusion.categories, self.diffusion.predicates
        return blank_graphs(count, shape[0], *names, device=device)

    def _as_known(self, graphs: SceneGraphs) -> SceneGraphs:
        """Return graphs with numbers for names, in tables of the size of the denoiser."""
        named = graphs.renamed(self.diffusion.categories, self.diffusion.predicates)
        return named.resized(len(self.diffusion.size_counts) - 1)


def room_for(objects: int, levels: int) -> int:
    """Return the least side of a table of pairs that halvings and windows of side 8 divide."""
    unit = 1 << (levels - 1)
    side = -(-objects // unit) * unit
    return side if side <= WINDOW else -(-objects // (WINDOW * unit)) * WINDOW * unit


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(map(str, range(count)))


@register_model(SceneGraphNetwork, kernel_size=1)
def diffusesg(layer: LayerFactory, **settings: Any) -> SceneGraphNetwork:
    """Diffusion of scene graphs, which learns categories, boxes and relations together without labels."""
    return SceneGraphNetwork(layer, **settings)
