"""Tables that the code itself fills, so that no page can go stale: a line `<!-- generated: NAME -->` becomes one.

Some take a word more, as in `<!-- generated: family maps -->`.
"""

import argparse
import re
from collections.abc import Callable, Iterable, Iterator

from generate import guide, notebook
from generate.markdown import table
from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor

from convnn.cli import COMMANDS, command_parser
from convnn.cli._parser import Parser
from convnn.models import create_model, describe_model, list_models
from convnn.nn import LAYERS, list_layers
from convnn.nn.graphs._deferred import public_names
from convnn.nn.registry import entry_for
from convnn.train.config import layer_settings

MARK = re.compile(r"<!-- generated: (\w+)(?: (\w+))? -->")
DEFAULT = re.compile(r" \(default: (?P<default>.*)\)$")


class Tables(Preprocessor):
    """Replaces the marks of a page."""

    def run(self, lines: list[str]) -> list[str]:
        """The page with its tables."""
        return list(_filled(lines))


def _filled(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if mark := MARK.fullmatch(line.strip()):
            yield from TABLES[mark[1]](*filter(None, mark.groups()[1:]))
        else:
            yield line


def commands() -> Iterator[str]:
    """A section for each command: what it does, and every flag by group."""
    for name, summary in COMMANDS.items():
        parser = command_parser(name, prog=f"convnn {name}", add_help=False)
        yield from ("", f"## convnn {name}", "", f"{summary[0].upper()}{summary[1:]}.", "")
        yield from _groups(parser)
        for below, one in parser.commands().items():
            yield from ("", f"### convnn {name} {below}", "")
            yield from _groups(one)


def _groups(parser: Parser) -> Iterator[str]:
    for group in parser._action_groups:
        if group._group_actions:
            yield from _flags(group)


def _flags(group: argparse._ArgumentGroup) -> Iterator[str]:
    named = {"positional arguments": "argument", "options": "flag"}
    title = named.get(group.title or "", group.title or "")
    yield from table((title, "default", ""), (_row(action) for action in group._group_actions))


def _row(action: argparse.Action) -> tuple[str, str, str]:
    """Name, default, and what it does, with the values it takes where they are few."""
    text = (action.help or "").replace("%%", "%")
    name = action.option_strings[0] if action.option_strings else f"{action.metavar or action.dest}"
    choices = str(action.metavar or "").strip("{}").split(",") if str(action.metavar).startswith("{") else ()
    values = f": {', '.join(f'`{choice}`' for choice in choices)}" if choices else ""
    return f"`{name}`", _default(action, text), DEFAULT.sub("", text) + values


def _default(action: argparse.Action, text: str) -> str:
    if action.required:
        return "required"
    if found := DEFAULT.search(text):
        return _code(found["default"])
    given = action.default
    return _code(" ".join(map(str, given)) if isinstance(given, list) else f"{given}")


def _code(default: str) -> str:
    """A default, and below it those of networks that have their own."""
    if default in ("", "None"):
        return ""
    first, *others = default.split("; ")
    special = (f"{model}: `{value}`" for model, value in (other.split(": ") for other in others))
    return "<br>".join((f"`{first}`", *special))


def layers() -> Iterator[str]:
    """Every value of `--layer`."""
    rows = ((f"`{name}`", entry.reads, entry.summary, _settings(name)) for name, entry in LAYERS.items())
    yield from table(("layer", "reads", "selects; weighs; aggregates", "settings that it reads"), rows)


def _settings(layer: str) -> str:
    """The settings of a layer; of one on graphs, with those of the search that finds them on maps."""
    read = entry_for(layer, "maps").settings
    return ", ".join(f"`{setting}`" for setting in layer_settings() if setting in read)


def graphs(kind: str) -> Iterator[str]:
    """The reference of what needs PyTorch Geometric: the "layers" of `--layer`, or "others"."""
    by_name = {one: one.name for one in public_names().values()}
    of_layers = {by_name[build] for name in list_layers("graphs") if (build := LAYERS[name].build) in by_name}
    for name, one in public_names().items():
        if (name in of_layers) == (kind == "layers"):
            yield from ("", f"::: convnn.nn.graphs.{one.module}.{name}", "")


def models() -> Iterator[str]:
    """Every value of `--model`, with its parameters for ten classes."""
    rows = ((f"`{name}`", describe_model(name), f"{_parameters(name):,}") for name in list_models())
    yield from table(("model", "", "parameters"), rows)


def _parameters(name: str) -> int:
    import torch

    with torch.device("meta"):
        return sum(p.numel() for p in create_model(name).parameters())


TABLES: dict[str, Callable[..., Iterator[str]]] = {
    "commands": commands,
    "layers": layers,
    "graphs": graphs,
    "models": models,
    "guide": guide.everything,
    "family": guide.family,
    "steps": guide.steps,
    "cheat_sheet": guide.cheat_sheet,
    "notebook": notebook.page,
}


class TablesExtension(Extension):
    """Ahead of everything that reads Markdown."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Register."""
        md.preprocessors.register(Tables(md), "tables", 29)


def makeExtension(**settings: object) -> TablesExtension:
    """What Markdown calls."""
    return TablesExtension(**settings)
