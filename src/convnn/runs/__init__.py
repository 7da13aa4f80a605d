"""What a training run leaves in its folder: the files, and how they are read again."""

from convnn.runs.read import Run, read_run, read_runs, validation_parts

__all__ = ["Run", "read_run", "read_runs", "validation_parts"]
