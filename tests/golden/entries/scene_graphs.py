"""Scene graphs: DiffuseSG (arXiv 2401.01130), its denoiser, objective, codes and sampler."""

from collections.abc import Callable

import torch
from torch import Tensor

from convnn.models.hierarchical.gcvit import as_offsets
from convnn.models.scene_graphs import EDMPrecond, SceneGraphDenoiser
from convnn.objectives.denoising import edm_scaling, edm_weight, scene_graph_loss
from convnn.ops.dense_graphs import DenseGraphs
from convnn.ops.edm import EDMSampler
from convnn.ops.type_codes import decode_types, encode_types
from golden.case import Case
from golden.entry import Entry, refuse

NAMES = {
    "map_layer0": "noise.first",
    "map_layer1": "noise.second",
    "patch_embed.proj": "embed",
    "patch_embed.norm": "embed_norm",
    "patch_embed.affine": "embed_film.affine",
    "down_layers": "down",
    "up_layers": "up",
    "downsample": "resample",
    "upsample": "resample",
    "reduction": "reduce",
    "pre_linear": "mix",
    "post_linear": "output",
    "affine": "film.affine",
    "attn": "attention",
    "proj": "output",
    "relative_position_bias_table": "relative_bias",
    "read_out": "readout",
    "readout_adj_mlp": "edge_head",
    "readout_node_mlp": "node_head",
}


def _denoiser(case: Case) -> SceneGraphDenoiser:
    refuse(case, symmetric="edges have a direction")
    sizes = [case.config[name] for name in ("max_nodes", "edge_channels", "node_channels")]
    settings = case.pick("depths", "mlp_ratio", "noise_channels", dim="embed_dim", heads="num_heads")
    settings |= case.pick(window="window_size", patch="patch_size", self_condition="self_condition")
    return SceneGraphDenoiser(*sizes, **settings)


def _arranged(named: dict[str, Tensor], _: SceneGraphDenoiser) -> dict[str, Tensor]:
    return {name: as_offsets(value) if name.endswith("relative_bias") else value for name, value in named.items()}


def _graphs(adjacency: Tensor, nodes: Tensor) -> DenseGraphs:
    """Return graphs, of which published ones lack the axis of a single channel."""
    return DenseGraphs(adjacency.unsqueeze(1) if adjacency.dim() == 3 else adjacency, nodes)


def _denoise(
    ours: SceneGraphDenoiser,
    adjacency: Tensor,
    nodes: Tensor,
    flags: Tensor,
    noise: Tensor,
    before: Tensor | None,
    nodes_before: Tensor | None,
) -> tuple[Tensor, Tensor]:
    condition = None if before is None else _graphs(before, nodes_before)
    edges, nodes = ours(_graphs(adjacency, nodes), flags.bool(), noise, condition)
    return edges.view_as(adjacency), nodes


def _objective(case: Case) -> Callable[..., dict[str, Tensor]]:
    config, tensors = case.config, case.tensors
    kind, weight, data = config["iou_loss_type"], config["iou_loss_weight"], config["sigma_data"]
    flags, sigma = tensors["node_flags"].bool(), tensors["sigma"]

    def run(raw_adj: Tensor, raw_node: Tensor) -> dict[str, Tensor]:
        clean = _graphs(tensors["clean_adj"], tensors["clean_node"])
        noisy = [x + tensors[f"noise_{part}"].view_as(x) for part, x in zip(("adj", "node"), clean, strict=True)]
        precond = EDMPrecond(lambda *_: _graphs(raw_adj, raw_node), data)  # type: ignore[arg-type]
        denoised = precond(DenseGraphs(*noisy), flags, sigma)
        loss = scene_graph_loss(
            denoised, clean, flags, sigma, iou=kind, iou_weight=weight, iou_power=1, over="batch", sigma_data=data
        )
        scaling = edm_scaling(sigma, data)
        factors = {f"c_{name}": getattr(scaling, name) for name in ("skip", "out", "noise")} | {"c_in": scaling.into}
        parts = {"loss_adj": loss.relations, "loss_node": loss.nodes, "loss_iou": loss.boxes}
        found = {"denoised_adj": denoised.adjacency.view_as(raw_adj), "denoised_node": denoised.nodes}
        return {"loss": loss.total, **parts, **found, **factors, "weight": edm_weight(sigma, data)}

    return run


