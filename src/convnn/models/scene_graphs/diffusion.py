"""DiffuseSG: categories, boxes and relations of scene graphs are noise at first, and come out of it together."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from convnn.errors import InputError, check_at_least, check_choice, check_not_negative
from convnn.models.scene_graphs.denoiser import EDMPrecond, SceneGraphDenoiser
from convnn.objectives.boxes import OVERLAPS
from convnn.objectives.denoising import (
    BOX,
    SceneGraphLoss,
    draw_noise_levels,
    noise_like,
    scene_graph_loss,
)
from convnn.ops.dense_graphs import DenseGraphs
from convnn.ops.edm import EDMSampler
from convnn.ops.scene_graphs import SceneGraphs, pairs_apart
from convnn.ops.type_codes import code_channels, decode_types, encode_types


class SceneGraphDiffusion(nn.Module):
    """A denoiser of scene graphs, the codes that it reads and writes, its loss, and samples of it.

    Args:
        like: graphs whose categories, predicates, largest size N and numbers of objects those of the samples are to
            have; usually those of training.
        code: how categories and relations are coded, "scalar", "bits" or "one_hot".
        iou: regulariser of the boxes, "iou", "giou", "diou" or "ciou", or "none".
        iou_weight: its weight.
        sigma_data: standard deviation of the data.
        settings: those of `SceneGraphDenoiser`.

    Raises:
        InputError: an argument is out of range.

    Reference:
        Xu et al., "Joint Generative Modeling of Scene Graphs and Images via Diffusion Models", arXiv 2401.01130.

    Example:
        >>> from convnn.data.scene_graphs import make_scene_graphs
        >>> graphs = make_scene_graphs(8)
        >>> model = SceneGraphDiffusion(graphs, dim=8, depths=(1,), heads=(2,), window=4, noise_channels=16)
        >>> model.loss(graphs).total.backward()
        >>> len(model.sample(3, EDMSampler(steps=2)))
        3
    """

    size_counts: Tensor

    def __init__(
        self,
        like: SceneGraphs,
        *,
        code: str = "bits",
        iou: str = "iou",
        iou_weight: float = 1.0,
        sigma_data: float = 0.5,
        **settings: Any,
    ) -> None:
        super().__init__()
        check_choice("iou", iou, (*OVERLAPS, "none"))
        check_not_negative("iou_weight", iou_weight)
        self.categories, self.predicates = like.categories, like.predicates
        self.code, self.iou, self.iou_weight = code, iou, iou_weight
        channels = [code_channels(len(names), code) for names in (like.predicates, like.categories)]
        denoiser = SceneGraphDenoiser(like.flags.shape[1], channels[0], channels[1] + BOX, **settings)
        self.precond = EDMPrecond(denoiser, sigma_data)
        self.register_buffer("size_counts", like.sizes.bincount(minlength=like.flags.shape[1] + 1))

    def encode(self, graphs: SceneGraphs) -> DenseGraphs:
        """Return the numbers that noise is added to: relations (B, E, N, N), and categories and boxes (B, N, C).

        Raises:
            InputError: the graphs have other names or another size than the network.
        """
        size = len(self.size_counts) - 1
        if (graphs.categories, graphs.predicates, graphs.flags.shape[1]) != (self.categories, self.predicates, size):
            raise InputError(
                f"graphs of {graphs.flags.shape[1]} objects, {len(graphs.categories)} categories and"
                f" {len(graphs.predicates)} predicates must have {size} objects and the names of the network's"
                f" {len(self.categories)} and {len(self.predicates)}"
            )
        real = next(self.parameters()).dtype
        adjacency = encode_types(graphs.relations, len(self.predicates), self.code, 1, dtype=real)
        types = encode_types(graphs.types, len(self.categories), self.code, dtype=real)
        nodes = torch.cat([types, 2 * graphs.boxes.to(real) - 1], dim=2)
        return DenseGraphs(adjacency, nodes).masked(graphs.flags)

    def decode(self, graphs: DenseGraphs, flags: Tensor) -> SceneGraphs:
        """Return the scene graphs that such numbers stand for; an object has no relation to itself."""
        numbers = DenseGraphs(*(part.clamp(-1, 1) for part in graphs))
        types = decode_types(numbers.nodes[..., :-BOX], len(self.categories), self.code) * flags
        boxes = (numbers.nodes[..., -BOX:] + 1) / 2 * flags.unsqueeze(2)
        relations = decode_types(numbers.adjacency, len(self.predicates), self.code, 1) * pairs_apart(flags)
        return SceneGraphs(types, boxes, relations, flags, self.categories, self.predicates)

    def denoise(
        self, noisy: DenseGraphs, flags: Tensor, sigma: Tensor, generator: torch.Generator | None = None
    ) -> DenseGraphs:
        """Return graphs without noise.

        In training with self-conditioning, half of the calls give the network its own first estimate.
        """
        condition, device = None, sigma.device
        if self.denoiser.self_condition and self.training and torch.rand((), generator=generator, device=device) < 0.5:
            with torch.no_grad():
                condition = self.precond(noisy, flags, sigma)
        return self.precond(noisy, flags, sigma, condition)

    def loss(self, graphs: SceneGraphs, generator: torch.Generator | None = None) -> SceneGraphLoss:
        """Return `scene_graph_loss` of graphs with noise of random levels."""
        clean = self.encode(graphs)
        sigma = draw_noise_levels(clean.nodes, generator=generator)
        noise = noise_like(clean, graphs.flags, generator)
        noisy = DenseGraphs(
            clean.adjacency + sigma.view(-1, 1, 1, 1) * noise.adjacency,
            clean.nodes + sigma.view(-1, 1, 1) * noise.nodes,
        )
        return scene_graph_loss(
            self.denoise(noisy, graphs.flags, sigma, generator),
            clean,
            graphs.flags,
            sigma,
            iou=self.iou,
            iou_weight=self.iou_weight,
            sigma_data=self.precond.sigma_data,
        )

    @torch.no_grad()
    def sample(
        self, number: int, sampler: EDMSampler | None = None, generator: torch.Generator | None = None
    ) -> SceneGraphs:
        """Draw scene graphs, with as many objects as the graphs that the network was made from.

        Args:
            number: number of graphs.
            sampler: how noise is removed; None is `EDMSampler` as published, but with Heun's method.
            generator: source of the random numbers; None is that of torch.

        Raises:
            InputError: the number is not positive.
        """
        check_at_least("number", number, 1)
        sampler = replace(sampler or EDMSampler(), self_condition=self.denoiser.self_condition)
        weight = next(self.parameters())
        counts = self.size_counts.to(torch.float64)
        sizes = counts.multinomial(number, replacement=True, generator=generator)
        flags = torch.arange(len(counts) - 1, device=weight.device) < sizes.unsqueeze(1)
        edges, nodes = self.denoiser.channels
        n = flags.shape[1]
        blank = DenseGraphs(weight.new_zeros(number, edges, n, n), weight.new_zeros(number, n, nodes))

        def denoise(x: Any, sigma: Tensor, before: Any) -> DenseGraphs:
            levels = sigma.to(weight).expand(number)
            return self.precond(DenseGraphs(*x), flags, levels, None if before is None else DenseGraphs(*before))

        was_training = self.training
        self.eval()
        found = sampler(denoise, lambda: noise_like(blank, flags, generator))
        self.train(was_training)
        return self.decode(DenseGraphs(*found), flags)

    @property
    def denoiser(self) -> SceneGraphDenoiser:
        """The network inside of the factors of noise."""
        return self.precond.network  # type: ignore[return-value]
