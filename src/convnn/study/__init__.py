"""Studies: many runs that answer one question, made anywhere, interrupted at any time, told as tables and pictures."""

from convnn.study.definition import PlannedRun, Plot, Study, read_study
from convnn.study.plots import draw_plot
from convnn.study.results import Group, Result, grouped, read_result, read_results

__all__ = [
    "Group",
    "PlannedRun",
    "Plot",
    "Result",
    "Study",
    "draw_plot",
    "grouped",
    "read_result",
    "read_results",
    "read_study",
]