CODES = {"ddpm": "scalar", "bits": "bits", "one_hot": "one_hot"}


def _codes(case: Case) -> Callable[..., dict[str, Tensor]]:
    types, tensors = case.config["num_types"], case.tensors

    def run(flags: Tensor) -> dict[str, Tensor]:
        found, flags = {}, flags.double()
        masks = {"nodes": (flags, -1), "adjs": (flags.unsqueeze(1) * flags.unsqueeze(2), 1)}
        for part, (mask, dim) in masks.items():
            for theirs, code in CODES.items():
                numbers = encode_types(tensors[f"{part}.int"].long(), types, code, dim, dtype=flags.dtype)
                numbers = numbers * mask.unsqueeze(dim)
                noisy = f"{part}.noisy_{code}"
                scalar = code == "scalar"
                found[f"{part}.{theirs}"] = numbers.squeeze(dim) if scalar else numbers
                read = tensors[noisy].unsqueeze(dim) if scalar else tensors[noisy]
                found[f"{noisy}_decoded"] = decode_types(read, types, code, dim) * mask
        return found

    return run


def _toy(case: Case) -> Callable[..., DenseGraphs]:
    """Return the denoiser that the published samples were drawn with, which reads x as it is."""
    toy, flags = case.config["denoiser"], case.tensors["node_flags"].bool()
    a, b, w = (toy[name] for name in "abw")

    def denoise(x: list[Tensor], sigma: Tensor, condition: list[Tensor] | None) -> DenseGraphs:
        c, before = edm_scaling(sigma), [0, 0] if condition is None else condition
        parts = [c.skip * part + c.out * (a * (b * part).sin() + w * y) for part, y in zip(x, before, strict=True)]
        return DenseGraphs(*parts).masked(flags)

    return denoise


def _sampler(case: Case) -> Callable[..., dict[str, Tensor]]:
    config, tensors = case.config, case.tensors
    names = {"churn": "S_churn", "churn_from": "S_min", "churn_to": "S_max", "noise": "S_noise"}
    names |= {"steps": "num_steps", "least": "sigma_min", "most": "sigma_max", "rho": "rho"}
    solver = {"heun": "published", "euler": "euler"}[config["solver"]]
    sampler = EDMSampler(
        solver=solver, self_condition=config["self_condition"], **{our: config[their] for our, their in names.items()}
    )
    levels = sampler.levels()[:-1]
    churned = ((levels >= sampler.churn_from) & (levels <= sampler.churn_to)).nonzero().flatten().tolist()
    denoise = _toy(case)

    def run(adjacency: Tensor, nodes: Tensor) -> dict[str, Tensor]:
        flags = tensors["node_flags"].bool()
        more = [(tensors[f"draw.{i}.adj"], tensors[f"draw.{i}.node"]) for i in range(config["num_steps"])]
        draws = iter([(adjacency, nodes), *(more[i] for i in churned)])
        asked: list[Tensor] = []

        def ask(x: list[Tensor], sigma: Tensor, condition: list[Tensor] | None) -> DenseGraphs:
            asked.append(sigma)
            return denoise(x, sigma, condition)

        out = sampler(ask, lambda: _graphs(*next(draws)).masked(flags))
        return {
            "output_adj": out[0].view_as(adjacency),
            "output_node": out[1],
            "network_sigma": torch.stack(asked),
            "sigma_steps": levels,
        }

    return run


ENTRIES = {
    "DiffuseSG denoiser": Entry(
        _denoiser,
        inputs=("adj", "node", "node_flags", "noise_label", "self_cond_adj", "self_cond_node"),
        outputs=("output_adj", "output_node"),
        names=NAMES,
        arrange=_arranged,
        call=_denoise,
        gradients={"adj": "grad_adj", "node": "grad_node"},
    ),
    "EDM objective": Entry(_objective, inputs=("raw_adj", "raw_node"), outputs=("loss",)),
    "attribute codes": Entry(_codes, inputs=("node_flags",), outputs=()),
    "EDM sampler": Entry(_sampler, inputs=("init_adj", "init_node"), outputs=()),
}
