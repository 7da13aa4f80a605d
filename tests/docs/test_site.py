"""The site: it builds strictly, stands alone, and says everything that the code knows.

Building takes half a minute: every run looks at the sources alone, in `test_sources.py`.
"""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import convnn.models
import convnn.nn
from convnn.cli import COMMANDS, command_parser
from convnn.systems import list_families, list_systems
from fences import ROOT
from public_names import MODULES, public_names

pytest.importorskip("zensical", reason="the site needs pip install 'convnn[docs]'")
pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.xdist_group("site")]  # one worker builds it for all

LOADED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src")}
RAW = (":math:", ".. math::", "<!-- generated", "$$", r"\operatorname", r"\frac")


class Page(HTMLParser):
    """What a page has, loads and leads to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.words: list[str] = []
        self.skipped = False
        self.feed(text)
        self.text = "".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.skipped = tag in ("script", "style", "annotation")
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            if (tag, name) in LOADED and value and ("rel", "canonical") not in attrs:
                self.loaded.append(value)
            if tag == "a" and name == "href" and value:
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        self.skipped = False

    def handle_data(self, data: str) -> None:
        if not self.skipped:
            self.words.append(data)


@pytest.fixture(scope="session")  # of a module, it would be built again after tests of another
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built of a copy."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "docs", root / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "src").symlink_to(ROOT / "src")
    shutil.copy(ROOT / "mkdocs.yml", root)
    built = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean", "--strict"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": "docs", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "griffe:" not in built.stderr, built.stderr
    return root / "site"


@pytest.fixture(scope="session")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or path.name == "404.html":  # which is served under any address
                continue
            target = path if not parts.path else Path(os.path.normpath(path.parent / unquote(parts.path)))
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or (parts.fragment and unquote(parts.fragment) not in anchors(target, pages)):
                broken.append(f"{path.relative_to(site)}: {link}")
    assert not broken


def anchors(target: Path, pages: dict[Path, Page]) -> set[str]:
    return pages[target].anchors if target in pages else set()


def test_nothing_is_fetched_from_anybody(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert not [url for url in page.loaded if urlsplit(url).netloc], path
    for path in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", path.read_text(encoding="utf-8")), path
    assert not (site / "generate").exists()


def test_pages_are_rendered_whole(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert not [mark for mark in RAW if mark in page.text], path
    for name in ("mathematics.html", "family.html", "reference/maps.html", "reference/tokens.html"):
        assert "<math " in (site / name).read_text(encoding="utf-8")
    assert "<mtext>arg&#x000A0;max</mtext>" in (site / "place.html").read_text(encoding="utf-8")
    drawn = {path.name for path in (ROOT / "docs" / "images" / "steps").iterdir()}
    assert {path.name for path in (site / "images" / "steps").glob("*.png")} == drawn


def test_every_public_name_is_in_the_reference(site: Path, pages: dict[Path, Page]) -> None:
    found = set().union(*(page.anchors for path, page in pages.items() if path.parent.name == "reference"))
    for module in MODULES:
        names = public_names(module)
        missing = [name for name in names if f"{module.__name__}.{name}" not in found]
        assert not missing, module.__name__
    for name in convnn.nn.functional.__all__:
        assert name in ("Grid", "Search") or f"convnn.nn.functional.{name}" in found


def test_every_command_and_flag_is_on_the_page_of_the_command_line(pages: dict[Path, Page], site: Path) -> None:
    text = pages[site / "cli.html"].text
    for name in COMMANDS:
        parser = command_parser(name, add_help=False)
        section = re.split(r"\bconvnn \w+¶", text.split(f"convnn {name}¶")[1])[0]
        for action in parser._actions:
            assert (action.option_strings or [action.metavar or action.dest])[0] in section
    networks = pages[site / "networks.html"].text
    assert all(name in networks for name in [*convnn.models.list_models(), *convnn.nn.LAYERS])


@pytest.mark.parametrize("family", [one.key for one in list_families()])
def test_the_guide_has_every_system_with_its_facts(pages: dict[Path, Page], site: Path, family: str) -> None:
    page, index = pages[site / "guide" / f"{family}.html"], pages[site / "guide" / "index.html"]
    for system in list_systems(family):
        facts = (system.name, system.selects, system.weighs, system.aggregates, system.checked)
        assert all(fact in page.text for fact in facts)
        assert system.name in index.text
        assert system.steps in index.text
        assert system.checked in index.text
        ours = [path.rpartition(".") for path in system.where.split() if path.startswith("convnn.")]
        anchors = [link.rpartition("#")[2] for link in page.links]
        assert all(
            any(anchor.startswith(room) and anchor.endswith(f".{name}") for anchor in anchors) for room, _, name in ours
        ), "no link to the reference"
