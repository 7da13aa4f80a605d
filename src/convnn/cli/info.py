"""`convnn info`: what this installation can do."""

import argparse
import platform
from importlib.metadata import PackageNotFoundError, version

import torch
from rich.console import Console
from rich.table import Table

import convnn
from convnn.backends import cpu
from convnn.cli._flags import Parser
from convnn.ops import backend_report
from convnn.train import find_device


def add_flags(parser: Parser) -> None:
    """None."""


def run(args: argparse.Namespace, console: Console) -> None:
    """Print versions, devices and backends."""
    rows = {
        "convnn": convnn.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": f"{find_device('auto')} by default; {_describe_cuda()}; CPU with {torch.get_num_threads()} threads",
        "backends": "\n".join(_describe(name, reasons) for name, reasons in backend_report().items()),
        "tensorboard": _installed("tensorboard", "pip install 'convnn[tensorboard]'"),
        "optuna": _installed("optuna", "pip install 'convnn[sweep]'"),
    }
    table = Table(box=None, show_header=False)
    for name, value in rows.items():
        table.add_row(f"[bold]{name}", value)
    console.print(table)


def _describe(name: str, reasons: list[str]) -> str:
    if reasons:
        return f"{name}: not usable: {'; '.join(reasons)}"
    return f"{name}: usable, compiled for {cpu.INSTRUCTION_SET}" if name == "cpu" else f"{name}: usable"


def _describe_cuda() -> str:
    if not torch.cuda.is_available():
        return "no CUDA device"
    return f"CUDA on {torch.cuda.get_device_name()}"


def _installed(package: str, remedy: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return f"not installed: {remedy}"
