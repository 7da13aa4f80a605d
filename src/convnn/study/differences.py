"""Differences between the settings of a study and its baselines, paired by repetition."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from convnn.runs.paired import CONFIDENCE, Difference, paired_difference
from convnn.study.definition import Study
from convnn.study.results import Group, Result, figure_of_groups, heading, measures_of
from convnn.tables import escape_markdown, markdown_table


def differences_markdown(study: Study, groups: Sequence[Group]) -> str:
    """Return a table for each baseline, with the groups that have a counterpart there; nothing without baselines."""
    return "".join(_table(study, groups, baseline) for baseline in study.baselines)


def counterpart(group: Group, groups: Sequence[Group], baseline: Mapping[str, Any]) -> Group | None:
    """Return the baseline's group that agrees with a group in all other settings that it has; None if there is none."""
    for other in groups:
        is_baseline = all(other.settings[name] == value for name, value in baseline.items())
        shared = {name: value for name, value in other.settings.items() if name not in baseline and value is not None}
        if is_baseline and other is not group and all(group.settings[name] == v for name, v in shared.items()):
            return other
    return None


def difference(study: Study, group: Group, baseline: Group, measure: str) -> Difference | None:
    """Return by how much a measure of a group exceeds that of a baseline, paired by the study's repetitions."""
    return paired_difference(*({_key(study, r): r.value(measure) for r in g.results} for g in (group, baseline)))


def _key(study: Study, result: Result) -> Hashable:
    return tuple(result.planned.settings.get(name) for name in study.repeats)


def _table(study: Study, groups: Sequence[Group], baseline: Mapping[str, Any]) -> str:
    measures = measures_of([result for group in groups for result in group.results])
    figure = figure_of_groups(groups)
    rows = []
    for group in groups:
        other = counterpart(group, groups, baseline)
        found = [] if other is None else [difference(study, group, other, measure) for measure in measures]
        if known := [one for one in found if one is not None]:
            settings = ["" if group.settings[name] is None else str(group.settings[name]) for name in study.settings]
            cells = ["–" if one is None else one.in_points(figure) for one in found]
            rows.append([*map(escape_markdown, settings), str(max(one.pairs for one in known)), *cells])
    if not rows:
        return ""
    head = [*study.settings, "pairs", *(heading(name, groups) for name in measures)]
    name = escape_markdown(", ".join(f"{key}={value}" for key, value in baseline.items()))
    is_number = [text not in study.settings for text in head]
    table = markdown_table(list(map(escape_markdown, head)), rows, is_number)
    by = " and ".join(study.repeats)
    unit = " in points" if figure.is_share else ""
    return f"\nDifference from {name}{unit}, paired by {by}, with its {CONFIDENCE:.0%} interval.\n\n{table}"
