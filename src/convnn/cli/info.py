"""Show the versions, devices and backends of this installation."""

import argparse
import platform

import torch
from rich.console import Console
from rich.table import Table

import convnn
from convnn.backends import cpu
from convnn.cli._parser import Parser, add_json_flag
from convnn.ops import backend_report
from convnn.packages import fault, faults, installed_version, versions
from convnn.screen import print_json
from convnn.train import find_device
from convnn.words import counted

OPTIONAL = {
    "tensorboard": "tensorboard",
    "timm": "timm",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "huggingface_hub": "hub",
    "optuna": "sweep",
}
"""Packages that some commands need, and the extra that installs each."""


def add_flags(parser: Parser) -> None:
    """Add the arguments to a parser."""
    add_json_flag(parser)


def run(args: argparse.Namespace, console: Console) -> None:
    """Print versions, devices and backends."""
    threads = counted(torch.get_num_threads(), "thread")
    rows = {
        "convnn": convnn.__version__,
        "python": platform.python_version(),
        **_required(),
        "device": f"{find_device('auto')} by default; {_describe_cuda()}; CPU with {threads}",
        "backends": "\n".join(_describe(name, reasons) for name, reasons in backend_report().items()),
        **{package: _optional(package, extra) for package, extra in OPTIONAL.items()},
    }
    if args.json:
        print_json(console, rows | {"backends": backend_report()})
        return
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    for name, value in rows.items():
        table.add_row(name, value)
    console.print(table)


def _required() -> dict[str, str]:
    found = faults()
    return {
        name: text + (f", does not load: {found[name]}" if name in found else "") for name, text in versions().items()
    }


def _describe(name: str, reasons: list[str]) -> str:
    if reasons:
        return f"{name}: not usable: {'; '.join(reasons)}"
    return f"{name}: usable, compiled for {cpu.INSTRUCTION_SET}" if name == "cpu" else f"{name}: usable"


def _describe_cuda() -> str:
    if not torch.cuda.is_available():
        return "no CUDA device"
    return f"CUDA on {torch.cuda.get_device_name()}"


def _optional(package: str, extra: str) -> str:
    installed = installed_version(package)
    if installed is None:
        return f"not installed: pip install 'convnn[{extra}]'"
    why = fault(package)
    return installed if why is None else f"{installed}, does not load: {why}"
