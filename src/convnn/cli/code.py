"""Train a video codec, measure it, write clips as streams of bytes, and read them again."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import cast

import torch
from rich.console import Console

from convnn.cli._flags import add_checkpoint
from convnn.cli._handed import add_tasks, train_or_evaluate
from convnn.cli._parser import Parser, PathAction, add_json_flag
from convnn.data.clips import read_clip, write_frames
from convnn.errors import InputError
from convnn.files import check_new, make_folder, write_atomically
from convnn.models import Network, own_loss_of
from convnn.models.coding import CodecNetwork, VideoCodec
from convnn.screen import print_json, print_line
from convnn.train import Recipe, load_checkpoint
from convnn.words import counted

DEFAULT = "dcvc"


def add_flags(parser: Parser) -> None:
    """Add the four tasks to a parser."""
    tasks = add_tasks(
        parser, f"train one, by default {DEFAULT}", "measure it on a part of the data, with estimated bits"
    )
    written = tasks.add_parser("encode", help="write the frames of a folder as a stream")
    add_checkpoint(written)
    written.add_argument("--clip", action=PathAction, required=True, help="folder with the frames as pictures")
    written.add_argument("--out", action=PathAction, default="clip.cnv", help="the stream")
    add_json_flag(written)
    read = tasks.add_parser("decode", help="read a stream, and write its frames as pictures")
    add_checkpoint(read)
    read.add_argument("--stream", action=PathAction, required=True, help="what encode has written")
    read.add_argument("--out", action=PathAction, default="frames", help="folder of the frames")
    for task in (written, read):
        task.add_argument("--overwrite", action="store_true", help="replace existing files")


def run(args: argparse.Namespace, console: Console) -> None:
    """Do the task."""
    if args.task in ("encode", "decode"):
        (write if args.task == "encode" else read)(args, console)
        return
    train_or_evaluate(args, console, "code", default=DEFAULT, check_model=check_model, accept=check_codec)


def check_model(model: str) -> None:
    """Refuse the name of a network that is no codec."""
    if own_loss_of(model) is not CodecNetwork:
        raise InputError(f"--model={model} codes no clips; leave it out, which is --model={DEFAULT}")


def check_codec(checkpoint: str, network: Network, recipe: Recipe) -> None:
    """Refuse the checkpoint of a network that is no codec."""
    if not isinstance(network, CodecNetwork):
        raise InputError(f"checkpoint '{checkpoint}' is of {recipe.model}, which codes no clips")


def codec_of(checkpoint: str) -> VideoCodec:
    """Return the codec of a checkpoint, in evaluation mode.

    Raises:
        InputError: the checkpoint is of another network.
    """
    network, recipe = load_checkpoint(checkpoint)
    check_codec(checkpoint, network, recipe)
    return cast("CodecNetwork", network.eval()).codec


def write(args: argparse.Namespace, console: Console) -> None:
    """Write the stream of a clip, and print what it costs and keeps."""
    from convnn.tasks.code import encode, measured  # imports Matplotlib

    out = Path(args.out)
    if out.is_dir():
        raise InputError(f"--out={out} is a folder; name the file, such as {out / 'clip'}.cnv")
    check_new(out, overwrite=args.overwrite)
    codec, clip = codec_of(args.checkpoint), read_clip(args.clip)
    stream, found = encode(codec, clip)
    make_folder(out.parent, "--out")
    write_atomically(out, stream)
    rates = measured(8 * len(stream), found, clip)
    if args.json:
        print_json(console, {"out": str(out), "frames": clip.shape[0], "bytes": len(stream)} | asdict(rates))
        return
    similar = "" if rates.ms_ssim is None else f", MS-SSIM {rates.ms_ssim:.4f}"
    what = f"{counted(clip.shape[0], 'frame')} in {len(stream):,} bytes"
    print_line(console, f"{out}: {what}, {rates.bpp:.4f} bits of a pixel, {rates.psnr:.2f} dB{similar}")


def read(args: argparse.Namespace, console: Console) -> None:
    """Write the frames of a stream."""
    from convnn.tasks.code import decode  # imports Matplotlib

    out, path = Path(args.out), Path(args.stream)
    if out.is_dir() and any(out.iterdir()) and not args.overwrite:
        raise InputError(f"--out={out} has files; choose another folder, or pass --overwrite")
    try:
        stream = path.read_bytes()
    except OSError as error:
        raise InputError(f"--stream={path} cannot be read: {error.strerror or error}") from None
    with torch.no_grad():
        frames = decode(codec_of(args.checkpoint), stream)
    paths = write_frames(frames, out)
    print_line(console, f"{counted(len(paths), 'frame')} in {out}")
