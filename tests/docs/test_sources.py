"""The sources of the site say everything that the code knows, and lead somewhere; `test_site.py` builds it of them."""

import re
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import convnn.models
import convnn.nn
from convnn.cli import COMMANDS, command_parser
from convnn.systems import list_families, list_systems
from fences import FENCE, ROOT, name_of
from public_names import MODULES, public_names

pytest.importorskip("zensical", reason="its Markdown needs pip install 'convnn[docs]'")

DOCS = ROOT / "docs"
SOURCES = [path for path in sorted(DOCS.rglob("*.md")) if path.parent.name not in ("generate", "figures")]
DIRECTIVE = re.compile(r"^::: (\S+)", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.fixture(scope="module")
def pages() -> Iterator[dict[str, str]]:
    """The pages with what the code puts into them, but for the sizes of networks, each of which would be made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(DOCS), *sys.path])
        from generate.tables import TABLES, Tables

        patch.setitem(TABLES, "models", convnn.models.list_models)
        texts = ((path, path.read_text(encoding="utf-8").splitlines()) for path in SOURCES)
        yield {path.relative_to(DOCS).as_posix(): "\n".join(Tables().run(lines)) for path, lines in texts}
        for name in [name for name in sys.modules if name.split(".")[0] == "generate"]:
            del sys.modules[name]


@pytest.fixture(scope="module")
def documented(pages: dict[str, str]) -> set[str]:
    """The names in the directives of the reference."""
    return {name for page, text in pages.items() if page.startswith("reference/") for name in DIRECTIVE.findall(text)}


def is_documented(path: str, documented: set[str]) -> bool:
    """Whether a directive names it, here or where else it can be imported from."""
    if path in documented:
        return True
    same_names = (one for one in documented if one.rpartition(".")[2] == path.rpartition(".")[2])
    return any(found(one) is found(path) for one in same_names)


def found(path: str) -> object:
    room, _, name = path.rpartition(".")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch_geometric calls functions that newer torch deprecates
        return getattr(import_module(room), name)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_has_a_directive(documented: set[str], module: ModuleType) -> None:
    assert not [name for name in public_names(module) if not is_documented(f"{module.__name__}.{name}", documented)]


def test_the_functional_form_has_directives(documented: set[str]) -> None:
    names = set(convnn.nn.functional.__all__) - {"Grid", "Search"}
    assert not names - {name.removeprefix("convnn.nn.functional.") for name in documented}


@pytest.mark.parametrize("page", SOURCES, ids=name_of)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = LINK.findall(re.sub(r"`[^`\n]+`", "``", FENCE.sub("", page.read_text(encoding="utf-8"))))
    targets = [link.partition("#")[0] for link in links if ":" not in link]
    assert [one for one in targets if not page.parent.joinpath(one).exists()] == []


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"^ +- .+: (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(listed) == [path.relative_to(DOCS).as_posix() for path in SOURCES]


def test_every_command_and_flag_is_on_the_page_of_the_command_line(pages: dict[str, str]) -> None:
    for name in COMMANDS:
        section = re.split(r"^## ", pages["cli.md"].split(f"## convnn {name}\n")[1], flags=re.MULTILINE)[0]
        for action in command_parser(name, add_help=False)._actions:
            assert (action.option_strings or [action.metavar or action.dest])[0] in section
    networks = pages["networks.md"]
    assert all(name in networks for name in [*convnn.models.list_models(), *convnn.nn.LAYERS])


@pytest.mark.parametrize("family", [one.key for one in list_families()])
def test_the_guide_has_every_system_with_its_facts(pages: dict[str, str], family: str) -> None:
    page, index = (pages[f"guide/{one}.md"].replace(r"\|", "|") for one in (family, "index"))
    for system in list_systems(family):
        facts = (system.name, system.selects, system.weighs, system.aggregates, system.checked)
        assert all(fact in page for fact in facts)
        assert all(fact in index for fact in (system.name, system.steps, system.checked))
        ours = [path.rpartition(".") for path in system.where.split() if path.startswith("convnn.")]
        assert all(re.search(rf"\]\[{re.escape(room)}[\w.]*\.{name}\]", page) for room, _, name in ours)
