"""The guide: what every system selects, weighs and aggregates, how it was checked, and what was seen of its claim."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from generate.docstrings import PAPER
from generate.markdown import table

from convnn.nn.graphs._deferred import public_names
from convnn.systems import FAMILIES, System, list_families, list_systems

CLAIMS = Path(__file__).parents[1] / "claims"
DEFERRED = public_names()
UNSEEN = "—"


def everything() -> Iterator[str]:
    """All systems: what each is, where, how it was checked, and what was seen."""
    claims = read_claims()
    for known in list_families():
        systems = list_systems(known.key)
        yield from ("", f"## {known.title}", "", f"{known.about} [{len(systems)} systems]({known.key}.md).", "")
        rows = ((_name(one), one.steps, one.checked, _seen(one, claims)) for one in systems)
        yield from table(("system", "selects; weighs; aggregates", "checked against", "claim"), rows)


def family(key: str) -> Iterator[str]:
    """The page of a family: a row a system, and below it what the experiments measured."""
    systems, claims = list_systems(key), read_claims()
    yield from ("", FAMILIES[key].about, "")
    rows = ((_name(one), one.selects, one.weighs, one.aggregates, one.checked, _seen(one, claims)) for one in systems)
    yield from table(("system", "selects", "weighs", "aggregates", "checked against", "claim"), rows)
    for one in systems:
        if one.name in claims:
            yield from experiment(claims[one.name])


def steps(key: str) -> Iterator[str]:
    """The three steps of each system of a family."""
    rows = ((_name(one), one.selects, one.weighs, one.aggregates) for one in list_systems(key))
    yield from table(("", "select: who", "weigh: how much", "aggregate: how"), rows)


def cheat_sheet(key: str) -> Iterator[str]:
    """The layers of a family: what to write, what papers call them, what they do, and when to take them."""
    rows = (
        (
            "<br>".join(map(_reference, one.where.split()[:1])),
            f"`{one.layer}`",
            one.published,
            one.steps,
            one.when,
        )
        for one in list_systems(key)
        if one.layer is not None
    )
    yield from table(("class", "`--layer`", "published as", "selects; weighs; aggregates", "take it for"), rows)


def experiment(claim: dict[str, Any]) -> Iterator[str]:
    """What a paper says, what was done, and what was seen."""
    yield from ("", f"## {claim['system']}: {claim['verdict']}", "")
    yield from (f"**Claim.** {claim['claim']}", "", f"**Experiment.** {claim['experiment']}", "")
    head, *rows = claim["figures"]
    yield from table(head, rows)
    yield from (f"- {'yes' if held else '**no**'}: {sentence}" for sentence, held in claim["checks"].items())
    seeds = ", ".join(map(str, claim["seeds"])) or "none"
    yield from (
        "",
        f"`python -m claims {claim['name']}`; seeds {seeds}; {claim['device']}, torch {claim['torch']}, commit"
        f" {claim['commit']}, {claim['seconds']} s.",
        "",
    )


def read_claims() -> dict[str, dict[str, Any]]:
    """What `python -m claims` kept, by system."""
    found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(CLAIMS.glob("*.json")))
    return {claim["system"]: claim for claim in found}


def _name(system: System) -> str:
    """Its name, paper, flag, and classes, those of ours with links to the reference."""
    number = f"{system.number} " if system.number is not None else ""
    paper = PAPER.sub(r"[\1](https://arxiv.org/abs/\1)", system.paper)
    flag = [f"`--layer {system.layer}`"] if system.layer else []
    return "<br>".join([f"**{number}{system.name}**", paper, *flag, *map(_reference, system.where.split())])


def _reference(path: str) -> str:
    room, _, name = path.rpartition(".")
    if room == "convnn.nn.graphs" and name in DEFERRED:  # which the reference finds in its module alone
        path = f"{room}.{DEFERRED[name].module}.{name}"
    return f"[`{name}`][{path}]" if path.startswith("convnn.") else f"`{path}`"


def _seen(system: System, claims: dict[str, dict[str, Any]]) -> str:
    if system.name not in claims:
        return UNSEEN
    claim = claims[system.name]
    title = f"{claim['system']}: {claim['verdict']}"
    anchor = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())
    return f"[{claim['verdict']}]({system.family}.md#{anchor})"
