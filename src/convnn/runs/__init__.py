"""The files in the folder of a training run, and functions that read them."""

from convnn.runs.read import Run, read_run, read_runs, validation_parts

__all__ = ["Run", "read_run", "read_runs", "validation_parts"]
