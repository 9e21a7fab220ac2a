"""One JSON record per finished trial, keyed by a hash of what defines it, with its provenance."""

import json
import os
import platform
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from importlib import metadata
from pathlib import Path

import numpy as np

COMPUTING = ("reading", "parsers", "datasets", "synthetic", "splits", "models", "losses", "evaluation", "training")  # decide a result


def key_of(definition: dict) -> str:
    """16 hexadecimal digits: the hash of a JSON-like definition, whatever the order of its keys."""
    return sha256(json.dumps(definition, sort_keys=True, allow_nan=False).encode()).hexdigest()[:16]


@cache
def code_version(rooms: tuple[str, ...] = COMPUTING) -> str:
    """12 hexadecimal digits that change with the source of the given rooms of mixlib."""
    here = Path(__file__).parent
    return sha256(b"".join((here / f"{room}.py").read_bytes() for room in rooms)).hexdigest()[:12]


def provenance() -> dict:
    """The code and the versions that make a result. No paths, no host names."""
    versions = {name: metadata.version(name) for name in ("torch", "numpy", "pandas", "scipy", "scikit-learn")}
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return {"code": code_version(), "versions": versions | {"python": platform.python_version()}, "machine": machine}


class Ledger:
    """Records below a folder, as <dataset>/<study>/<key>.json; arrays of the same trial lie beside it as <key>.npz."""

    def __init__(self, root: str | Path = "results"):
        self.root = Path(root)

    def path(self, dataset: str, study: str, key: str) -> Path:
        """Where the record of a trial lies, or would."""
        return self.folder(dataset, study) / f"{key}.json"

    def folder(self, dataset: str, study: str) -> Path:
        """Where the records of a study lie. A data set given by a path or by parameters gets a file name made of its letters."""
        return self.root / re.sub(r"[^\w.=-]+", "_", str(dataset)).strip("_") / study

    def read(self, dataset: str, study: str) -> dict[str, dict]:
        """All records of a study by key, in the order of the keys. Raises ValueError that names a record which cannot be read."""
        records = {}
        for path in sorted(self.folder(dataset, study).glob("*.json")):
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                if record["key"] != path.stem or key_of(record["definition"]) != path.stem:
                    raise ValueError("its key does not belong to its definition")
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"the record {path} is damaged ({error}): move it away and run the study again.") from error
            records[path.stem] = record
        return records

    def arrays(self, record: dict) -> dict[str, np.ndarray]:
        """The arrays that were written with a record. Raises FileNotFoundError when they are gone."""
        path = self.path(record["dataset"], record["study"], record["key"]).with_suffix(".npz")
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: remove {path.stem}.json beside it and run the study again.")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}

    def write(self, record: dict, arrays: dict[str, np.ndarray] | None = None) -> Path:
        """Write a record, its arrays first, so that a record that is there is complete. The same record twice changes nothing."""
        path = self.path(record["dataset"], record["study"], record["key"])
        text = json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"
        path.parent.mkdir(parents=True, exist_ok=True)
        if arrays:
            with renamed(path.with_suffix(".npz")) as partial, partial.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
        with renamed(path) as partial:
            partial.write_text(text, encoding="utf-8")
        return path

    def datasets(self) -> list[str]:
        """Names of the data sets that have records."""
        return sorted({path.parent.parent.name for path in self.root.glob("*/*/*.json")})

    def digest(self, dataset: str) -> str:
        """12 hexadecimal digits that change with the records of a data set."""
        folder = self.folder(dataset, "x").parent
        files = sorted(folder.glob("*/*.json"))
        return sha256(b"".join(f"{p.parent.name}/{p.name}".encode() + p.read_bytes() for p in files)).hexdigest()[:12]


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
