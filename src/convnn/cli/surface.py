"""Train what finds surfaces, measure it, and reconstruct surfaces from points or photographs."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from convnn.cli._flags import add_out_flags, flag_names
from convnn.cli._handed import add_tasks, train_or_evaluate
from convnn.cli._images import config_like, open_data
from convnn.cli._parser import Parser, PathAction, add_json_flag
from convnn.errors import InputError, check_suffix
from convnn.files import check_new
from convnn.models import Network, own_loss_of
from convnn.models.splats import SplatNetwork
from convnn.models.surfaces import KernelFieldNetwork
from convnn.screen import print_json, print_line
from convnn.train import Recipe, load_checkpoint

if TYPE_CHECKING:
    from convnn.data.surfaces.mesh import Mesh
    from convnn.ops.cloud import Cloud

DEFAULT = "kernel_field"
NETWORKS = (KernelFieldNetwork, SplatNetwork)

SETTINGS = {
    "voxel_size": (float, "side of the finest voxels (default: by --points_per_voxel)"),
    "points_per_voxel": (float, "points that a finest voxel holds on average; more smooths noise (default: 2)"),
    "depth": (int, "sizes of voxels, each twice the one before; coarse ones close gaps (default: 4)"),
    "adaptive_depth": (int, "sizes that are divided only where normals vary (default: 1, which is none)"),
    "tau": (float, "how much normals vary where voxels are divided (default: 0.2)"),
    "normals_at": (str, "where the field follows normals: voxels or points (default: voxels)"),
    "pos_weight": (float, "weight of the points (default: 10000)"),
    "normal_weight": (float, "weight of the normals (default: 10000)"),
    "reg_weight": (float, "weight of smoothness (default: 1)"),
    "tol": (float, "what the solver may leave, as a share (default: 1e-05)"),
    "max_iter": (int, "the most steps of the solver (default: 2000)"),
}
"""Flags of `reconstruct` that are arguments of `NeuralKernelSurface`, which has the defaults."""
WITH_CHECKPOINT = ("voxel_size",)
"""Those that a trained network of points reads."""


def add_flags(parser: Parser) -> None:
    """Add the three tasks to a parser."""
    text = f"train one, by default {DEFAULT} for points, or --model splats for photographs"
    tasks = add_tasks(parser, text, "measure it on a part of the data")
    found = tasks.add_parser("reconstruct", help="make a mesh of points with normals, or of a trained scene")
    text = "points with normals, in text or binary; not with the checkpoint of a scene"
    found.add_argument(
        "points", action=PathAction, nargs="?", default=argparse.SUPPRESS, metavar="POINTS.ply", help=text
    )
    text = "run whose network finds the surface (default: a kernel that needs no training)"
    found.add_argument("--checkpoint", action=PathAction, default=None, help=text)
    add_out_flags(found, "the mesh, .ply", required=True)
    found.add_argument("--picture", action=PathAction, default=None, help="draw what was given, and the mesh")
    text = "cubes along a side of the finest voxels (default: 2), or along the side of a scene (default: 48)"
    found.add_argument("--resolution", type=int, default=None, help=text)
    text = "folder of the photographs (default: where the checkpoint learned)"
    found.add_argument("--data_path", action=PathAction, default=argparse.SUPPRESS, help=text)
    found.add_argument("--text", action="store_true", help="write the mesh as text")
    for name, (kind, meaning) in SETTINGS.items():
        found.add_argument(f"--{name}", type=kind, default=argparse.SUPPRESS, help=meaning)
    add_json_flag(found)


def run(args: argparse.Namespace, console: Console) -> None:
    """Do the task."""
    if args.task == "reconstruct":
        reconstruct(args, console)
        return
    train_or_evaluate(args, console, "surface", default=DEFAULT, check_model=check_model, accept=check_network)


def check_model(model: str) -> None:
    """Refuse the name of a network that finds no surfaces."""
    if own_loss_of(model) not in NETWORKS:
        raise InputError(f"--model={model} finds no surfaces; give {DEFAULT} for points, or splats for photographs")


def check_network(checkpoint: str, network: Network, recipe: Recipe) -> None:
    """Refuse the checkpoint of a network that finds no surfaces."""
    if not isinstance(network, NETWORKS):
        raise InputError(f"checkpoint '{checkpoint}' is of {recipe.model}, which finds no surfaces")


def network_of(checkpoint: str) -> tuple[Network, Recipe]:
    """Return the network of a checkpoint, in evaluation mode, and its recipe.

    Raises:
        InputError: the checkpoint is of another network.
    """
    network, recipe = load_checkpoint(checkpoint)
    check_network(checkpoint, network, recipe)
    return network.eval(), recipe


def reconstruct(args: argparse.Namespace, console: Console) -> None:
    """Find the surface of points or of a scene, write its mesh, and if wanted draw it."""
    from convnn.data.surfaces.ply import write_mesh

    out, picture = Path(args.out), None if args.picture is None else Path(args.picture)
    check_suffix("--out", out, (".ply",))
    check_new(out, overwrite=args.overwrite)
    if picture is not None:
        if picture.exists() and not args.overwrite:
            raise InputError(f"--picture={args.picture} exists; choose another, or pass --overwrite")
        check_suffix("--picture", picture, (".png", ".pdf", ".svg"))
    args.points = getattr(args, "points", None)
    network, recipe = (None, None) if args.checkpoint is None else network_of(args.checkpoint)
    refuse_settings(args, network)
    if isinstance(network, SplatNetwork) and recipe is not None:
        mesh, facts = of_scene(args, network, recipe, picture)
    else:
        mesh, facts = of_points(args, network, picture)
    write_mesh(out, mesh, text=args.text)
    report(args, mesh, facts, console)


def refuse_settings(args: argparse.Namespace, network: Network | None) -> None:
    """Refuse what a trained network has decided, and what belongs to photographs only.

    Raises:
        InputError: a flag has no place here, or points were given for a scene.
    """
    is_scene = isinstance(network, SplatNetwork)
    for name, value in settings_of(args).items():
        if is_scene or (network is not None and name not in WITH_CHECKPOINT):
            raise InputError(f"--{name}={value} is not for --checkpoint={args.checkpoint}; leave one of them out")
    if not is_scene and (folder := getattr(args, "data_path", None)) is not None:
        raise InputError(f"--data_path={folder} is for the checkpoint of a scene; leave it out")
    if is_scene and args.points is not None:
        raise InputError(f"'{args.points}' are points, but '{args.checkpoint}' knows a scene; leave one of them out")


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the given arguments of `NeuralKernelSurface`."""
    return {name: getattr(args, name) for name in SETTINGS if hasattr(args, name)}


