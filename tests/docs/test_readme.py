"""The README is short, and what it says of the version is so; the changelog has that version."""

import re

import convnn
from fences import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short() -> None:
    assert README.count("\n") <= 150


def test_its_parts_are_in_order() -> None:
    parts = ["convnn", "Install", "Two commands", "The layer", "What it costs", "What it found"]
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    assert re.findall(r"^#+ (.*)$", prose, flags=re.MULTILINE) == [*parts, "Documentation", "Citation", "Contributing"]


def test_its_links_lead_to_files() -> None:
    targets = [target.split("#")[0] for target in re.findall(r"\]\(([^)\s]+)\)", README)]
    assert [target for target in targets if "://" not in target and not (ROOT / target).exists()] == []


def test_the_version_that_is_cited_is_this_one_and_in_the_changelog() -> None:
    assert re.findall(r"version = \{([^}]+)\}", README) == [convnn.__version__]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{convnn.__version__}]" in changelog
