"""Export a trained network to other runtimes, or to the Hugging Face hub."""

import argparse
import json
from pathlib import Path

import torch
from rich.console import Console

from convnn.cli._flags import add_checkpoint, add_config_flags, add_merge_flag, add_out_flags
from convnn.cli._parser import Parser
from convnn.cli.evaluate import refuse_without_classes
from convnn.data import ON_GRAPHS
from convnn.errors import InputError, check_choice
from convnn.export import export_onnx, export_torch
from convnn.files import check_new, make_folder
from convnn.hub import save_pretrained
from convnn.hub._folder import FILES
from convnn.models import Network
from convnn.nn import merge
from convnn.screen import print_line
from convnn.train import Recipe, load_checkpoint

FORMATS = ("onnx", "torch", "hub")


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    add_checkpoint(parser)
    parser.add_argument(
        "--format",
        default="onnx",
        metavar="{" + ",".join(FORMATS) + "}",
        help="onnx for other runtimes, torch for torch.export.load, or hub for a folder for the Hugging Face hub",
    )
    add_out_flags(parser, "file to write; for hub, the folder", required=True)
    parser.add_argument("--opset", type=int, default=None, help="version of the ONNX operators (default: 20)")
    parser.add_argument(
        "--dynamic_batch",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="accept batches of any size; otherwise of one input",
    )
    add_merge_flag(parser)
    add_config_flags(parser, only=["imports"])


def run(args: argparse.Namespace, console: Console) -> None:
    """Write the network, and print how closely the file agrees with it."""
    check_choice("--format", args.format, FORMATS)
    if args.opset is not None and args.format != "onnx":
        raise InputError(f"--opset={args.opset} applies only to --format onnx; leave it out")
    if args.merge and args.format == "hub":
        raise InputError("--merge is for files; a folder for the hub has the network as it was trained")
    out = Path(args.out)
    if args.format != "hub" and out.is_dir():
        raise InputError(f"--out={out} is a folder; name the file, such as {out / 'network'}.{args.format}")
    check_new(out, FILES if args.format == "hub" else (), overwrite=args.overwrite)
    network, recipe = load_checkpoint(args.checkpoint)
    refuse_without_classes(recipe, "convnn export")
    if args.merge:
        print_line(console, str(merge(network, inplace=True)).splitlines()[0])
    if args.format == "hub":
        save_pretrained(network, recipe, out)
        text = f"{', '.join(FILES[:-1])} and {FILES[-1]}"
    else:
        refuse_graphs(recipe, args.checkpoint, args.format)
        text = describe(export(args, network, recipe, out), recipe.kind)
    print_line(console, f"{out}: {text}")


def refuse_graphs(recipe: Recipe, checkpoint: str, form: str) -> None:
    """Refuse to write a file for the checkpoint of a network on graphs.

    Raises:
        InputError: the network reads graphs; the message names the format that can hold it.
    """
    if recipe.kind in (*ON_GRAPHS, "interaction", "triple", "mixture", "panorama"):
        raise InputError(
            f"checkpoint '{checkpoint}' reads {recipe.kind}s, and --format {form} is for images and sequences; --format"
            " hub holds it, and convnn.load opens it in Python"
        )


def export(args: argparse.Namespace, network: Network, recipe: Recipe, out: Path) -> float | None:
    """Write a file and return its largest difference from the network."""
    make_folder(out.parent, "--out")
    example = torch.zeros(1, *recipe.input_shape)
    if args.format == "torch":
        return export_torch(network, out, example, dynamic_batch=args.dynamic_batch)
    opset = {} if args.opset is None else {"opset": args.opset}
    return export_onnx(network, out, example, dynamic_batch=args.dynamic_batch, metadata=metadata(recipe), **opset)


def metadata(recipe: Recipe) -> dict[str, str]:
    """Return what is needed to run the file: how images are normalised, and the classes of the logits."""
    document = {"mean": recipe.mean, "std": recipe.std, "classes": recipe.classes}
    return {"model": recipe.model, "layer": recipe.layer} | {name: json.dumps(d) for name, d in document.items()}


def describe(difference: float | None, kind: str = "image") -> str:
    """Return a sentence on the largest difference between file and network."""
    if difference is None:
        return "checked by onnx.checker; install onnxruntime to compare its outputs with the network"
    return f"differs from the network by {difference:.1e} at most, on random {kind}s"
