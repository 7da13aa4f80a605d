"""The facts about the systems: every layer has them, and everything they name exists."""

import importlib
import re

import pytest

from convnn.errors import InputError
from convnn.nn import LAYERS, register_layer
from convnn.systems import FAMILIES, SYSTEMS, System, list_families, list_systems, register_family, register_system
from fences import ROOT

FACTS = {"selects": "a", "weighs": "b", "aggregates": "c", "paper": "d", "checked": "e", "where": "f"}


@pytest.fixture
def _restored():
    before = [dict(known) for known in (LAYERS, FAMILIES, SYSTEMS)]
    yield
    for known, old in zip((LAYERS, FAMILIES, SYSTEMS), before, strict=True):
        known.clear()
        known.update(old)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_has_its_facts(name: str) -> None:
    system = LAYERS[name].system
    assert system is not None
    assert system.layer == name
    assert system in list_systems(system.family)


@pytest.mark.parametrize("system", list_systems(), ids=lambda system: system.name)
def test_a_layer_says_what_papers_call_it_and_when_to_take_it(system: System) -> None:
    for text in (system.published, system.when):
        assert (text != "") == (system.layer is not None)
        assert len(text) <= 80


@pytest.mark.parametrize("system", list_systems(), ids=lambda system: system.name)
def test_facts_are_whole_and_name_what_is_there(system: System) -> None:
    for fact in ("name", *FACTS):
        text = getattr(system, fact)
        assert text == text.strip()
        assert re.fullmatch(r"[ -~]+", text), "a terminal without Unicode prints it"
        assert not text.endswith(".")
    for path in system.where.split():
        module, _, name = path.rpartition(".")
        assert hasattr(importlib.import_module(module), name)


def test_numbers_are_of_one_system_each() -> None:
    numbers = [system.number for system in list_systems() if system.number is not None]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("key", [family.key for family in list_families()])
def test_every_family_has_a_page_that_the_site_leads_to(key: str) -> None:
    page = ROOT / "docs" / "guide" / f"{key}.md"
    assert page.read_text() == f"# {FAMILIES[key].title}\n\n<!-- generated: family {key} -->\n"
    assert f"- {FAMILIES[key].title}: guide/{key}.md\n" in (ROOT / "mkdocs.yml").read_text()


@pytest.mark.usefixtures("_restored")
def test_a_family_comes_by_registering() -> None:
    register_family("kernels", "Kernels", "Where a kernel comes from.")
    known = register_system(System(name="Taps", family="kernels", **FACTS))
    assert list_systems("kernels") == [known]
    register_layer("Taps", lambda i, o: None, System(name="Layer of taps", family="kernels", **FACTS))
    assert [one.layer for one in list_systems("kernels")] == [None, "Taps"]
    assert LAYERS["Taps"].summary == "a; b; c"
    with pytest.raises(InputError, match=r"^system 'Taps' is registered already; choose another name$"):
        register_system(known)
    with pytest.raises(InputError, match=r"^family 'kernels' is registered already; choose another key$"):
        register_family("kernels", "Kernels", "again")
    with pytest.raises(InputError, match=r"^family='kernel' is not one of .*; did you mean 'kernels'\?$"):
        register_system(System(name="Other", family="kernel", **FACTS))
    with pytest.raises(InputError, match=r"^family='kernel' is not one of .*; did you mean 'kernels'\?$"):
        list_systems("kernel")


@pytest.mark.usefixtures("_restored")
def test_a_layer_that_is_refused_leaves_nothing_behind() -> None:
    with pytest.raises(InputError, match=r"^system 'ConvNN' is registered already; choose another name$"):
        register_layer("Again", lambda i, o: None, System(name="ConvNN", family="maps", **FACTS))
    assert "Again" not in LAYERS
