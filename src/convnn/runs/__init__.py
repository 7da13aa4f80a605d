"""The files in the folder of a training run, and functions that read them."""

from convnn.runs.average import is_study, read_study_runs
from convnn.runs.read import Run, common_figure, metric_name, read_run, read_runs, validation_parts

__all__ = [
    "Run",
    "common_figure",
    "is_study",
    "metric_name",
    "read_run",
    "read_runs",
    "read_study_runs",
    "validation_parts",
]
