"""Reconstruct surfaces from points."""

import argparse
from pathlib import Path

from rich.console import Console

from convnn.cli._flags import add_out_flags, flag_names
from convnn.cli._parser import Parser, PathAction, TaskParser, add_json_flag
from convnn.errors import InputError, check_choice
from convnn.files import check_new
from convnn.screen import print_json, print_line

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


def add_flags(parser: Parser) -> None:
    """Add the tasks to a parser."""
    tasks = parser.add_subparsers(title="tasks", metavar="TASK", dest="task", required=True, parser_class=TaskParser)
    found = tasks.add_parser("reconstruct", help="make a mesh of points with normals, without any training")
    found.add_argument("points", action=PathAction, metavar="POINTS.ply", help="points with normals, in text or binary")
    add_out_flags(found, "the mesh, .ply", required=True)
    found.add_argument("--picture", action=PathAction, default=None, help="draw points and mesh: .png, .pdf or .svg")
    found.add_argument("--resolution", type=int, default=2, help="cubes along a side of the finest voxels")
    found.add_argument("--text", action="store_true", help="write the mesh as text")
    for name, (kind, text) in SETTINGS.items():
        found.add_argument(f"--{name}", type=kind, default=None, help=text)
    add_json_flag(found)


def run(args: argparse.Namespace, console: Console) -> None:
    """Do the task."""
    reconstruct(args, console)


def reconstruct(args: argparse.Namespace, console: Console) -> None:
    """Read points, solve for the field, and write its mesh, and if wanted a picture of both."""
    from convnn.tasks.surface import NeuralKernelSurface, View, draw_surfaces, read_cloud, write_mesh

    out = Path(args.out)
    check_new(out, overwrite=args.overwrite)
    if args.picture is not None:
        if Path(args.picture).exists() and not args.overwrite:
            raise InputError(f"--picture={args.picture} exists; choose another, or pass --overwrite")
        check_choice("suffix of the picture", Path(args.picture).suffix.lower(), (".png", ".pdf", ".svg"))
    cloud = read_cloud(args.points)
    if cloud.normals is None:
        raise InputError(f"'{args.points}' has no normals nx, ny, nz, which say what is inside")
    given = {name: value for name in SETTINGS if (value := getattr(args, name)) is not None}
    with flag_names({name: name for name in [*SETTINGS, "resolution"]}):
        surface = NeuralKernelSurface(**given).fit(cloud.points, cloud.normals)
        mesh = surface.mesh(args.resolution)
    write_mesh(out, mesh, text=args.text)
    if args.picture is not None:
        draw_surfaces(
            [View(cloud, f"{len(cloud):,} points"), View(mesh, f"{len(mesh.faces):,} triangles")], args.picture
        )
    solved = surface.field_.solved
    facts = {
        "points": len(cloud),
        "vertices": len(mesh.vertices),
        "triangles": len(mesh.faces),
        "voxel_size": surface.field_.hierarchy.voxel_size,
        "unknowns": solved.unknowns,
        "steps": solved.steps,
        "residual": solved.residual,
        "converged": solved.converged,
    }
    if args.json:
        print_json(console, facts)
        return
    print_line(
        console,
        f"{out}: {facts['vertices']:,} vertices and {facts['triangles']:,} triangles of {len(cloud):,} points; finest"
        f" voxels of {facts['voxel_size']:.3g}, {solved.unknowns:,} unknowns, {solved.steps} steps",
    )
    if not solved.converged:
        print_line(console, f"the solver stopped with {solved.residual:.1e} left; allow more by --max_iter")
