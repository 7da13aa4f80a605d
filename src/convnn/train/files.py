"""Files that are whole or not there."""

import os
import tempfile
from pathlib import Path

from convnn.errors import TrainingError


def write_atomically(path: Path, content: bytes | str) -> None:
    """Replace a file in one step: written beside it, flushed to the disk, renamed.

    Raises:
        TrainingError: it cannot be written; the old file stays and nothing is left beside it.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise TrainingError(f"cannot write '{path}': {error.strerror or error}") from None
