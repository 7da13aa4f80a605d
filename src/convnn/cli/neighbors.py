"""Draw the neighbours that each layer of a trained network chooses on images, or the neighbours of nodes of a graph."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from torch import Tensor

from convnn.cli._flags import add_checkpoint, add_config_flags, add_out_flags, config_from
from convnn.cli._graphs import draw_graphs
from convnn.cli._images import add_fit_flag, config_like, fit_from
from convnn.cli._parser import Parser, PathAction
from convnn.cli.evaluate import load_part_like, refuse_all_but_images, refuse_without_classes
from convnn.data import ON_GRAPHS, denormalise, load_image
from convnn.errors import InputError, check_at_least, check_at_most
from convnn.files import check_new, make_folder
from convnn.screen import print_line, show_activity
from convnn.train import Recipe, find_device, load_checkpoint
from convnn.viz import choose_queries, draw_neighbors, find_leaving, find_neighbors, reduced_blocks, write_page

Query = tuple[int, int]


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    add_checkpoint(parser)
    parser.add_argument(
        "images", action=PathAction, nargs="*", metavar="IMAGE", help="picture files (default: test images)"
    )
    parser.add_argument(
        "--index",
        type=int,
        nargs="+",
        default=[0],
        help="test images to draw if no file is given; or nodes, or test graphs",
    )
    parser.add_argument(
        "--query", nargs="+", default=None, metavar="ROW,COLUMN", help="pixels whose neighbours to draw"
    )
    parser.add_argument("--num_queries", type=int, default=3, help="number of pixels to choose if --query is not given")
    add_out_flags(parser, "folder for the pictures", default="neighbors")
    parser.add_argument(
        "--page", action=argparse.BooleanOptionalAction, default=True, help="also write a page to explore each image"
    )
    add_fit_flag(parser)
    add_config_flags(parser, only=["imports", "data_path", "num_workers", "device"])


def run(args: argparse.Namespace, console: Console) -> None:
    """Draw a sheet for each image, with a row per query pixel and a column per layer, and write a page for it."""
    check_at_least("--num_queries", args.num_queries, 1)
    queries = None if args.query is None else [parse_query(text) for text in args.query]
    device = find_device(config_from(args).device)
    network, recipe = load_checkpoint(args.checkpoint)
    refuse_without_classes(recipe, "convnn neighbors")
    if recipe.kind in ON_GRAPHS:
        draw_graphs(args, network, recipe, console)
        return
    refuse_all_but_images(recipe, args.checkpoint, "neighbors")
    network.to(device)
    images = read_images(args, recipe)
    check_distinct(images)
    endings = (".png", ".html") if args.page else (".png",)
    check_new(
        Path(args.out), [stem_of(name) + ending for name in images for ending in endings], overwrite=args.overwrite
    )
    if queries is None:
        check_at_most("--num_queries", args.num_queries, recipe.input_shape[1] * recipe.input_shape[2])
    folder = make_folder(Path(args.out), "--out")
    find = find_leaving if reduced_blocks(network) else find_neighbors
    for name, image in images.items():
        picture = denormalise(image, recipe.mean, recipe.std)[0]
        points = queries or choose_queries(picture, args.num_queries)
        title = f"{recipe.model} of {recipe.layer} on {Path(name).name}"
        stem = stem_of(name)
        with show_activity(console, f"drawing neighbours in {Path(name).name}"):
            layers = find(network, image.to(device))
            written = [draw_neighbors(picture, layers, points, folder / f"{stem}.png", title=title)]
            if args.page:
                written.append(write_page(picture, layers, folder / f"{stem}.html", title=title, pixel=points[0]))
        for path in written:
            print_line(console, str(path))


def stem_of(name: str) -> str:
    """Return the file name, without suffix, of the pictures of an image."""
    return f"neighbors_{Path(name).stem}"


def read_images(args: argparse.Namespace, recipe: Recipe) -> dict[str, Tensor]:
    """Return network inputs (1, C, H, W) by name: the given files, or test images of the checkpoint's data set.

    Raises:
        InputError: a file cannot be read, or an index is out of range.
    """
    fit = fit_from(args, recipe)
    if args.images:
        return {path: load_image(path, recipe.input_shape, recipe.mean, recipe.std, fit) for path in args.images}
    config = config_like(args, recipe, device="cpu", fit=fit)
    test = load_part_like(recipe, config, "test").loader
    indices = dict.fromkeys(args.index)
    for index in indices:
        if not 0 <= index < test.num_samples:
            raise InputError(f"--index={index} must lie between 0 and {test.num_samples - 1}")
    found: dict[int, Tensor] = {}
    for batch in test:
        for index, image in zip(batch.indices.tolist(), batch.inputs, strict=True):
            if index in indices:
                found[index] = image.unsqueeze(0)
        if len(found) == len(indices):
            break
    return {f"{recipe.dataset}_{index}": found[index] for index in indices}


def check_distinct(names: Iterable[str]) -> None:
    """Refuse images whose pictures would have the same file name.

    Raises:
        InputError: a name occurs twice.
    """
    seen: set[str] = set()
    for stem in (Path(name).stem for name in names):
        if stem in seen:
            raise InputError(
                f"two images are named {stem!r}, so their pictures would have one file name; draw them separately"
            )
        seen.add(stem)


def parse_query(text: str) -> Query:
    """Parse a pixel, "row,column".

    Raises:
        InputError: the text has another form.
    """
    try:
        row, column = (int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--query={text!r} must be ROW,COLUMN, such as 3,5") from None
    return row, column