def of_points(args: argparse.Namespace, network: Network | None, picture: Path | None) -> "tuple[Mesh, dict[str, Any]]":
    """Return the mesh of points, by a network or by a kernel that needs no training, and what there is to say."""
    from convnn.tasks.surface import NeuralKernelSurface, View, draw_surfaces
    from convnn.tasks.surface.reconstruct import mesh_of

    cloud = points_with_normals(args)
    given = settings_of(args)
    with flag_names({name: name for name in [*SETTINGS, "resolution"]}):
        resolution = 2 if args.resolution is None else args.resolution
        if isinstance(network, KernelFieldNetwork):
            field = network.double().field_of(cloud, given.get("voxel_size"))
            mesh = mesh_of(field, resolution)
        else:
            surface = NeuralKernelSurface(**given).fit(cloud.points, cloud.normals)
            field, mesh = surface.field_, surface.mesh(resolution)
    if picture is not None:
        draw_surfaces([View(cloud, f"{len(cloud):,} points"), View(mesh, f"{len(mesh.faces):,} triangles")], picture)
    return mesh, {"points": len(cloud), "voxel_size": field.hierarchy.voxel_size} | field.solved._asdict()


def points_with_normals(args: argparse.Namespace) -> "Cloud":
    """Read the points that were given.

    Raises:
        InputError: there are none, or they have no normals.
    """
    from convnn.data.surfaces.ply import read_cloud

    if args.points is None:
        raise InputError("no points were given; name a file POINTS.ply, or the --checkpoint of a scene")
    cloud = read_cloud(args.points)
    if cloud.normals is None:
        raise InputError(f"'{args.points}' has no normals nx, ny, nz, which say what is inside")
    return cloud


def of_scene(
    args: argparse.Namespace, network: SplatNetwork, recipe: Recipe, picture: Path | None
) -> "tuple[Mesh, dict[str, Any]]":
    """Return the mesh of the opacity field of a trained scene, and what there is to say."""
    from convnn.data.surfaces.photographs import PhotographLoader
    from convnn.tasks.surface.splats import draw_splats, scene_mesh, signal_to_noise

    data = open_data(config_like(args, recipe))
    assert isinstance(data.train, PhotographLoader)
    assert isinstance(data.test, PhotographLoader)
    with flag_names({"resolution": "resolution"}):
        resolution = 48 if args.resolution is None else args.resolution
        mesh = scene_mesh(network.gaussians, data.train.scene.rig, resolution)
    if picture is not None:
        draw_splats(network.gaussians, data.test.scene, picture, mesh=mesh)
    found = signal_to_noise(network.gaussians, data.test.scene)
    return mesh, {"photographs": len(data.train.scene.images), "psnr": found}


def report(args: argparse.Namespace, mesh: "Mesh", facts: dict[str, Any], console: Console) -> None:
    """Print what was found."""
    facts = {"vertices": len(mesh.vertices), "triangles": len(mesh.faces)} | facts
    if args.json:
        print_json(console, facts)
        return
    size = f"{args.out}: {facts['vertices']:,} vertices and {facts['triangles']:,} triangles of"
    if "points" not in facts:
        print_line(console, f"{size} {facts['photographs']} photographs; {facts['psnr']:.2f} dB for those of the test")
        return
    print_line(
        console,
        f"{size} {facts['points']:,} points; finest voxels of {facts['voxel_size']:.3g}, {facts['unknowns']:,}"
        f" unknowns, {facts['steps']} steps",
    )
    if not facts["converged"]:
        print_line(console, f"the solver stopped with {facts['residual']:.1e} left; allow more by --max_iter")
