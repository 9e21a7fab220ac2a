"""Files that appear whole or not at all, and what killed writers leave behind."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ABANDONED = 3600  # seconds after which a temporary file has lost its writer; writing takes some at most


@contextmanager
def renamed(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder, which takes the place of `path` once the block ends without an error."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.chmod(0o644)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def abandoned(folder: Path, pattern: str, after: float = ABANDONED) -> Iterator[Path]:
    """What lies in a folder under names of the pattern and was not touched for so many seconds; another process may be removing it."""
    for path in folder.glob(pattern):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > after:
                yield path
