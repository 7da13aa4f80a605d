"""`convnn predict`: what a network sees in pictures."""

import argparse

import torch
from rich.console import Console
from rich.table import Table

from convnn.cli._flags import Parser, add_config_flags, config_from
from convnn.cli._images import add_fit_flag, fit_from
from convnn.data import load_image
from convnn.errors import check_at_least
from convnn.train import find_device, load_checkpoint


def add_flags(parser: Parser) -> None:
    """The pictures and the checkpoint."""
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files of any size")
    parser.add_argument("--checkpoint", required=True, help="weights of a run, such as runs/demo/best.safetensors")
    parser.add_argument("--top", type=int, default=3, help="classes named for each picture")
    add_fit_flag(parser)
    add_config_flags(parser, only=["device"])


def run(args: argparse.Namespace, console: Console) -> None:
    """Print the likeliest classes of every picture."""
    check_at_least("--top", args.top, 1)
    device = find_device(config_from(args).device)
    network, recipe = load_checkpoint(args.checkpoint)
    fit = fit_from(args, recipe)
    images = [load_image(path, recipe.image_shape, recipe.mean, recipe.std, fit) for path in args.images]
    with torch.no_grad():
        probabilities = network.to(device)(torch.cat(images).to(device)).softmax(dim=-1).cpu()
    table = Table("image", "class", "probability", box=None)
    best = probabilities.topk(min(args.top, len(recipe.classes)))
    for path, values, indices in zip(args.images, best.values, best.indices, strict=True):
        for rank, (value, index) in enumerate(zip(values.tolist(), indices.tolist(), strict=True)):
            table.add_row(path if rank == 0 else "", recipe.classes[index], f"{value:.1%}")
    console.print(table)
