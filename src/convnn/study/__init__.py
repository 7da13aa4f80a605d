"""Studies: many runs that answer one question, run on any machines, interruptible, with tables and pictures."""

from convnn.study.definition import PlannedRun, Plot, Study, read_study
from convnn.study.plots import draw_plot
from convnn.study.results import Group, Result, group_results, read_result, read_results

__all__ = [
    "Group",
    "PlannedRun",
    "Plot",
    "Result",
    "Study",
    "draw_plot",
    "group_results",
    "read_result",
    "read_results",
    "read_study",
]
